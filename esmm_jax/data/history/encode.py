"""Sums -> smoothed log-odds, log counts and means; last rows -> codes, ages.

With n impressions, c clicks and v conversions of a key, and C of N clicks in
the whole log as it was known:

  past_ctr    logit((c + m p) / (n + m)) - logit(p), p = (C + 1/2) / (N + 1)
  past_cvr    the same of v in c; and so on for other labels
  past_count  log(1 + n)
  past_mean   (s + m q) / (n + m) - q of a number, q its mean in the whole log

with m pseudo-counts. The difference to the prior removes the drift of the whole
log; it is 0 for a key without past.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.data.history.events import Events
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.look_up import Visit
from esmm_jax.data.history.spans import passed, SECOND
from esmm_jax.data.history.specs import Counter, Entries, IMPRESSIONS
from esmm_jax.data.history.specs import list_names, names, Session, Spec
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.schema import FIRST_KEPT, MISSING
from esmm_jax.tasks import Tasks
from esmm_jax.types import InputError
import numpy as np

# Numbers are summed as integers, in units of 1 / FRACTION, so that the order of
# rows changes no bit.
FRACTION = 1 << 10
AGES = 64  # Codes of an age: half octaves of seconds.


class Rate(NamedTuple):
  """The rate of a label.

  Attributes:
    name: Of the task: `ctr`.
    label: The label.
    given: Label of the rows that it is a rate of; `impressions` for all.
  """

  name: str
  label: str
  given: str


def rates(tasks: Tasks) -> list[Rate]:
  """Returns the rate of each binary task."""
  labels = {t.name: t.label for t in tasks}
  return [
      Rate(t.name, t.label, labels.get(t.parent, IMPRESSIONS))
      for t in tasks
      if t.kind == 'binary'
  ]


def smoothed(
    part: np.ndarray,
    whole: np.ndarray,
    all_part: np.ndarray,
    all_whole: np.ndarray,
    strength: float,
) -> np.ndarray:
  """Computes smoothed log-odds of part / whole, less those of the prior."""
  prior = (all_part + 0.5) / (all_whole + 1)
  rate = (part + strength * prior) / (whole + strength)
  # All of very many, or a strength that is nearly none: 1 - rate is rounded to
  # 0 and the log-odds are no number.
  least = strength * (1 - prior) / (whole + strength)
  rest = np.where(rate < 1, 1 - rate, least)
  return np.log(rate / rest) - np.log(prior / (1 - prior))


def counter(
    spec: Counter,
    sums: Mapping[str, np.ndarray],
    prior: Mapping[str, np.ndarray],
    tasks: Tasks,
) -> dict[str, Values]:
  """Encodes sums: name -> float64 [q], missing where nothing is known.

  Args:
    spec: Names the amounts.
    sums: Amount -> [q], of the key; `impressions` always.
    prior: The same of the whole log.
    tasks: Of the log.
  """
  columns = {}
  # The logarithm of a column of an array may have other bits than that of an
  # array alone, so each amount is one.
  sums = {name: np.ascontiguousarray(sums[name]) for name in sums}
  num = sums[IMPRESSIONS]
  for name, label, given in rates(tasks):
    if label in spec.amounts:
      part, whole = sums[label], sums[given]
      value = smoothed(
          part, whole, prior[label], prior[given], spec.strength
      )
      columns[f'past_{name}'] = Values(value, whole == 0)
  if IMPRESSIONS in spec.amounts:
    columns['past_count'] = Values(np.log1p(num), num == 0)
  for name in numbers(spec, tasks):
    total = np.maximum(prior[IMPRESSIONS], 1)
    mean = prior[name] / FRACTION / total
    value = sums[name] / FRACTION + spec.strength * mean
    value = value / (num + spec.strength) - mean
    columns[f'past_mean_{name}'] = Values(value, num == 0)
  return {f'{name}_{spec.suffix}': v for name, v in columns.items()}


def numbers(spec: Spec, tasks: Tasks) -> list[str]:
  """Returns the columns of numbers among a spec's amounts."""
  labels = {rate.label for rate in rates(tasks)} | {IMPRESSIONS}
  return [n for n in getattr(spec, 'amounts', ()) if n not in labels]


def check_names(specs: Sequence[Spec], tasks: Tasks) -> None:
  """Refuses specs of which two make a column of the same name.

  Raises:
    InputError: Names the column.
  """
  all_names: list[str] = []
  for spec in specs:
    some = []
    if isinstance(spec, Counter):
      some = [r.name for r in rates(tasks) if r.label in spec.amounts]
      some += ['count'] if IMPRESSIONS in spec.amounts else []
      some += [f'mean_{name}' for name in numbers(spec, tasks)]
    all_names += names(spec, some)
  twice = [n for n in all_names if all_names.count(n) > 1]
  if twice:
    raise InputError(
        f'dataset.history makes two columns of the name {twice[0]!r}; rename a'
        ' column of the log, or leave one of the parts out.'
    )


def session(spec: Session, visit: Visit) -> dict[str, Values]:
  """Encodes a session: name -> float64 [q]; a gap is missing without one."""
  gap = np.maximum(visit.gap, 0)
  none = np.zeros(len(gap), bool)
  columns = {
      'position': Values(np.log1p(visit.position), none),
      'age': Values(np.log1p(visit.age / SECOND), none),
      'gap': Values(np.log1p(gap / SECOND), visit.gap < 0),
  }
  return {f'session_{n}_{spec.suffix}': v for n, v in columns.items()}


def log_ages(age: np.ndarray) -> Values:
  """Returns ln(1 + seconds) of ages in nanoseconds [q]; missing below 0."""
  return Values(np.log1p(np.maximum(age, 0) / SECOND), age < 0)


def age_codes(age: np.ndarray) -> np.ndarray:
  """Returns codes of ages in nanoseconds, int32: half octaves of seconds.

  They are ids of a field: `MISSING` below 0, then `FIRST_KEPT` for up to a
  second and so on.
  """
  seconds = np.maximum(age // SECOND, 1)
  code = np.floor(2 * np.log2(seconds)).astype(np.int32)
  code = np.minimum(code, AGES - 1) + FIRST_KEPT
  return np.where(age < 0, np.int32(MISSING), code)


def last_columns(
    spec: Counter | Entries,
    held: Events,
    at: np.ndarray,
    asked: np.ndarray,
    log: Any,
) -> tuple[
    dict[str, np.ndarray], dict[str, Values], dict[str, np.ndarray]
]:
  """Encodes last rows.

  Args:
    spec: Names them.
    held: The rows.
    at: int64 [q, k], positions in `held`, -1 for none.
    asked: int64 [q], the times that ages are counted to.
    log: Has `names` and `tasks`.

  Returns:
    The lists, numbers and codes of `Past`, of q rows.
  """
  none = at < 0
  if not len(held.time):
    age = np.full(at.shape, -1)
    level = np.zeros(at.shape, np.int32)
    entry = np.zeros(at.shape, np.uint64)
  else:
    age = np.where(none, -1, passed(held.time[at], asked[:, None]))
    labels = [rate.label for rate in rates(log.tasks)]
    columns = [log.names.index(label) for label in labels]
    level = _levels(held.amounts, columns, at) + FIRST_KEPT
    level = np.where(none, MISSING, level).astype(np.int32)
    entry = np.zeros(at.shape, np.uint64)
    if len(held.entry):
      entry = np.where(none, NO_KEY, held.entry[at])
  if isinstance(spec, Entries):
    values = (entry, age_codes(age), level)
    return dict(zip(list_names(spec), values)), {}, {}
  numbers, codes = {}, {}
  for k in range(spec.last):
    name = f'{k + 1}_{spec.suffix}'
    codes[f'last_label_{name}'] = level[:, k]
    numbers[f'last_age_{name}'] = log_ages(age[:, k])
  return {}, numbers, codes


def _levels(
    amounts: np.ndarray, columns: list[int], at: np.ndarray
) -> np.ndarray:
  """Returns the number of labels that rows have, int64, of the shape of `at`.

  One row of ten million is looked up without touching the others.
  """
  if at.size < len(amounts):
    return amounts[at][..., columns].sum(axis=-1, dtype=np.int64)
  return amounts[:, columns].sum(axis=1, dtype=np.int64)[at]

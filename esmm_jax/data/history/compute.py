"""A log -> the columns of its history, and the state at its end; by part.

Memory is that of a part (`parts`): of `PART_ROWS` events and of the log's rows
that are read at once, about a third of a gigabyte, however long the log is and
however often a key comes. To a slab of time are added the events of its keys
that it may yet ask for singly: those of the longest delay, and of the window.
The columns of the log may be mapped from files, and so may what comes out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.data.history import encode, events, look_up, totals
from esmm_jax.data.history.events import Events
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.log import CHUNK, Log
from esmm_jax.data.history.parts import held_events, NO_ROWS, parts
from esmm_jax.data.history.parts import questions, slabs, Some
from esmm_jax.data.history.plan import horizon, limits, State, states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.spans import passed
from esmm_jax.data.history.specs import Counter, Entries, Session, Spec
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.schema import FIRST_KEPT, MISSING
from esmm_jax.types import InputError, Ragged
import numpy as np

# Makes an array of a name, type and shape, of zeros; in memory or in a file.
Make = Callable[[str, Any, tuple[int, ...]], np.ndarray]


class Past(NamedTuple):
  """The columns of a log's history.

  Attributes:
    numbers: Name -> float64 [n] and where it is missing.
    codes: Name -> ids of a field, int32 [n]; 0 is missing.
    lists: Name -> int32 or uint64 [n, k], the newest first: codes, or of the
      list itself hashes of values; 0 where there are fewer.
  """

  numbers: dict[str, Values]
  codes: dict[str, np.ndarray]
  lists: dict[str, np.ndarray]


def compute(
    specs: Sequence[Spec],
    log: Log,
    make: Make,
    priors: Priors,
    kept: Callable[[State, Events], None] | None = None,
    first: int | None = None,
    after: Callable[[], None] = lambda: None,
) -> Past:
  """Computes the columns of all specs, for every row of a log.

  Args:
    specs: The columns.
    log: The log.
    make: Makes the arrays of what comes out, and of what it needs meanwhile.
    priors: Of all events of the log, see `priors_of`.
    kept: Gets the events of each state by part, in ascending order of the keys.
    first: What `kept` gets can answer from this time on, nanoseconds, and
      earlier events may be in the base; None: all events are there singly.
    after: Is called after each part, when pages of mapped arrays may go.
  """
  encode.check_names(specs, log.tasks)
  _refuse_lists(specs, log)
  past = Past({}, {}, {})

  def stays(some: Sequence[Spec]) -> int:
    """Returns the time after which events must not enter the base."""
    if kept is None:
      return np.iinfo(np.int64).max
    return totals.NEVER if first is None else horizon(some, log.clock, first)

  for state, (kind, some) in states(specs).items():
    sums = {
        spec: make(
            f'sums_{spec.suffix}', kind.dtype, (len(log.time), len(log.names))
        )
        for spec in some
        if isinstance(spec, Counter) and spec.amounts
    }
    for part in parts(log.keys[state.key]):
      held = None
      for slab in slabs(state, log, part):
        new = held_events(state, kind, log, part, slab)
        if held is not None:
          asks_from = horizon(some, log.clock, slab.low)
          held = events.trim(held, min(asks_from, stays(some)))
          new = events.merge(held, new)
        held = new
        for rows in questions(state, log, part, slab):
          _answer(past, sums, some, held, log, rows, make)
        after()
      # Makes the columns, also if no row of the log has a key.
      _answer(past, sums, some, held, log, NO_ROWS, make)
      if kept is not None:
        kept(state, held)
    for spec, total in sums.items():
      _encode(past, spec, total, log, priors, make, after)
  return past


def _refuse_lists(specs: Sequence[Spec], log: Log) -> None:
  """Refuses lists of keys where a row has one last row or session alone."""
  for spec in specs:
    is_counter = isinstance(spec, Counter) and not spec.last
    if isinstance(log.keys[spec.key], Ragged) and not is_counter:
      raise InputError(
          f'dataset.history: {"+".join(spec.key)} is a list, of which rates and'
          ' counts alone can be computed; leave last, session and list away, or'
          ' name a column with one value in each row.'
      )


def _answer(
    past: Past,
    sums: Mapping[Counter, np.ndarray],
    specs: Sequence[Spec],
    held: Events,
    log: Log,
    rows: Some,
    make: Make,
) -> None:
  """Answers all that some rows ask of a state."""
  # In order of the keys, what is read lies together; that is several times
  # faster.
  order = np.argsort(rows.keys, kind='stable')
  rows = Some(rows.rows[order], rows.keys[order])
  index = look_up.find(held, rows.keys)
  for spec in specs:
    if spec in sums:
      _add_sums(sums[spec], spec, held, log, rows.rows, index)
    if isinstance(spec, Session):
      _sessions(past, spec, held, log, rows.rows, index, make)
    elif spec.last:
      _last(past, spec, held, log, rows.rows, index, make)


def _add_sums(
    total: np.ndarray,
    spec: Counter,
    held: Events,
    log: Log,
    rows: np.ndarray,
    index: np.ndarray,
) -> None:
  """Adds the sums that rows see to `total`, [n, A]."""
  limit, since = limits(spec, log.clock, log.asked[rows])
  sums = look_up.sums(held, index, limit, since)
  if isinstance(log.keys[spec.key], Ragged):
    totals.add(total, rows, sums)
  else:
    total[rows] += sums


def _sessions(
    past: Past,
    spec: Session,
    held: Events,
    log: Log,
    rows: np.ndarray,
    index: np.ndarray,
    make: Make,
) -> None:
  visit = look_up.session(held, index, log.asked[rows])
  for name, values in encode.session(spec, visit).items():
    _put(past, name, values, rows, len(log.time), make)


def _last(
    past: Past,
    spec: Counter | Entries,
    held: Events,
    log: Log,
    rows: np.ndarray,
    index: np.ndarray,
    make: Make,
) -> None:
  """Writes the last rows that rows see."""
  asked = log.asked[rows]
  limit, _ = limits(spec, log.clock, asked)
  at = look_up.last(held, index, limit, spec.last)
  num = len(log.time)
  lists, numbers, codes = last_columns(spec, held, at, asked, log)
  for name, values in lists.items():
    if name not in past.lists:
      past.lists[name] = make(name, values.dtype, (num, spec.last))
    past.lists[name][rows] = values
  for name, values in codes.items():
    if name not in past.codes:
      past.codes[name] = make(name, values.dtype, (num,))
    past.codes[name][rows] = values
  for name, values in numbers.items():
    _put(past, name, values, rows, num, make)


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
    labels = [rate.label for rate in encode.rates(log.tasks)]
    columns = [log.names.index(label) for label in labels]
    level = _levels(held.amounts, columns, at) + FIRST_KEPT
    level = np.where(none, MISSING, level).astype(np.int32)
    entry = np.zeros(at.shape, np.uint64)
    if len(held.entry):
      entry = np.where(none, NO_KEY, held.entry[at])
  if isinstance(spec, Entries):
    values = (entry, encode.age_codes(age), level)
    return dict(zip(encode.list_names(spec), values)), {}, {}
  numbers, codes = {}, {}
  for k in range(spec.last):
    name = f'{k + 1}_{spec.suffix}'
    codes[f'last_label_{name}'] = level[:, k]
    numbers[f'last_age_{name}'] = encode.log_ages(age[:, k])
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


def _encode(
    past: Past,
    spec: Counter,
    total: np.ndarray,
    log: Log,
    priors: Priors,
    make: Make,
    after: Callable[[], None],
) -> None:
  """Encodes the sums of all rows, some at a time."""
  num, before = len(log.time), priors.totals()
  for low in range(0, max(num, 1), CHUNK):
    rows = np.arange(low, min(low + CHUNK, num))
    limit, _ = limits(spec, log.clock, log.asked[rows])
    columns = encode.counter(
        spec,
        dict(zip(log.names, total[rows].T)),
        dict(zip(log.names, priors.before(limit, before).T)),
        log.tasks,
    )
    for name, values in columns.items():
      _put(past, name, values, rows, num, make)
    after()


def _put(
    past: Past,
    name: str,
    values: Values,
    rows: np.ndarray,
    num: int,
    make: Make,
) -> None:
  """Writes numbers of some rows; what is never written is missing."""
  if name not in past.numbers:
    missing = make(f'{name}.missing', np.bool_, (num,))
    missing[:] = True
    past.numbers[name] = Values(make(name, np.float64, (num,)), missing)
  past.numbers[name].values[rows] = values.values
  past.numbers[name].missing[rows] = values.missing

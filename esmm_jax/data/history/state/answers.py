"""Rows -> what the layers of a history know of them.

The functions are those that the columns of a log are computed with, on the same
events, so the answers are theirs to the bit.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.data.history import encode, look_up
from esmm_jax.data.history.compute import Past
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.plan import limits, State, states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.reading import Reading
from esmm_jax.data.history.specs import Counter, IMPRESSIONS, Session, Spec
from esmm_jax.data.history.state.layers import Layers
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.tasks import Tasks
from esmm_jax.types import Ragged
import numpy as np


class Known(NamedTuple):
  """All that answers need.

  Attributes:
    reading: The specs, and the columns of rows.
    layers: State -> its events.
    priors: Sums of the whole log.
    totals: As `priors.totals` returned them.
  """

  reading: Reading
  layers: Mapping[State, Layers]
  priors: Priors
  totals: np.ndarray

  @property
  def names(self) -> list[str]:
    """The amounts in order, impressions first."""
    return [IMPRESSIONS, *self.reading.amounts]

  @property
  def tasks(self) -> Tasks:
    """Those of the log."""
    return self.reading.tasks

  def past(
      self, asked: np.ndarray, keys: Mapping[tuple[str, ...], Any]
  ) -> Past:
    """Looks rows up; see `Store.past`."""
    past = Past({}, {}, {})
    for state, (_, some) in states(self.reading.specs).items():
      question = _Question.of(asked, keys[state.key])
      for spec in some:
        if isinstance(spec, Session):
          self._session(past, spec, state, question)
        else:
          if getattr(spec, 'amounts', ()):
            self._sums(past, spec, state, question)
          if spec.last:
            self._last(past, spec, state, question)
    return past

  def _sums(
      self,
      past: Past,
      spec: Counter,
      state: State,
      question: '_Question',
  ) -> None:
    limit, since = limits(spec, self.reading.clock, question.asked)
    dtype = np.float64 if spec.half_life else np.int64
    sums = np.zeros((len(question.keys), len(self.names)), dtype)
    for held, at, index in self.layers[state].find(question.keys):
      rows = question.rows[at]
      sums[at] = look_up.sums(
          held, index, limit[rows], None if since is None else since[rows]
      )
    total = question.added(sums)
    prior = self.priors.before(limit, self.totals)
    columns = encode.counter(
        spec,
        dict(zip(self.names, total.T)),
        dict(zip(self.names, prior.T)),
        self.tasks,
    )
    past.numbers.update(columns)

  def _session(
      self,
      past: Past,
      spec: Session,
      state: State,
      question: '_Question',
  ) -> None:
    parts = []
    for held, at, index in self.layers[state].find(question.keys):
      visit = look_up.session(held, index, question.asked[question.rows[at]])
      parts.append((at, encode.session(spec, visit)))
    past.numbers.update(_numbers(parts, question))

  def _last(
      self,
      past: Past,
      spec: Spec,
      state: State,
      question: '_Question',
  ) -> None:
    limit, _ = limits(spec, self.reading.clock, question.asked)
    lists, numbers, codes = [], [], []
    for held, at, index in self.layers[state].find(question.keys):
      rows = question.rows[at]
      last = look_up.last(held, index, limit[rows], spec.last)
      some = encode.last_columns(spec, held, last, question.asked[rows], self)
      for to, columns in zip((lists, numbers, codes), some):
        to.append((at, columns))
    past.lists.update(_arrays(lists, question))
    past.codes.update(_arrays(codes, question))
    past.numbers.update(_numbers(numbers, question))


class _Question(NamedTuple):
  """The keys that rows ask for; those without a key ask for none.

  Attributes:
    asked: int64 [n], the times of the rows.
    rows: int64 [q], the row of each key; a list of keys is there with each, in
      ascending order, as in a part of the log.
    keys: uint64 [q].
    is_list: Whether a row may have several.
  """

  asked: np.ndarray
  rows: np.ndarray
  keys: np.ndarray
  is_list: bool

  @classmethod
  def of(cls, asked: np.ndarray, keys: np.ndarray | Ragged) -> '_Question':
    """Takes the keys of n rows."""
    is_list = isinstance(keys, Ragged)
    rows = np.arange(len(asked))
    if is_list:
      rows, keys = np.repeat(rows, np.diff(keys.offsets)), keys.values
    at = np.flatnonzero(keys != NO_KEY)
    if is_list:
      at = at[np.argsort(keys[at], kind='stable')]
    return cls(asked, rows[at], keys[at], is_list)

  def added(self, sums: np.ndarray) -> np.ndarray:
    """Adds what is of one row up: [q, A] -> [n, A]."""
    total = np.zeros((len(self.asked), sums.shape[1]), sums.dtype)
    if self.is_list:
      np.add.at(total, self.rows, sums)
    else:
      total[self.rows] += sums
    return total

  def spread(self, values: np.ndarray, empty: Any = 0) -> np.ndarray:
    """Returns what is of each row: [q, ...] -> [n, ...]."""
    out = np.full((len(self.asked), *values.shape[1:]), empty, values.dtype)
    out[self.rows] = values
    return out


_Parts = Sequence[tuple[np.ndarray, Mapping[str, Any]]]


def _arrays(parts: _Parts, question: _Question) -> dict[str, np.ndarray]:
  """Puts the answers of several layers together, (positions, name -> [p])."""
  joined = {}
  for name in parts[0][1]:
    first = parts[0][1][name]
    whole = np.zeros((len(question.keys), *first.shape[1:]), first.dtype)
    for at, columns in parts:
      whole[at] = columns[name]
    joined[name] = question.spread(whole)
  return joined


def _numbers(parts: _Parts, question: _Question) -> dict[str, Values]:
  """Does the same with numbers; those of rows without a key are missing."""
  joined = {}
  for name in parts[0][1]:
    values = np.zeros(len(question.keys))
    missing = np.ones(len(question.keys), bool)
    for at, columns in parts:
      values[at], missing[at] = columns[name]
    joined[name] = Values(
        question.spread(values), question.spread(missing, True)
    )
  return joined

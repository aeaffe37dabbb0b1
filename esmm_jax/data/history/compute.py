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
from esmm_jax.data.history.events import Events, Kind
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.log import CHUNK, Log
from esmm_jax.data.history.parts import held_events, NO_ROWS, parts
from esmm_jax.data.history.parts import questions, slabs, Some
from esmm_jax.data.history.plan import horizon, limits, State, states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.specs import Counter, Entries, Session, Spec
from esmm_jax.data.store.feature_columns import Values
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
        if isinstance(spec, Counter)
        and spec.amounts
        and isinstance(log.keys[spec.key], Ragged)
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
          _answer(past, sums, some, held, log, rows, priors, make)
        after()
      # Makes the columns, also if no row of the log has a key.
      _answer(past, sums, some, held, log, NO_ROWS, priors, make)
      if kept is not None:
        kept(state, held)
    for spec, total in sums.items():
      _encode(past, spec, total, log, priors, make, after)
    for spec in some:
      if isinstance(spec, Counter) and spec.amounts and spec not in sums:
        _encode_others(past, spec, kind, log, priors, make, after)
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
    priors: Priors,
    make: Make,
) -> None:
  """Answers all that some rows ask of a state."""
  # In order of the keys, what is read lies together; that is several times
  # faster.
  ascending = rows.rows
  order = np.argsort(rows.keys, kind='stable')
  rows = Some(rows.rows[order], rows.keys[order])
  index = look_up.find(held, rows.keys)
  for spec in specs:
    if isinstance(spec, Counter) and spec.amounts:
      limit, since = limits(spec, log.clock, log.asked[rows.rows])
      added = look_up.sums(held, index, limit, since)
      if spec in sums:  # Lists of keys, which several parts may have.
        totals.add(sums[spec], rows.rows, added)
      else:
        total = np.empty_like(added)
        total[order] = added
        _encode_rows(past, spec, ascending, total, log, priors, make)
    if isinstance(spec, Session):
      _sessions(past, spec, held, log, rows.rows, index, make)
    elif spec.last:
      _last(past, spec, held, log, rows.rows, index, make)


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
  lists, numbers, codes = encode.last_columns(spec, held, at, asked, log)
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
  num = len(log.time)
  for low in range(0, max(num, 1), CHUNK):
    rows = np.arange(low, min(low + CHUNK, num))
    _encode_rows(past, spec, rows, total[rows], log, priors, make)
    after()


def _encode_others(
    past: Past,
    spec: Counter,
    kind: Kind,
    log: Log,
    priors: Priors,
    make: Make,
    after: Callable[[], None],
) -> None:
  """Encodes the sums of rows without a key, which no part has."""
  keys = log.keys[spec.key]
  for low in range(0, len(keys), CHUNK):
    rows = low + np.flatnonzero(keys[low : low + CHUNK] == NO_KEY)
    if len(rows):
      total = np.zeros((len(rows), len(log.names)), kind.dtype)
      _encode_rows(past, spec, rows, total, log, priors, make)
      after()


def _encode_rows(
    past: Past,
    spec: Counter,
    rows: np.ndarray,
    total: np.ndarray,
    log: Log,
    priors: Priors,
    make: Make,
) -> None:
  """Encodes the sums [q, A] of rows."""
  limit, _ = limits(spec, log.clock, log.asked[rows])
  columns = encode.counter(
      spec,
      dict(zip(log.names, total.T)),
      dict(zip(log.names, priors.before(limit).T)),
      log.tasks,
  )
  for name, values in columns.items():
    _put(past, name, values, rows, len(log.time), make)


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

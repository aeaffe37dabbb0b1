"""A run's history: looks rows up and takes observed ones."""

from collections.abc import Mapping, Sequence
import copy
import threading
from typing import Any

from esmm_jax import streams
from esmm_jax.data.history import hashes
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.reading import Reading, Rows
from esmm_jax.data.history.state.saved import Saved
from esmm_jax.data.history.state.seen import Seen
from esmm_jax.data.history.state.store import Observed
from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.tabular.cells.raw import read
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location, NOUNS, Times
from esmm_jax.types import Columns, InputError, Ragged
import numpy as np
import pyarrow as pa


# Threads that add rows to one store would lose each other's.
_ADDING = threading.Lock()


class History:
  """Looks rows up in a store and encodes what it knows of them.

  What a row gets depends on its own columns alone, and on the first time of its
  request.

  Attributes:
    fitted: Past -> columns of the fields.
    store: Rows -> past.
    as_of: Nanoseconds since 1970: rows of later times are asked for at this
      one, as if it were the present; None: each at its own.
    requests: Hashes of requests, ascending, and the first time of each, int64
      nanoseconds; of rows that are read piece by piece.
  """

  def __init__(self, saved: Saved):
    """Takes what a run has kept."""
    self.fitted, self.store = saved
    self.as_of: int | None = None
    self.requests: tuple[np.ndarray, np.ndarray] | None = None
    self._warned = ''

  @property
  def reading(self) -> Reading:
    """The columns of rows."""
    return self.store.reading

  @property
  def names(self) -> list[str]:
    """The columns that rows need, labels known or not."""
    return self.reading.columns

  @property
  def fields(self) -> list[str]:
    """The fields that are made."""
    return [field.name for field in self.fitted.fields]

  def copied(self, **changes: Any) -> 'History':
    """Returns a copy; what it observes does not reach this one."""
    other = copy.copy(self)
    other.store = copy.copy(self.store)
    for name, value in changes.items():
      setattr(other, name, value)
    return other

  def encode(self, columns: Mapping[str, Any], location: Location) -> Columns:
    """Looks rows up and encodes what is known of them.

    Args:
      columns: Raw columns, `names` among them.
      location: Where the rows are, for messages.

    Returns:
      Field -> column [n].

    Raises:
      InputError: A value is of another kind, or a row is older than the
        history can tell.
    """
    rows = self.reading.read(columns, location)
    asked = self.asked(rows)
    early = np.flatnonzero(asked < self.store.since)
    if len(early):
      why = self.store.too_early(asked[early[0]])
      raise InputError(f'{location.at(early[0])}: {why}')
    self._warn(asked)
    return self.fitted.encode(self.store.past(asked, rows.keys))

  def asked(self, rows: Rows) -> np.ndarray:
    """Returns the times that rows are asked for at, int64 [n], nanoseconds."""
    asked = rows.asked
    if self.requests is not None and rows.request is not None:
      known, first = self.requests
      at = np.minimum(np.searchsorted(known, rows.request), len(known) - 1)
      is_known = known[at] == rows.request if len(known) else at < 0
      earliest = first[at] if len(known) else asked
      asked = np.where(is_known, np.minimum(earliest, asked), asked)
    return asked if self.as_of is None else np.minimum(asked, self.as_of)

  def observe(
      self,
      columns: Mapping[str, Any],
      location: Location,
      labels: Mapping[str, np.ndarray],
      is_kept: np.ndarray,
      inputs: Sequence[Input] | None,
      seen: Seen | None = None,
  ) -> Observed:
    """Adds rows with labels to the store.

    Args:
      columns: Raw columns, `names` among them.
      location: Where the rows are, for messages.
      labels: Label -> [n], known and joint.
      is_kept: bool [n], rows that the run's rule for labels keeps.
      inputs: The columns that the model reads, in which a row differs from
        others of its time; None: no row was observed before.
      seen: See `Store.observe`.

    Returns:
      Rows that were added, and left out.

    Raises:
      InputError: A value is of another kind.
    """
    rows = self.reading.read(columns, location, labels)
    kept, identity = np.flatnonzero(is_kept), None
    if inputs is not None:
      identity = identities(rows, inputs, columns, location)[kept]
    with _ADDING:
      return self.store.observe(_taken(rows, kept), identity, seen)

  def add(self, rows: Rows, index: np.ndarray) -> None:
    """Adds some rows, whatever was observed before."""
    with _ADDING:
      self.store.observe(_taken(rows, index))

  def present(self, value: Any) -> int:
    """Reads a time that rows are asked for at; see `moment`.

    Raises:
      InputError: It is none, or one of which the history tells nothing.
    """
    time = self.moment(value)
    if time < self.store.since:
      words = self.reading.clock.words
      raise InputError(
          f'as_of is {value!r}, which is {words(time)}; the earliest time that'
          f' this run can answer is {words(self.store.since)}.'
      )
    return time

  def moment(self, value: Any, name: str = 'as_of') -> int:
    """Reads a time, nanoseconds since 1970.

    Args:
      value: A split of the run's data, whose first time is meant; or a time as
        the column of times has them, as a text too.
      name: That of the value, for messages.

    Raises:
      InputError: It is none.
    """
    facts, clock = self.store.facts, self.reading.clock
    if str(value) in facts.firsts:
      return facts.firsts[str(value)]
    try:
      if not isinstance(value, str):
        times = _one_time(value, name, clock)
        return int(clock.ns(times)[0])
      zone = '' if clock.kind != 'moment' else clock.zone
      sample = facts.until // 10**9 if clock.kind == 'number' else facts.until
      held = Times(np.array([sample]), clock.kind, zone)
      number = raw_values.boundary(value, name, held, self.reading.time)
      return int(clock.ns(held._replace(values=np.array([number])))[0])
    except InputError as e:
      splits = [n for n, time in facts.firsts.items() if time >= facts.since]
      splits = ', '.join(splits) or 'none'
      raise InputError(f'{e} Splits that may stand there: {splits}.') from e

  def _warn(self, asked: np.ndarray) -> None:
    """Says once that the history ends long before the rows."""
    end = self.store.facts.until
    if self._warned != str(end):
      if text := self.store.age_warning(asked):
        streams.warn(text)
        self._warned = str(end)


def _one_time(value: Any, name: str, clock: Clock) -> Times:
  """Returns a value that is no text as times of the kind of a clock."""
  refusal = InputError(
      f'{name} is {value!r}; the times of the log are {NOUNS[clock.kind]}, and'
      ' it must be like them.'
  )
  try:
    # Of numpy an array has the unit.
    is_numpy = isinstance(value, np.generic)
    array = pa.array(np.array([value]) if is_numpy else [value])
    if pa.types.is_boolean(array.type):
      raise refusal
    times = raw_values.times(array, Location(name))
  except (InputError, pa.ArrowException, TypeError, ValueError) as e:
    raise refusal from e
  if times.kind != clock.kind:
    raise refusal
  return times


def identities(
    rows: Rows,
    inputs: Sequence[Input],
    columns: Mapping[str, Any],
    location: Location,
) -> np.ndarray:
  """Hashes all that tells rows apart but their labels, uint64 [n].

  Args:
    rows: What the history knows of them.
    inputs: The columns that the model reads.
    columns: Their raw columns.
    location: Where the rows are, for messages.
  """
  known = [rows.request, *rows.keys.values(), *rows.entries.values()]
  parts = [_of_list(k) if isinstance(k, Ragged) else k for k in known]
  for column in inputs:
    raw = read(column, columns, location)
    if column.kind == 'float':
      parts.append(raw.values.view(np.uint64))
    elif column.kind == 'id':
      parts.append(hashes.of_texts(raw.values))
    else:
      parts.append(_of_list(Ragged(hashes.of_texts(raw.values), raw.offsets)))
  whole = rows.time.view(np.uint64)
  for part in parts:
    whole = whole if part is None else hashes.mixed(whole, part)
  return whole


def _of_list(lists: Ragged) -> np.ndarray:
  """Hashes each list of hashes as a whole, uint64 [n]."""
  begin = np.repeat(lists.offsets[:-1], np.diff(lists.offsets))
  number = (np.arange(len(lists.values)) - begin).astype(np.uint64)
  total = np.zeros(len(lists.values) + 1, np.uint64)
  # It wraps around, and so do the differences.
  np.cumsum(hashes.mixed(lists.values, number), out=total[1:])
  return total[lists.offsets[1:]] - total[lists.offsets[:-1]]


def _taken(rows: Rows, index: np.ndarray) -> Rows:
  """Returns some of the rows."""

  def of_key(key: Any) -> Any:
    return take(key, index) if isinstance(key, Ragged) else key[index]

  return Rows(
      rows.time[index],
      None if rows.request is None else rows.request[index],
      {name: of_key(key) for name, key in rows.keys.items()},
      {name: values[index] for name, values in rows.entries.items()},
      {name: values[index] for name, values in rows.amounts.items()},
  )

"""Raw columns of rows -> the times, keys and amounts of their history.

The same rows give the same numbers when a log is prepared and when scores are
asked for: 7, '7' and 7.0 are one key.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

from esmm_jax.data.history import encode, hashes
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.spans import Span
from esmm_jax.data.history.specs import columns as columns_of
from esmm_jax.data.history.specs import Counter, Entries, Session, Spec
from esmm_jax.data.values import raw_values, time_forms
from esmm_jax.data.values.raw_values import Location
from esmm_jax.tasks import Task, Tasks
from esmm_jax.types import InputError, Ragged
import numpy as np

# The largest number that is summed: the sums of eight million such fit 64 bits.
LARGEST = 1e9
_KINDS = {kind.__name__: kind for kind in (Counter, Session, Entries)}


class ListOptions(NamedTuple):
  """Options of a column of lists, as `raw_values.lists` takes them.

  Attributes:
    max_len: Entries kept of a row.
    separator: Of lists that are texts.
    weights: Between an entry and its weight; '' for none.
  """

  max_len: int
  separator: str = ''
  weights: str = ''


class Rows(NamedTuple):
  """The times, keys and amounts of n rows.

  Attributes:
    time: int64 [n], nanoseconds since 1970.
    request: Hashes of the requests, uint64 [n]; None without such a column.
    keys: Columns of a key -> hashes, uint64 [n], or a `Ragged` of them.
    entries: Column of a list of last values -> hashes of its values, uint64
      [n].
    amounts: Label or number -> integers [n], numbers in units of 1 /
      `encode.FRACTION`; {} of rows without labels.
  """

  time: np.ndarray
  request: np.ndarray | None
  keys: dict[tuple[str, ...], np.ndarray | Ragged]
  entries: dict[str, np.ndarray]
  amounts: dict[str, np.ndarray]

  @property
  def asked(self) -> np.ndarray:
    """The first time of each row's request, among these rows; int64 [n]."""
    if self.request is None:
      return self.time
    return first_times(self.time, self.request)


@dataclasses.dataclass(frozen=True)
class Reading:
  """Names the columns that a history reads, and how.

  Attributes:
    specs: The history.
    tasks: Of the log.
    time: Column of the times.
    clock: Of the times.
    request: Column of the requests, whose rows are asked for together; '' for
      none.
    lists: Column of lists -> its options.
  """

  specs: Sequence[Spec]
  tasks: Tasks
  time: str
  clock: Clock
  request: str = ''
  lists: Mapping[str, ListOptions] = dataclasses.field(default_factory=dict)

  @functools.cached_property
  def keys(self) -> list[tuple[str, ...]]:
    """The keys, each once."""
    return list(dict.fromkeys(spec.key for spec in self.specs))

  @functools.cached_property
  def entries(self) -> list[str]:
    """The columns of which there are lists of last values."""
    return list(
        dict.fromkeys(s.column for s in self.specs if hasattr(s, 'column'))
    )

  @functools.cached_property
  def amounts(self) -> list[str]:
    """The labels and numbers, in the order of `Log.amounts`."""
    return amounts_of(self.specs, self.tasks)

  @property
  def numbers(self) -> list[str]:
    """The columns of numbers among the amounts; needed where labels are."""
    return number_columns(self.specs, self.tasks)

  @functools.cached_property
  def columns(self) -> list[str]:
    """The columns that `read` needs of every row, labels known or not."""
    names = [self.time, self.request, *columns_of(self.specs)]
    return list(dict.fromkeys(filter(None, names)))

  def read(
      self,
      columns: Mapping[str, Any],
      location: Location,
      labels: Mapping[str, np.ndarray] | None = None,
  ) -> Rows:
    """Reads rows.

    Args:
      columns: Name -> arrow array, numpy array or list [n], as
        `frames.Frame.columns`.
      location: Where the rows are, for messages.
      labels: Label -> [n], known and joint; None of rows that only ask.

    Raises:
      InputError: A time is missing or of another kind than the log's, or a
        value is no key or number; names the row and the column.
    """
    time = self.times(columns, location)
    keys = {
        key: _key(columns, key, self.lists, location) for key in self.keys
    }
    entries = {
        name: _hashed(columns, name, location) for name in self.entries
    }
    return Rows(
        time,
        _hashed(columns, self.request, location) if self.request else None,
        keys,
        entries,
        {} if labels is None else self._amounts(columns, location, labels),
    )

  def times(
      self, columns: Mapping[str, Any], location: Location
  ) -> np.ndarray:
    """Reads times alone, int64 [n], nanoseconds since 1970; see `read`."""
    array, location = _column(columns, self.time, location)
    if not len(array):  # A column of no rows has no type, or a wrong one.
      return np.zeros(0, np.int64)
    raw_values.require_exact(array, location)
    times = raw_values.times(array, location)
    is_formed = times.kind == 'number' and self.clock.form
    for form in time_forms.forms(times.values) if is_formed else ():
      if form.name not in ('', self.clock.form):
        must = f'a time of the form {self.clock.form}, as in the log'
        raise location.refusal(form.row, form.value, must)
    try:
      return self.clock.ns(times)
    except InputError as e:
      raise InputError(f'{location}: {e}') from e

  def to_dict(self) -> dict[str, Any]:
    """Returns what `from_dict` takes, of plain types."""
    return {
        'specs': [spec_to_dict(spec) for spec in self.specs],
        'tasks': [dataclasses.asdict(task) for task in self.tasks],
        'time': self.time,
        'clock': self.clock._asdict(),
        'request': self.request,
        'lists': {n: options._asdict() for n, options in self.lists.items()},
    }

  @classmethod
  def from_dict(cls, d: Mapping[str, Any]) -> 'Reading':
    """Makes a reading of what `to_dict` returned."""
    return cls(
        tuple(map(spec_from_dict, d['specs'])),
        tuple(Task(**task) for task in d['tasks']),
        d['time'],
        Clock(**d['clock']),
        d['request'],
        {name: ListOptions(**o) for name, o in d['lists'].items()},
    )

  def _amounts(
      self,
      columns: Mapping[str, Any],
      location: Location,
      labels: Mapping[str, np.ndarray],
  ) -> dict[str, np.ndarray]:
    """Returns the amounts of rows, int8 of labels and int64 of numbers."""
    binary = {rate.label for rate in encode.rates(self.tasks)}
    amounts = {}
    for name in self.amounts:
      if name in binary:
        amounts[name] = labels[name]
        continue
      if name in labels:  # The label of a regression.
        values = labels[name].astype(np.float64)
        array, where = values, location.column(name)
      else:
        array, where = _column(columns, name, location)
        values = raw_values.floats(array, where)
      good = np.abs(values) <= LARGEST  # Not nan, a missing number.
      must = f'a number up to {LARGEST:g}, in every row: its mean is asked for'
      array = raw_values.arrow(array, where)
      raw_values.refuse(~good, array, must, where)
      amounts[name] = np.rint(values * encode.FRACTION).astype(np.int64)
    return amounts


def spec_to_dict(spec: Spec) -> dict[str, Any]:
  """Returns a spec as plain types, `kind` among them."""
  return {'kind': type(spec).__name__, **dataclasses.asdict(spec)}


def spec_from_dict(d: Mapping[str, Any]) -> Spec:
  """Makes a spec of what `spec_to_dict` returned, also from JSON."""
  values = dict(d)
  kind = _KINDS[values.pop('kind')]
  for name in ('delay', 'window', 'half_life', 'pause'):
    if values.get(name) is not None:
      values[name] = Span(*values[name])
  for name in ('key', 'amounts'):
    if name in values:
      values[name] = tuple(values[name])
  return kind(**values)


def amounts_of(specs: Sequence[Spec], tasks: Tasks) -> list[str]:
  """Lists the amounts of a history: all binary labels, then the numbers."""
  names = [rate.label for rate in encode.rates(tasks)]
  for spec in specs:
    names += encode.numbers(spec, tasks)
  return list(dict.fromkeys(names))


def number_columns(specs: Sequence[Spec], tasks: Tasks) -> list[str]:
  """Lists the amounts that are columns of numbers and no labels."""
  labels = [t.label for t in tasks]
  return [name for name in amounts_of(specs, tasks) if name not in labels]


def first_times(time: np.ndarray, request: np.ndarray) -> np.ndarray:
  """Returns the first time of the rows with each row's request, int64 [n].

  Args:
    time: int64 [n].
    request: uint64 [n]; a row with `NO_KEY` has a request of its own.
  """
  first = time.copy()
  rows = np.flatnonzero(request != NO_KEY)
  if len(rows):
    order = rows[np.lexsort((time[rows], request[rows]))]
    begins = np.ones(len(order), bool)
    begins[1:] = request[order[1:]] != request[order[:-1]]
    begin = np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))
    first[order] = time[order[begin]]
  return first


def _key(
    columns: Mapping[str, Any],
    key: tuple[str, ...],
    lists: Mapping[str, ListOptions],
    location: Location,
) -> np.ndarray | Ragged:
  """Returns the hashes of a key."""
  if len(key) == 1 and key[0] in lists:
    array, where = _column(columns, key[0], location)
    raw = raw_values.lists(array, where, *lists[key[0]])
    return Ragged(hashes.of_texts(raw.entries), raw.offsets)
  return hashes.joined([_hashed(columns, name, location) for name in key])


def _hashed(
    columns: Mapping[str, Any], name: str, location: Location
) -> np.ndarray:
  """Returns the hashes of a column of identifiers, uint64 [n]."""
  return hashes.of_texts(raw_values.texts(*_column(columns, name, location)))


def _column(
    columns: Mapping[str, Any], name: str, location: Location
) -> tuple[Any, Location]:
  """Returns a column as one arrow array, and its location."""
  location = location.column(name)
  return raw_values.arrow(columns[name], location), location

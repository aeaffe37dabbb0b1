"""The times at which validation and test begin, of a split by time."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location, NOUNS, time_forms, Times
from esmm_jax.types import InputError
import numpy as np

# A smaller share of numbers without a form are times that somebody got wrong.
_STRAY = 0.005


class Ends(NamedTuple):
  """The two times.

  Attributes:
    valid: Comparable with `Times.values`, as is the next.
    test: See there.
  """

  valid: int | float
  test: int | float


class Column(NamedTuple):
  """All times of a log, and what people should know of them.

  Attributes:
    name: Of the column.
    times: Ascending; 8 bytes a row.
    form: The one form of numbers, '' for none.
  """

  name: str
  times: Times
  form: str

  @property
  def warnings(self) -> list[str]:
    """Warns of dates that may stand for a missing one."""
    return [
        f'{num:,} rows have the time {date} in column {self.name!r}, which'
        ' often stands for an unknown time; they are sorted'
        f' {"first" if first else "last"}. If the time is unknown, leave these'
        ' rows out of the files.'
        for date, num, first in time_forms.sentinels(self.times, self.form)
    ]

  def words(self, k: int) -> str:
    """Returns time number k as people write it."""
    value = self.times.values[k].item()
    return time_forms.words(value, self.times, self.form)


def ends_of_time(column: Column, config: TabularConfig) -> Ends:
  """Finds the times at which validation and test begin.

  These are the config's, or follow from its shares: the last `test_share` of
  the rows, and `valid_share` of all rows before it; where `test_from` says
  where the test split begins, the last `valid_share` of the rows before that.
  Rows of one time are in one split, the later one.

  Args:
    column: All times.
    config: Of the log.

  Raises:
    InputError: They leave a split empty.
  """
  name = config.time
  times = column.times.values
  num = len(times)
  ends: list[int | float] = []
  for option, share in (
      ('test_from', config.test_share),
      ('valid_from', config.valid_share + config.test_share),
  ):
    first = num - round(share * num)
    if option == 'valid_from' and config.test_from:
      # The share is of the rows before the test split, so that no boundary of
      # validation can come after it.
      before = int((~raw_values.reached(times, ends[0])).sum())
      first = before - round(config.valid_share * before)
    by_share = times[first].item() if first < num else np.inf
    text = str(getattr(config, option))
    where = f'dataset.{option}', column.times, name
    boundary = raw_values.boundary(text, *where) if text and num else None
    ends.insert(0, by_share if boundary is None else boundary)
    if boundary is not None and num and not times[0] < boundary <= times[-1]:
      raise InputError(
          f'dataset.{option} is {getattr(config, option)}, but column'
          f' {name!r} goes from {column.words(0)} to {column.words(-1)}.'
      )
  if ends[0] > ends[1]:
    test = f'test_from, {config.test_from}'
    if not config.test_from:
      test = f'the start of the last test_share={config.test_share} of the rows'
    raise InputError(
        f'dataset.valid_from, {config.valid_from}, comes after {test}; it must'
        ' come before, since validation rows lie between the two.'
    )
  return Ends(ends[0], ends[1])


class Shape(NamedTuple):
  """The kind and the forms of the times of consecutive rows of a file.

  Attributes:
    location: Where the rows are.
    kind: See `Times`.
    zone: See there.
    word: The first of the times, as people write it; '' of no rows.
    forms: Those of numbers, of which `time_forms.forms` tells.
  """

  location: Location
  kind: str
  zone: str
  word: str
  forms: Sequence[time_forms.Form]

  @classmethod
  def of(cls, location: Location, times: Times) -> 'Shape':
    """Describes times."""
    word, forms = '', ()
    if len(times.values):
      word = times.words(times.values[0].item())
      if times.kind == 'number':
        forms = time_forms.forms(times.values)
    return cls(location, times.kind, times.zone, word, forms)


class Shapes:
  """Compares the times of all rows: one kind, and one form of numbers."""

  def __init__(self, name: str):
    """Takes the name of the column."""
    self._name = name
    self._first: Shape | None = None
    self._forms: dict[str, tuple[Location, time_forms.Form]] = {}
    self._num: Counter[str] = Counter()

  def add(self, shape: Shape) -> None:
    """Takes the next rows.

    Raises:
      InputError: Their times are of another kind than those before.
    """
    if not shape.word:
      return
    if self._first is None:
      self._first = shape
    first = self._first
    if shape.kind != first.kind:
      raise InputError(
          f'{shape.location.at(0)}: column {self._name!r} holds'
          f' {NOUNS[shape.kind]} here ({shape.word}) and {NOUNS[first.kind]}'
          f' before ({first.word}, {first.location.at(0)}); give all rows one'
          ' form.'
      )
    for form in shape.forms:
      self._forms.setdefault(form.name, (shape.location, form))
      self._num[form.name] += form.num

  def form(self) -> str:
    """Returns the one form of the numbers, '' for none.

    Raises:
      InputError: There are several, and hardly a number is of none.
    """
    if self._num[''] > _STRAY * self._num.total():
      return ''  # A counter, which passes through several forms.
    forms = [f for name, f in self._forms.items() if name]
    if not forms or {*self._forms} == {'days', 'yyyy'}:  # Or a small counter.
      return ''
    if len(forms) > 1:
      (before, one), (here, two) = forms[:2]
      raise InputError(
          f'{here.at(two.row)}: column {self._name!r} is {two.words()} here and'
          f' {one.words()} in {before.at(one.row)}; give all rows one form.'
      )
    return forms[0][1].name

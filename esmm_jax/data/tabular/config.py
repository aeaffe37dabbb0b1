"""What the columns of somebody's own log are, as a config says it."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from typing import Any

from esmm_jax.data.files.raw_values import arrow, Place, times
from esmm_jax.schema import COMBINERS, Field, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Tasks
from esmm_jax.types import InputError, suggest
import tensorflow_datasets as tfds

SPLITS = ('train', 'valid', 'test')
RULES = ('random', 'time', 'column', 'files')
UNCLICKED = ('error', 'drop', 'keep', 'click')
SCALINGS = ('standard', 'log', 'none')
# Columns that are stored beside the fields and labels.
GROUP, ROW, FILE = 'group_key', 'row_number', 'file_number'
# Kind -> option of a column -> how it is read.
_OPTIONS = {
    'id': {'min_count': int, 'max_values': int, 'table': str},
    'ids': {
        'min_count': int, 'max_values': int, 'table': str, 'max_len': int,
        'combiner': str,
    },
    'float': {'scaling': str},
}


@dataclasses.dataclass(frozen=True)
class Input:
  """A column that the model reads.

  Attributes:
    name: Of the column and of the field.
    kind: `id`, `ids` or `float`.
    min_count: Values in fewer training rows are rare.
    max_values: The most frequent values that are kept; 0: all.
    table: Columns of one table share vocabulary and embeddings.
    max_len: `ids`: entries kept of a row, its first ones.
    combiner: `ids`: `sum` or `mean`.
    scaling: `float`: `standard` (mean 0 and variance 1 of the training rows),
      `log` (sign(x) ln(1 + |x|) before that) or `none`.
  """

  name: str
  kind: str
  min_count: int = 2
  max_values: int = 0
  table: str = ''
  max_len: int = 50
  combiner: str = 'mean'
  scaling: str = 'standard'

  def __post_init__(self):
    if not self.table:
      object.__setattr__(self, 'table', self.name)

  def field(self, vocab_size: int = 0) -> Field:
    """The field of the schema."""
    if self.kind == 'float':
      return Field(self.name, 'float')
    more = {}
    if self.kind == 'ids':
      more = {'max_len': self.max_len, 'combiner': self.combiner}
    return Field(
        self.name, self.kind, vocab_size=vocab_size, table=self.table, **more
    )


@dataclasses.dataclass(eq=False)
class TabularConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options; leave it.
    files: CSV and Parquet files: paths, globs and remote paths of fsspec, with
      commas between.
    valid_files: Those of the validation split, for `split='files'`.
    test_files: Those of the test split.
    id: Columns of one categorical value, with commas between. Behind a name may
      stand options: `user:min_count=5:table=person`; see `Input`.
    ids: Columns of lists of such values (in CSV with `|` between them):
      `tags:max_len=20:combiner=sum`.
    float: Columns of numbers: `price:scaling=log`.
    click: Column of the label, 0 or 1.
    cart: Column of the label between click and conversion, if there is one.
    conversion: Column of the label.
    conversion_without_click: A row with a later event and without an earlier
      one is an `error`, is left out (`drop`), has the later one made 0 (`keep`)
      or the earlier one made 1 (`click`).
    group: Column whose values GAUC groups by, a user or a session.
    time: Column of the time, for `split='time'`.
    split: `random`, `time`, `column` or `files`.
    split_by: `random`: rows with one value of this column stay together.
    split_column: `column`: holds train, valid or test; other rows are left out.
    valid_share: `random`, `time`: of the rows (of the values of `split_by`).
    test_share: The same, of the test split; in time the latest rows.
    valid_from: `time`: a number or date at which validation begins, instead of
      the shares.
    test_from: The same, of the test split.
    split_seed: Of `random`.
    min_count: Of all columns that do not say their own.
    shard_rows: Rows of a file of the prepared data.
  """

  name: str = ''
  files: str = ''
  valid_files: str = ''
  test_files: str = ''
  id: str = ''
  ids: str = ''
  float: str = ''
  click: str = 'click'
  cart: str = ''
  conversion: str = 'conversion'
  conversion_without_click: str = 'error'
  group: str = ''
  time: str = ''
  split: str = 'random'
  split_by: str = ''
  split_column: str = ''
  valid_share: Any = 0.1
  test_share: Any = 0.1
  valid_from: str = ''
  test_from: str = ''
  split_seed: int = 0
  min_count: int = 2
  shard_rows: int = 1 << 20

  def __post_init__(self):
    self.inputs = [
        column
        for kind in _OPTIONS
        for column in _columns(kind, getattr(self, kind), self.min_count)
    ]
    self._check()
    options = {name: getattr(self, name) for name in self._defaults()}
    for key in ('files', 'valid_files', 'test_files'):
      options[key] = [_absolute(p) for p in listed(options[key])]
    text = json.dumps(options, sort_keys=True)
    self.name = hashlib.sha256(text.encode()).hexdigest()[:12]
    self.description = 'The name is a hash of the options.'

  def _check(self) -> None:
    for option, allowed in (
        ('split', RULES), ('conversion_without_click', UNCLICKED)):
      value = getattr(self, option)
      if value not in allowed:
        raise InputError(
            f'dataset.{option} is {value!r}, which is not known.'
            f' {suggest(value, allowed)}'
        )
    if not self.inputs:
      raise InputError(
          'dataset.id, dataset.ids and dataset.float name no column; the model'
          " would have nothing to read. Write dataset.id='user_id,item_id' say."
      )
    names = [c.name for c in self.inputs]
    labels = [self.click, self.cart, self.conversion]
    for name in names:
      if names.count(name) > 1:
        raise InputError(
            f'Column {name!r} stands twice in the dataset section.')
      if name in labels:
        raise InputError(
            f'Column {name!r} is a label; it cannot be an input too.')
      # A column is stored under its name and a label under its task's.
      stored = (GROUP, ROW, FILE, *self.events)
      if name in stored or '/' in name or name.startswith('.'):
        raise InputError(
            f'Column {name!r}: a column cannot have that name here; rename it.')
    for option in ('click', 'conversion'):
      if not getattr(self, option):
        raise InputError(f'dataset.{option} names no column; it must.')
    for option, rule in (
        ('time', 'time'), ('split_column', 'column'), ('test_files', 'files')):
      if self.split == rule and not getattr(self, option):
        raise InputError(
            f"dataset.split is '{rule}', but dataset.{option} is empty.")
    if (self.valid_files or self.test_files) and self.split != 'files':
      raise InputError(
          "dataset.valid_files and test_files are of dataset.split='files'.")
    for option in ('valid_share', 'test_share'):
      if not 0 <= getattr(self, option) < 1:
        raise InputError(
            f'dataset.{option} is {getattr(self, option)}; it must be at least'
            ' 0 and below 1.')
    if self.valid_share + self.test_share >= 1:
      raise InputError(
          'dataset.valid_share and test_share leave nothing to train on; their'
          ' sum must be below 1.')
    if self.shard_rows < 1:
      raise InputError(
          f'dataset.shard_rows is {self.shard_rows}; it must be at least 1.')

  @classmethod
  def of(cls, options: Mapping[str, Any]) -> 'TabularConfig':
    """One with options as a config or a command line has them.

    20220503 for a text is '20220503' and 0 for a share 0.0: the same options
    make the same data.

    Raises:
      InputError: An option is not known, of another kind or not possible.
    """
    defaults = cls._defaults()
    for name in options:
      if name not in defaults:
        raise InputError(
            f'dataset.{name} is set, but Tabular has no such option.'
            f' {suggest(name, defaults)}'
        )
    return cls(**{n: _like(v, defaults[n], n) for n, v in options.items()})

  @classmethod
  def _defaults(cls) -> dict[str, Any]:
    """Option -> default, without what all data sets of TFDS have."""
    theirs = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}
    return {
        f.name: f.default
        for f in dataclasses.fields(cls)
        if f.name not in theirs
    }

  @property
  def tasks(self) -> Tasks:
    return CART_FUNNEL if self.cart else FUNNEL

  @property
  def events(self) -> dict[str, str]:
    """Label -> column of the file, earlier events first."""
    return {t.label: getattr(self, t.label) for t in self.tasks}

  @property
  def schema(self) -> Schema:
    """The schema, vocabulary sizes 0."""
    return Schema(
        tuple(c.field() for c in self.inputs),
        self.tasks,
        group=GROUP if self.group else '',
    )

  @property
  def read(self) -> list[str]:
    """All columns that are read of the files."""
    more = [self.group]
    more += [self.time] if self.split == 'time' else []
    more += [self.split_by] if self.split == 'random' else []
    more += [self.split_column] if self.split == 'column' else []
    names = [c.name for c in self.inputs] + [*self.events.values(), *more]
    return list(dict.fromkeys(filter(None, names)))

  def boundary(self, option: str) -> Any:
    """`valid_from` or `test_from` as `raw_values.times` has it, or None."""
    text = getattr(self, option)
    if not text:
      return None
    place = Place(f'dataset.{option}')
    (found,) = times(arrow([str(text)], option, place), option, place)
    return found.item()


def _like(value: Any, default: Any, option: str) -> Any:
  """An option as its default is: a text, a whole number or a number."""
  kinds = {str: (str, int, float), int: (int,), float: (int, float)}
  nouns = {str: 'a text', int: 'a whole number', float: 'a number'}
  kind = type(default)
  if isinstance(value, bool) or not isinstance(value, kinds[kind]):
    raise InputError(
        f'dataset.{option} is {value!r}; it must be {nouns[kind]}.'
    )
  return kind(value)


def listed(text: str) -> list[str]:
  """The parts between commas."""
  return [p.strip() for p in text.split(',') if p.strip()]


def _absolute(path: str) -> str:
  return path if '://' in path else os.path.abspath(path)


def _columns(kind: str, text: str, min_count: int) -> list[Input]:
  """Columns and their options."""
  found = []
  for part in listed(text):
    name, *options = part.split(':')
    given: dict[str, Any] = {} if kind == 'float' else {'min_count': min_count}
    for option in options:
      key, equals, value = option.partition('=')
      if key not in _OPTIONS[kind] or not equals:
        raise InputError(
            f'dataset.{kind}: {part!r}: {option!r} is no option of such a'
            f' column; write KEY=VALUE. {suggest(key, _OPTIONS[kind])}')
      try:
        given[key] = _OPTIONS[kind][key](value)
      except ValueError as e:
        raise InputError(
            f'dataset.{kind}: {part!r}: {value!r} is no whole number.') from e
    column = Input(name, kind, **given)
    for key, least in (('min_count', 1), ('max_values', 0), ('max_len', 1)):
      if getattr(column, key) < least:
        raise InputError(
            f'dataset.{kind}: {part!r}: {key} must be at least {least}.')
    for key, allowed in (('combiner', COMBINERS), ('scaling', SCALINGS)):
      value = getattr(column, key)
      if value not in allowed:
        raise InputError(
            f'dataset.{kind}: {part!r}: {key} is {value!r}, which is not'
            f' known. {suggest(value, allowed)}')
    found.append(column)
  return found

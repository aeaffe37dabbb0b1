"""The options of a user's own log: its columns, labels and splits."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
import os
from typing import Any

from esmm_jax.data.files.raw_values import boundary, Times
from esmm_jax.data.store.policies import POLICIES
from esmm_jax.data.tabular import growing
from esmm_jax.data.tabular.inputs import KINDS, parse_inputs, split_commas
from esmm_jax.options import check_choice, refuse_unknown
from esmm_jax.schema import Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Tasks
from esmm_jax.types import InputError
import tensorflow_datasets as tfds

SPLITS = ('train', 'valid', 'test')
RULES = ('random', 'time', 'column', 'files')
UNCLICKED = ('error', *POLICIES)
# Columns that are stored beside the fields and labels.
GROUP, ROW, FILE = 'group_key', 'row_number', 'file_number'


@dataclasses.dataclass(eq=False)
class TabularConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options; do not set it.
    files: CSV and Parquet files: paths, globs and remote paths of fsspec, with
      commas between.
    valid_files: Those of the validation split, for `split='files'`.
    test_files: Those of the test split.
    id: Columns of one categorical value, with commas between. A name may be
      followed by options: `user:min_count=5:table=person`; see `Input`.
    ids: Columns of lists of such values (in CSV with `|` or the column's
      separator between them, or as JSON): `tags:max_len=20:combiner=sum`.
    float: Columns of numbers: `price:scaling=log`.
    click: Column of the label, 0 or 1.
    cart: Column of the label between click and conversion; '' for none.
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
    min_count: Of the columns that have none of their own.
    shard_rows: Rows of a file of the prepared data.
    vocabulary_of: Folder of a run whose vocabulary grows by the values of this
      log, and whose scaling of numbers is kept; '' fits both anew.
    vocabulary_sha256: Its fingerprint (`growing`); '' takes that of today.
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
  vocabulary_of: str = ''
  vocabulary_sha256: str = ''

  def __post_init__(self):
    self.inputs = [
        column
        for kind in KINDS
        for column in parse_inputs(kind, getattr(self, kind), self.min_count)
    ]
    self._check_inputs()
    self._check_labels()
    self._check_split()
    if self.vocabulary_of and not self.vocabulary_sha256:
      self.vocabulary_sha256 = growing.fingerprint(self.vocabulary_of)
    options = {name: getattr(self, name) for name in self._defaults()}
    # By its content, wherever it lies; absent where unset, as it was before
    # there was the option.
    del options['vocabulary_of']
    if not self.vocabulary_sha256:
      del options['vocabulary_sha256']
    # The same files make the same data, whatever folder the program runs in.
    for key in ('files', 'valid_files', 'test_files'):
      options[key] = [_absolute(p) for p in split_commas(options[key])]
    text = json.dumps(options, sort_keys=True)
    self.name = hashlib.sha256(text.encode()).hexdigest()[:12]
    self.description = 'The name is a hash of the options.'

  def _check_inputs(self) -> None:
    if not self.inputs:
      raise InputError(
          'dataset.id, dataset.ids and dataset.float name no column; the model'
          " would have nothing to read. Write dataset.id='user_id,item_id' say."
      )
    names = [c.name for c in self.inputs]
    for name in names:
      if names.count(name) > 1:
        raise InputError(
            f'Column {name!r} stands twice in the dataset section.'
        )
      if name in (self.click, self.cart, self.conversion):
        raise InputError(
            f'Column {name!r} is a label; it cannot be an input too.'
        )
      # A column is a file of its name, a label one of its task's label.
      stored = (GROUP, ROW, FILE, *self.events)
      if name in stored or '/' in name or name.startswith('.'):
        raise InputError(
            f'Column {name!r}: a column cannot have that name here; rename it.'
        )

  def _check_labels(self) -> None:
    policy = self.conversion_without_click
    check_choice('dataset.conversion_without_click', policy, UNCLICKED)
    for option in ('click', 'conversion'):
      if not getattr(self, option):
        raise InputError(f'dataset.{option} names no column; it must.')

  def _check_split(self) -> None:
    check_choice('dataset.split', self.split, RULES)
    needed = {'time': 'time', 'column': 'split_column', 'files': 'test_files'}
    option = needed.get(self.split)
    if option and not getattr(self, option):
      raise InputError(
          f"dataset.split is '{self.split}', but dataset.{option} is empty."
      )
    if (self.valid_files or self.test_files) and self.split != 'files':
      raise InputError(
          "dataset.valid_files and test_files are of dataset.split='files'."
      )
    for option in ('valid_share', 'test_share'):
      if not 0 <= getattr(self, option) < 1:
        raise InputError(
            f'dataset.{option} is {getattr(self, option)}; it must be at least'
            ' 0 and below 1.'
        )
    if self.valid_share + self.test_share >= 1:
      raise InputError(
          'dataset.valid_share and test_share leave nothing to train on; their'
          ' sum must be below 1.'
      )
    if self.shard_rows < 1:
      raise InputError(
          f'dataset.shard_rows is {self.shard_rows}; it must be at least 1.'
      )

  @classmethod
  def from_options(cls, options: Mapping[str, Any]) -> 'TabularConfig':
    """Makes one from options as a config or a command line holds them.

    20220503 for a text is '20220503' and 0 for a share 0.0: the same options
    make the same data.

    Raises:
      InputError: An option is not known, of another kind or not possible.
    """
    defaults = cls._defaults()
    refuse_unknown(options, list(defaults), 'dataset', 'Tabular')
    return cls(
        **{
            name: _like(options[name], default, name)
            for name, default in defaults.items()
            if name in options
        }
    )

  @classmethod
  def _defaults(cls) -> dict[str, Any]:
    """Returns option -> default, without the fields of any TFDS config."""
    inherited = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}
    return {
        f.name: f.default
        for f in dataclasses.fields(cls)
        if f.name not in inherited
    }

  @property
  def tasks(self) -> Tasks:
    return CART_FUNNEL if self.cart else FUNNEL

  @property
  def events(self) -> dict[str, str]:
    """Label -> column of the file, earlier events first."""
    return {t.label: getattr(self, t.label) for t in self.tasks}

  @property
  def label_columns(self) -> list[str]:
    """The columns of the file that labels are read from."""
    return list(dict.fromkeys(self.events.values()))

  @property
  def schema(self) -> Schema:
    """The schema, vocabulary sizes 0."""
    return Schema(
        tuple(c.field() for c in self.inputs),
        self.tasks,
        group=GROUP if self.group else '',
    )

  @property
  def base(self) -> growing.Reference:
    """The run whose vocabulary grows."""
    return growing.Reference(self.vocabulary_of, self.vocabulary_sha256)

  @property
  def read(self) -> list[str]:
    """The columns that are read from the files."""
    more = [self.group]
    more += [self.time] if self.split == 'time' else []
    more += [self.split_by] if self.split == 'random' else []
    more += [self.split_column] if self.split == 'column' else []
    names = [c.name for c in self.inputs] + [*self.events.values(), *more]
    return list(dict.fromkeys(filter(None, names)))

  def boundary(self, option: str, column: Times) -> Any:
    """Returns `valid_from` or `test_from` as a time of the column, or None."""
    text = str(getattr(self, option))
    if not text:
      return None
    return boundary(text, f'dataset.{option}', column, self.time)


def _like(value: Any, default: Any, option: str) -> Any:
  """Converts an option to the type of its default."""
  kinds = {str: (str, int, float), int: (int,), float: (int, float)}
  nouns = {str: 'a text', int: 'a whole number', float: 'a number'}
  kind = type(default)
  if isinstance(value, bool) or not isinstance(value, kinds[kind]):
    raise InputError(
        f'dataset.{option} is {value!r}; it must be {nouns[kind]}.'
    )
  return kind(value)


def _absolute(path: str) -> str:
  return path if '://' in path else os.path.abspath(path)

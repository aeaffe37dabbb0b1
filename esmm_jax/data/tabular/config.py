"""The options of a user's own log: its columns, labels and splits."""

from collections.abc import Mapping
import dataclasses
import hashlib
import json
from typing import Any

from esmm_jax import paths
from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.quoted_names import split_names, unquote
from esmm_jax.data.history.specs import NIGHTLY, protocol
from esmm_jax.data.store.options import like
from esmm_jax.data.store.policies import POLICIES
from esmm_jax.data.tabular import agreement, growing, labels, splits
from esmm_jax.data.tabular.cells.parse import parse_all
from esmm_jax.data.tabular.inputs import CROSSES, KINDS
from esmm_jax.data.tabular.past import options as past_options
from esmm_jax.options import check_choice, check_number, Range
from esmm_jax.options import refuse_unknown
from esmm_jax.schema import Schema
import tensorflow_datasets as tfds

SPLITS = splits.SPLITS
_SHARES = ('valid_share', 'test_share')
_CHOICES = {
    'conversion_without_click': ('error', *POLICIES),
    'unknown_conversion': labels.UNKNOWN,
}
# Columns that are stored beside the fields and labels.
GROUP, ROW, FILE = 'group_key', 'row_number', 'file_number'
WEIGHT, BLOCK = 'row_weight', 'history_block'
# Options that earlier versions lacked: unset, they are no part of the hash.
_NEW = (
    *('labels', 'unknown_conversion', 'weight', 'vocabulary_sha256', 'fit_on'),
    CROSSES,
    *past_options.NAMES,
)

_RANGES = {
    'shard_rows': Range(1, 2**31 - 1),
    'split_seed': Range(0, 2**64 - 1),
}
# Options that are the name of one column.
_ONE_COLUMN = ('group', 'time', 'split_by', 'split_column', 'weight')
_UNQUOTED = (*_ONE_COLUMN, 'history_request')


@dataclasses.dataclass(eq=False)
class TabularConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options; do not set it.
    files: CSV and Parquet files: paths, globs, folders and remote paths of
      fsspec, with commas between.
    valid_files: Those of the validation split, for `split='files'`.
    test_files: Those of the test split.
    id: Columns of one categorical value, with commas between. A name may be
      followed by options: `user:min_count=5:table=person`; see `Input`. Of a
      number, `price:buckets=10`, it is the bucket.
    ids: Columns of lists of such values (in CSV with `|` or the column's
      separator between them, or as JSON): `tags:max_len=20:combiner=sum`.
    float: Columns of numbers: `price:scaling=log`.
    crosses: Pairs of columns, `city*category`; see `cells.parse`.
    click: Column of the label, 0 or 1, or a comparison (`dwell>30`,
      `action==buy`); '' in a log of clicks.
    cart: The same, of the label between click and conversion; '' for none.
    conversion: The same; '' for none.
    labels: More labels, with commas between: `like:after=click,share`; see
      `labels.make_tasks`.
    conversion_without_click: A row with a later event and without an earlier
      one is an `error`, is left out (`drop`), has the later one made 0 (`keep`)
      or the earlier one made 1 (`click`).
    unknown_conversion: A later event that is null or -1 is an `error`, or 0
      where the earlier one is 0; where that is 1 it is an error (`zero`) or
      the row is left out (`drop`).
    weight: Column of the weight of each row in the loss; '' for none.
    group: Column whose values GAUC groups by, a user or a session.
    time: Column of the time, for `split='time'`.
    split: `random`, `time`, `column` or `files`.
    split_by: `random`: rows with one value of this column stay together, those
      without one each by itself; with `files` those that `valid_share` takes.
    split_column: `column`: holds train, valid or test, or what people write for
      them (`splits.of_names`); other rows are left out.
    valid_share: `random`, `time`: of the rows (of the values of `split_by`);
      with `test_from` of the rows before it. `files`: of the rows of `files`,
      taken as `random` does; unset, none. None, unset, is .1 otherwise.
    test_share: `random`, `time`: of the rows; in time the latest ones.
    valid_from: `time`: a number or date at which validation begins, instead of
      the share.
    test_from: The same, of the test split.
    split_seed: Of `random`, and as `split_by` of `files`.
    min_count: Of the columns that have none of their own.
    shard_rows: Rows of a file of the prepared data.
    separator: Of CSV files, as the next ones; see `Dialect`.
    header, encoding, null_values, quote, format: See there.
    vocabulary_of: Folder of a run whose vocabulary grows by the values of this
      log, and whose scaling of numbers is kept; '' fits both anew.
    vocabulary_sha256: Its fingerprint (`growing`); '' takes that of today.
    fit_on: Rows that vocabularies and scaling are fitted on: `train`, or
      `train+valid`, for a run that trains on both (`refit_of`).
    history: Columns of the past of keys, `user:delay=10m,user+tab`; see
      `data.history.language`. Needs `time`.
    history_form: Of its numbers: `float`, `bucket` or `both`.
    history_strength: Pseudo-counts of its rates.
    history_zone: Zone in which its days begin; '': that of `time`, or UTC.
    history_request: Column of the request of a row, whose rows are shown
      together and see nothing of each other; '' for none.
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
  labels: str = ''
  conversion_without_click: str = 'error'
  unknown_conversion: str = 'error'
  weight: str = ''
  group: str = ''
  time: str = ''
  split: str = 'random'
  split_by: str = ''
  split_column: str = ''
  valid_share: Any = None
  test_share: Any = None
  valid_from: str = ''
  test_from: str = ''
  split_seed: int = 0
  min_count: int = 2
  shard_rows: int = 1 << 20
  separator: str = ''
  header: str = ''
  encoding: str = ''
  null_values: str = ''
  quote: str = ''
  format: str = ''
  vocabulary_of: str = ''
  vocabulary_sha256: str = ''
  fit_on: str = 'train'
  history: str = ''
  history_form: str = 'both'
  history_strength: Any = 20.0  # `float` is a field here.
  history_zone: str = ''
  history_request: str = ''
  crosses: str = ''

  def __post_init__(self):
    self.dialect = Dialect.read({n: getattr(self, n) for n in dialects.NAMES})
    for option in _UNQUOTED:
      setattr(self, option, unquote(getattr(self, option)))
    texts = {kind: getattr(self, kind) for kind in (*KINDS, CROSSES)}
    self.inputs = agreement.with_targets(parse_all(texts, self.min_count))
    self._check_labels()
    self._check_inputs()
    self._check_split()
    if self.vocabulary_of and not self.vocabulary_sha256:
      self.vocabulary_sha256 = growing.fingerprint(self.vocabulary_of)
    options = {name: getattr(self, name) for name in self._defaults()}
    del options['vocabulary_of']  # By its content, wherever it lies.
    # The same files make the same data, whatever folder the program runs in.
    for key in ('files', 'valid_files', 'test_files'):
      options[key] = list(map(paths.absolute, split_names(options[key])))
    for name in (*dialects.NAMES, *_NEW):
      # Data that was prepared before it was an option.
      if options[name] in ('', None, self._defaults()[name]):
        del options[name]
    text = json.dumps(options | self._new_rules(), sort_keys=True)
    self.name = hashlib.sha256(text.encode()).hexdigest()[:12]
    self.description = 'The name is a hash of the options.'

  def _check_inputs(self) -> None:
    self.specs = past_options.parse(self, self._chosen())
    # A label is stored under that of its task.
    stored = [GROUP, ROW, FILE, *self.events]
    stored += [WEIGHT] * bool(self.weight) + [BLOCK] * self.has_blocks
    history = [f.name for f in past_options.fields(self)]
    agreement.check_names(self.inputs, self.events, stored, history)

  def _check_labels(self) -> None:
    for option, choices in _CHOICES.items():
      check_choice(f'dataset.{option}', getattr(self, option), choices)
    # Label -> what it is read from, earlier events first.
    self.tasks, self.events = labels.make_tasks(
        self.click, self.cart, self.conversion, self.labels
    )

  def _check_split(self) -> None:
    for name, allowed in _RANGES.items():
      check_number(f'dataset.{name}', getattr(self, name), allowed)
    chosen = self._chosen()
    splits.check(chosen, bool(self.specs))
    self.split_names = splits.names(chosen)
    agreement.check_columns(
        self.inputs,
        self.events,
        {name: getattr(self, name) for name in _ONE_COLUMN},
    )
    agreement.check_tables(self.inputs)
    self.valid_of_train = 0.0
    if self.split == 'files':
      self.valid_of_train = self.valid_share or 0.0
    for name in _SHARES:
      if getattr(self, name) is None:
        setattr(self, name, splits.DEFAULT_SHARE)

  def _chosen(self) -> dict[str, Any]:
    """Returns the options that differ from the default, and `split`."""
    return {
        name: value
        for name, default in self._defaults().items()
        if (value := getattr(self, name)) != default or name == 'split'
    }

  def _new_rules(self) -> dict[str, Any]:
    """Returns the rules that earlier versions lacked and this log is split by.

    They are part of the hash, so that no data of earlier versions is used.
    """
    share = self.valid_of_train
    rules: dict[str, Any] = {'valid_of_train': share} if share else {}
    if self.split == 'time' and self.test_from and not self.valid_from:
      rules['valid_share_of'] = 'rows before test_from'
    return rules

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
            name: like(options[name], _kind(name, default), name)
            for name, default in defaults.items()
            if options.get(name) is not None
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
  def schema(self) -> Schema:
    """The schema of the inputs, without a history; vocabulary sizes 0."""
    return Schema(
        tuple(c.field() for c in self.inputs),
        self.tasks,
        group=GROUP if self.group else '',
        weight=WEIGHT if self.weight else '',
    )

  @property
  def has_blocks(self) -> bool:
    """True if GAUC compares rows of one block alone; see `history.blocks`."""
    is_live = protocol(self.specs) not in ('', NIGHTLY)
    return is_live and bool(self.group)

  @property
  def splits_by_value(self) -> bool:
    """True if rows with one value of `split_by` stay together."""
    return bool(self.split_by) and self.split in ('random', 'files')

  @property
  def read(self) -> list[str]:
    """The columns that are read from the files."""
    more = [self.weight, self.group]
    more += [self.time] if self.split == 'time' else []
    more += [self.split_by] if self.splits_by_value else []
    more += [self.split_column] if self.split == 'column' else []
    events = [event.column for event in self.events.values()]
    names = [n for c in self.inputs for n in c.columns] + [*events, *more]
    names += past_options.columns(self)
    return list(dict.fromkeys(filter(None, names)))


def _kind(option: str, default: Any) -> type:
  return float if option in _SHARES else type(default)

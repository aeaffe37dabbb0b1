"""Options of KuaiRand-Pure: their defaults, checks and folder names."""

import dataclasses
import functools
from typing import Any

from esmm_jax import checksums
from esmm_jax.data.history import language, specs as history_specs
from esmm_jax.data.history.specs import Counter, Entries, FORMS, Spec
from esmm_jax.data.kuairand.features import KEYS, LIST, NUMBERS
from esmm_jax.data.store.options import FIT_ON
from esmm_jax.data.store.policies import POLICIES
from esmm_jax.options import check_choice, check_number, COUNT, POSITIVE
from esmm_jax.tasks import FUNNEL, Task, Tasks
from esmm_jax.types import InputError, suggest
import tensorflow_datasets as tfds

# Name of the conversion -> the raw column that must go with a click.
CONVERSIONS = {'long_view': 'long_view', 'like': 'is_like'}
# The history that `true` stands for.
HISTORY = 'user_id,video_id,author_id,tags,tab,hour'
# As people write them on a command line; JSON and Python have their own.
_TRUTHS = {'true': True, 'false': False, 'none': False, '': False}
_LABELS = ('click', 'conversion')
PLAY_TIME = Task('play_time', 'play_time', 'ctr', kind='regression')


@dataclasses.dataclass(eq=False)
class KuaiRandConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options that change the data; leave it.
    raw_dir: Folder `KuaiRand-Pure` of the official archive, which holds data/.
      Needed to prepare; later only to check that the files are the same.
    conversion: `long_view` (dense, 70 % of clicks) or `like` (sparse, 3 %).
    play_time: Adds the task `play_time`, a regression on the clicked rows.
    test_days: The last days of the log are the test split.
    valid_days: The days before them are the validation split.
    history: Adds what was known of keys before each row: a text of the
      language of `esmm_jax.data.history`, or true for `HISTORY`, the rates and
      counts of six keys on the days before.
    history_form: `float`, `bucket` (ids of equal-mass buckets) or `both`.
    history_strength: Pseudo-counts of the smoothing, above 0.
    history_live: Of a history by day. Rows of a later day of validation or
      test see the earlier days of it, as they would in production; AUC and GAUC
      then compare rows of one day (`ColumnarBuilder.period`). Otherwise these
      rows see only the days before their split, and no label of it enters an
      input.
    min_count: A user, video, author or piece of music with fewer training rows
      is rare. At 1 no training row is rare, and the embedding that unseen
      values get is never trained.
    conversion_without_click: Policy for a long view or like without click:
      `keep` the row with both labels 0, `drop` the row, or count it as a
      `click`.
    check_counts: Refuses files with an official name and other numbers of rows,
      but for examples with less than a third, see
      `esmm_jax.data.kuairand.official`. Changes nothing that is stored.
    drop_duplicates: Keeps only the first of the rows that agree on (user_id,
      video_id, time_ms).
    fit_on: Rows that vocabularies, scalings and buckets are fitted on: `train`,
      or `train+valid`, for a run that trains on both (`refit_of`); each row of
      validation then sees all days before its own, as training rows do.
  """

  name: str = ''
  raw_dir: str = ''
  conversion: str = 'long_view'
  play_time: bool = False
  test_days: int = 2
  valid_days: int = 1
  history: bool | str = False
  history_form: str = 'both'
  history_strength: float = 20.0
  history_live: bool = False
  min_count: int = 2
  conversion_without_click: str = 'keep'
  drop_duplicates: bool = False
  check_counts: bool = True
  fit_on: str = 'train'

  def __post_init__(self):
    choices = {
        'conversion': CONVERSIONS,
        'conversion_without_click': POLICIES,
        'history_form': FORMS,
        'fit_on': FIT_ON,
    }
    for name, values in choices.items():
      check_choice(f'dataset.{name}', getattr(self, name), values)
    for name in ('test_days', 'valid_days', 'min_count'):
      check_number(f'dataset.{name}', getattr(self, name), COUNT)
    check_number('dataset.history_strength', self.history_strength, POSITIVE)
    self.history = _normal(self.history)
    if self.history_live and self.is_live:
      words = history_specs.protocol(self.specs)
      raise InputError(
          f'dataset.history_live is set, but dataset.history is {words} by'
          ' itself; leave dataset.history_live out.'
      )
    parts = [
        self.conversion,
        f'test{self.test_days}',
        f'valid{self.valid_days}',
        f'min{self.min_count}',
        f'{self.conversion_without_click}_unclicked',
    ]
    if self.play_time:
      parts.append('play_time')
    if self.drop_duplicates:
      parts.append('no_duplicates')
    if self.history:
      parts.append(self._history_name())
    if self.fit_on != FIT_ON[0]:
      parts.append('fit_' + self.fit_on.replace('+', '_'))
    self.name = '-'.join(parts)
    self.description = 'The name lists the options.'

  @property
  def tasks(self) -> Tasks:
    """The tasks that the data set has labels for."""
    return (*FUNNEL, PLAY_TIME) if self.play_time else FUNNEL

  @functools.cached_property
  def specs(self) -> tuple[Spec, ...]:
    """The columns of the history."""
    if not self.history:
      return ()
    text = HISTORY if self.history is True else self.history
    specs = language.parse(
        text, _LABELS, self.history_form, float(self.history_strength)
    )
    for spec in specs:
      _check(spec)
    return specs

  @property
  def is_live(self) -> bool:
    """True if rows see labels of their own day, or sessions."""
    return history_specs.protocol(self.specs) not in ('', history_specs.NIGHTLY)

  @property
  def is_capped(self) -> bool:
    """True if held-out rows see nothing of their split."""
    return not self.history_live and not self.is_live

  @property
  def protocol(self) -> str:
    """Tells what scores may know, see `ColumnarBuilder.history`."""
    words = history_specs.protocol(self.specs)
    if words and self.history_live:
      return f'live, delay {history_specs.shortest_delay(self.specs)}'
    return words

  def _history_name(self) -> str:
    """Returns the part of the folder's name that tells the history."""
    strength = repr(float(self.history_strength)).removesuffix('.0')
    live = '_live' if self.history_live else ''
    held_out = self.fit_on == FIT_ON[0]
    if self.valid_days > 1 and held_out and self.is_capped:
      live = '_capped'  # Earlier versions let validation rows see theirs.
    if self.history is True:
      return f'history_{self.history_form}_{strength}{live}'
    columns = [
        [type(spec).__name__, dataclasses.asdict(spec)] for spec in self.specs
    ]
    columns += ['block'] if self.is_live else []
    return f'history_{checksums.hash_json(columns)[:16]}{live}'


def _normal(history: Any) -> bool | str:
  """Returns the option as a truth or a text of the language.

  Raises:
    InputError: It is of another type.
  """
  if isinstance(history, str):
    return _TRUTHS.get(history.strip().lower(), history)
  if history in (True, False):  # Also 0 and 1.
    return bool(history)
  raise InputError(
      f'dataset.history is {history!r}; it must be true, false, or a text like'
      " 'user_id:delay=10m,video_id'."
  )


def _check(spec: Spec) -> None:
  """Refuses a spec with columns that the log does not have.

  Raises:
    InputError: Names the column.
  """
  names = list(spec.key)
  names += [spec.column] if isinstance(spec, Entries) else []
  for name in names:
    if name not in KEYS:
      raise InputError(
          f'dataset.history names {name!r}, which is no column that a history'
          f' of KuaiRand can have. {suggest(name, KEYS)}'
      )
  needs_one = not isinstance(spec, Counter) or spec.last
  if LIST in names and needs_one:
    raise InputError(
        f'dataset.history: a row has many {LIST}, so they have rates and'
        f' counts only; leave the session, the list or `last` of {LIST} out.'
    )
  amounts = getattr(spec, 'amounts', ())
  allowed = (history_specs.IMPRESSIONS, *_LABELS, *NUMBERS)
  for name in amounts:
    if name not in allowed:
      raise InputError(
          f'dataset.history: amounts names {name!r}, which KuaiRand does not'
          f' have. {suggest(name, allowed)}'
      )

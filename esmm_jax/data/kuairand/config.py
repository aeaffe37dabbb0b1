"""Options of KuaiRand-Pure: their defaults, checks and folder names."""

import dataclasses

from esmm_jax.data.kuairand.features import HISTORY_FORMS
from esmm_jax.data.store.options import FIT_ON
from esmm_jax.data.store.policies import POLICIES
from esmm_jax.options import check_choice, check_number, COUNT, POSITIVE
from esmm_jax.tasks import FUNNEL, Task, Tasks
import tensorflow_datasets as tfds

# Name of the conversion -> the raw column that must go with a click.
CONVERSIONS = {'long_view': 'long_view', 'like': 'is_like'}
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
    history: Adds out-of-time encodings of keys, see
      `esmm_jax.data.kuairand.history`.
    history_form: `float`, `bucket` (ids of equal-mass buckets) or `both`.
    history_strength: Pseudo-counts of the smoothing, above 0.
    history_live: Rows of a later day of validation or test see the earlier
      days of it, as they would in production; AUC and GAUC then compare rows of
      one day (`ColumnarBuilder.period`). Otherwise these rows see only the days
      before their split, and no label of it enters an input.
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
  history: bool = False
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
        'history_form': HISTORY_FORMS,
        'fit_on': FIT_ON,
    }
    for name, values in choices.items():
      check_choice(f'dataset.{name}', getattr(self, name), values)
    for name in ('test_days', 'valid_days', 'min_count'):
      check_number(f'dataset.{name}', getattr(self, name), COUNT)
    check_number('dataset.history_strength', self.history_strength, POSITIVE)
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
      strength = repr(float(self.history_strength)).removesuffix('.0')
      live = '_live' if self.history_live else ''
      capped = self.valid_days > 1 and self.fit_on == FIT_ON[0]
      if capped and not live:
        live = '_capped'  # Earlier versions let validation rows see theirs.
      parts.append(f'history_{self.history_form}_{strength}{live}')
    if self.fit_on != FIT_ON[0]:
      parts.append('fit_' + self.fit_on.replace('+', '_'))
    self.name = '-'.join(parts)
    self.description = 'The name lists the options.'

  @property
  def tasks(self) -> Tasks:
    """The tasks that the data set has labels for."""
    return (*FUNNEL, PLAY_TIME) if self.play_time else FUNNEL

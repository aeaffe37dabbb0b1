"""Options of Ali-CCP: their defaults, checks and folder names."""

import dataclasses
from typing import Any

from esmm_jax.data.ali_ccp.fields import PRESETS
from esmm_jax.data.store.options import option_names
from esmm_jax.data.store.policies import POLICIES
from esmm_jax.options import BELOW_ONE, check_choice, check_number, COUNT
from esmm_jax.options import Range
import tensorflow_datasets as tfds

_PART = Range(0, 1, open_low=True)
# Options with a fixed set of values.
_CHOICES = {
    'conversion_without_click': POLICIES,
    'without_common': ('error', 'drop', 'keep'),
    'bad_lines': ('error', 'drop'),
    'weight_dtype': ('float16', 'float32'),
}


@dataclasses.dataclass(eq=False)
class AliCcpConfig(tfds.core.BuilderConfig):
  """Options of the data set.

  Attributes:
    name: Folder name, made from the options that change the data; leave it.
    raw_dir: Folder of the CSV files or of the two archives. Needed to prepare;
      later only to check that the files are the same.
    preset: `esmm23` (23 fields, all values, their weights) or `aitm18` (18
      fields with one value each, no weights).
    min_count: A value in fewer training rows is rare; rows of validation
      sessions do not count. 0: the preset's, 10 or 11.
    valid_share: Share of the sessions of the training file that become the
      validation split, by a hash of their index; in [0, 1), 0 makes none.
    sample: Share of the sessions that are kept, by the same hash; in (0, 1].
    conversion_without_click: A row with a conversion and no click is left out
      (`drop`), kept with both labels 0 (`keep`), or counted as a `click`.
    without_common: A row whose index has no line in the common file is an
      `error`, is left out (`drop`), or kept without the user's fields (`keep`).
    bad_lines: A line that violates the format is an `error`, or is left out and
      counted (`drop`); so is the second line of an index in the common file.
    weight_dtype: Dtype of the stored weights. float16 has a relative error of
      up to 5e-4, and half the size.
    check_counts: Refuses files of the size of the official ones with other
      counts.
    threads: Threads that parse the text in one process, and that of an archive;
      they do not change the data. Where there are several --workers, each
      parses its parts of CSV files in one.
  """

  name: str = ''
  raw_dir: str = ''
  preset: str = 'esmm23'
  min_count: int = 0
  valid_share: float = 0.05
  sample: float = 1.0
  conversion_without_click: str = 'drop'
  without_common: str = 'error'
  bad_lines: str = 'error'
  weight_dtype: str = 'float16'
  check_counts: bool = True
  threads: int = 2

  def __post_init__(self):
    check_choice('dataset.preset', self.preset, PRESETS)
    for name, choices in _CHOICES.items():
      check_choice(f'dataset.{name}', getattr(self, name), choices)
    if not self.min_count:
      self.min_count = PRESETS[self.preset].min_count
    for name in ('min_count', 'threads'):
      check_number(f'dataset.{name}', getattr(self, name), COUNT)
    check_number('dataset.valid_share', self.valid_share, BELOW_ONE)
    check_number('dataset.sample', self.sample, _PART)
    parts = [
        self.preset,
        f'min{self.min_count}',
        f'valid{self.valid_share:g}',
        f'{self.conversion_without_click}_unclicked',
    ]
    if self.sample < 1:
      parts.append(f'sample{self.sample:g}')
    if self.without_common != 'error':
      parts.append(f'{self.without_common}_without_common')
    if self.bad_lines != 'error':
      parts.append(f'{self.bad_lines}_bad_lines')
    if self.weight_dtype != 'float16':
      parts.append(self.weight_dtype)
    self.name = '-'.join(parts)
    self.description = 'The name lists the options.'

  def data_options(self) -> dict[str, Any]:
    """Returns the options that change the data, for the report."""
    left_out = ('raw_dir', 'check_counts', 'threads')
    names = [n for n in option_names(AliCcpConfig) if n not in left_out]
    return {n: getattr(self, n) for n in names}

"""Options of the data set Ali-CCP."""

import dataclasses
from typing import Any

from esmm_jax.data.ali_ccp.fields import PRESETS
from esmm_jax.types import InputError, suggest
import tensorflow_datasets as tfds

POLICIES = {
    'conversion_without_click': ('drop', 'keep', 'click'),
    'without_common': ('error', 'drop', 'keep'),
    'bad_lines': ('error', 'drop'),
    'weight_dtype': ('float16', 'float32'),
}


@dataclasses.dataclass(eq=False)
class AliCcpConfig(tfds.core.BuilderConfig):
  """What is read of the raw files, and how.

  Attributes:
    name: Folder name, made from the options that change the data; leave it.
    raw_dir: Folder of the CSV files or of the two archives. Needed to prepare;
      later only to check that the files are the same.
    preset: `esmm23` (23 fields, all values, their weights) or `aitm18` (18
      fields with one value each, no weights).
    min_count: Training rows that hold a value at least so often make it one
      that is kept, otherwise it is rare. The rows of validation sessions do not
      count. 0: the preset's, 10 or 11.
    valid_share: Share of the sessions of the training file that become the
      validation split, by a hash of their index; 0 makes none.
    sample: Share of the sessions that are kept, by the same hash.
    conversion_without_click: A row with a conversion and no click is left out
      (`drop`), kept with both labels 0 (`keep`), or counted as a `click`.
    without_common: A row whose index has no line in the common file is an
      `error`, is left out (`drop`), or kept without the user's fields (`keep`).
    bad_lines: A line that is not of the format is an `error`, or is left out
      and counted (`drop`); so is the second line of an index in the common
      file.
    weight_dtype: Of the stored weights. float16 is off by up to 5e-4 of the
      weight, and half as large.
    check_counts: Refuse files that have the size of the official ones but other
      counts.
    threads: That read the text; they do not change the data.
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
    if self.preset not in PRESETS:
      raise InputError(
          f'AliCcp: preset is {self.preset!r}, which is not known.'
          f' {suggest(self.preset, PRESETS)}'
      )
    for option, allowed in POLICIES.items():
      if getattr(self, option) not in allowed:
        raise InputError(
            f'AliCcp: {option} is {getattr(self, option)!r}; it must be one of'
            f' {", ".join(allowed)}.'
        )
    if not self.min_count:
      self.min_count = PRESETS[self.preset].min_count
    for option in ('min_count', 'threads'):
      if getattr(self, option) < 1:
        raise InputError(
            f'AliCcp: {option} is {getattr(self, option)}; it must be at least'
            ' 1.'
        )
    if not 0 <= self.valid_share < 1:
      raise InputError(
          f'AliCcp: valid_share is {self.valid_share}; it must be at least 0'
          ' and below 1.'
      )
    if not 0 < self.sample <= 1:
      raise InputError(
          f'AliCcp: sample is {self.sample}; it must be above 0 and at most 1.'
      )
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

  def describing(self) -> dict[str, Any]:
    """The options that change the data, for the report."""
    own = [f.name for f in dataclasses.fields(AliCcpConfig)]
    left_out = {f.name for f in dataclasses.fields(tfds.core.BuilderConfig)}
    left_out |= {'raw_dir', 'check_counts', 'threads'}
    return {n: getattr(self, n) for n in own if n not in left_out}

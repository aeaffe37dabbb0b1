"""The fields of Ali-CCP and the presets of them that papers use.

The raw files come in pairs. A line of `sample_skeleton_SPLIT.csv` is one
impression, a line of `common_features_SPLIT.csv` what all impressions of one
session share:

  sample_id,click,conversion,common_feature_index,feature_num,LIST
  common_feature_index,feature_num,LIST

LIST is `field \\x02 feature_id \\x03 value`, joined by `\\x01`. The fields have
the publisher's numbers as names; there are no others.
"""

import dataclasses
from typing import NamedTuple

from esmm_jax.schema import Field, Schema

SPLITS = ('train', 'test')
MAX_ID = (1 << 24) - 1  # The largest feature_id of the files is below it.
SESSION = 'session'  # Column: the session's row in the group table.


class RawField(NamedTuple):
  """A field of the raw files.

  Attributes:
    name: The publisher's number.
    common: True in the common file, False in the skeleton.
    several: True if a line may hold several values.
    weighted: True if weights of values differ from 1.
    meaning: Description for people.
  """

  name: str
  common: bool
  several: bool
  weighted: bool
  meaning: str


RAW_FIELDS = tuple(
    RawField(*row)
    for row in (
        ('101', True, False, False, 'user'),
        ('109_14', True, True, True, 'categories the user met'),
        ('110_14', True, True, True, 'shops the user met'),
        ('121', True, False, False, 'profile category'),
        ('122', True, False, False, 'profile group'),
        ('124', True, False, False, 'gender'),
        ('125', True, False, False, 'age'),
        ('126', True, False, False, 'consumption level I'),
        ('127', True, False, False, 'consumption level II'),
        ('127_14', True, True, True, 'brands the user met'),
        ('128', True, False, False, 'occupation'),
        ('129', True, False, False, 'geography'),
        ('150_14', True, True, True, 'intentions the user met'),
        ('205', False, False, False, 'item'),
        ('206', False, False, False, 'category'),
        ('207', False, False, False, 'shop'),
        ('210', False, True, False, 'intentions of the item'),
        ('216', False, False, False, 'brand'),
        ('301', False, False, False, 'position'),
        ('508', False, False, True, 'category, met before (109_14 x 206)'),
        ('509', False, False, True, 'shop, met before (110_14 x 207)'),
        ('702', False, False, True, 'brand, met before (127_14 x 216)'),
        ('853', False, True, True, 'intentions, met before (150_14 x 210)'),
    )
)
BY_NAME = {f.name: f for f in RAW_FIELDS}
HISTORIES = tuple(f.name for f in RAW_FIELDS if f.common and f.several)


@dataclasses.dataclass(frozen=True)
class Preset:
  """A frozen choice of fields.

  Attributes:
    schema: Fields in the order of their numbers; no vocabulary sizes.
    min_count: A value in fewer training rows is rare.
    fingerprint: `Schema.fingerprint` of the schema; a test compares it.
  """

  schema: Schema
  min_count: int
  fingerprint: str


def _esmm23() -> Schema:
  """Returns all fields with all values, pooled by the sum of w_l e_l."""
  lengths = {'210': 8, '853': 3} | dict.fromkeys(HISTORIES, 16)
  return Schema(
      fields=tuple(
          Field(
              f.name,
              kind='ids' if f.several else 'id',
              max_len=lengths.get(f.name, 1),
              weighted=f.weighted,
              by_group=f.common,
          )
          for f in RAW_FIELDS
      ),
      group=SESSION,
  )


def _aitm18() -> Schema:
  """Returns the single-valued fields and 853, of which the last value counts.

  Without weights.
  """
  left_out = HISTORIES + ('210',)
  return Schema(
      fields=tuple(
          Field(f.name, by_group=f.common)
          for f in RAW_FIELDS
          if f.name not in left_out
      ),
      group=SESSION,
  )


PRESETS = {
    'esmm23': Preset(_esmm23(), min_count=10, fingerprint='b7068c101aa2dbae'),
    # AITM's paper: over 10. Its script needs 12: protocol `aitm2021`.
    'aitm18': Preset(_aitm18(), min_count=11, fingerprint='be672e5ad1f033d2'),
}

"""The writer of raw files."""

import os

from esmm_jax.data.ali_ccp.writer import CODES, RANGES, RawWriter, tokens
from esmm_jax.types import InputError
import numpy as np
import pytest


def test_bytes(tmp_path):
  """The first published lines have this form."""
  with RawWriter(str(tmp_path), 'train') as writer:
    of = tokens(
        2,
        [
            ('210', [0, 0], [9052218, 9064553], [100_000, 100_000]),
            ('853', [1], [7], [69_315]),
            ('508', [1], [8], [239_790]),
            ('210', [0], [1], [1_234_500_000]),
        ],
    )
    keys = np.array([0xBACFF91692951881, 0xA], np.uint64)
    writer.skeleton(np.array([1, 20]), [0, 1], [0, 1], keys, of)
    writer.common(keys, tokens(2, [('101', [1], [10], [0])]))
  assert (tmp_path / 'sample_skeleton_train.csv').read_bytes() == (
      b'1,0,0,bacff91692951881,3,210\x029052218\x031.0\x01210\x029064553\x03'
      b'1.0\x01210\x021\x0312345.0\n'
      b'20,1,1,000000000000000a,2,853\x027\x030.69315\x01508\x028\x032.3979\n'
  )
  assert (tmp_path / 'common_features_train.csv').read_bytes() == (
      b'bacff91692951881,0,\n000000000000000a,1,101\x0210\x030.0\n'
  )
  assert len(os.listdir(tmp_path)) == 2


def test_after_an_exception_nothing_is_left(tmp_path):
  with pytest.raises(InputError, match='negative'):
    with RawWriter(str(tmp_path), 'test') as writer:
      keys = np.zeros(1, np.uint64)
      writer.common(keys, tokens(1, [('101', [0], [1], [100_000])]))
      writer.common(keys, tokens(1, [('101', [0], [-1], [100_000])]))
  assert not os.listdir(tmp_path)


def test_ranges_are_in_order_and_apart():
  ends = 0
  for first, size in sorted(RANGES.values()):
    assert first >= ends and size > 0
    ends = first + size
  assert set(RANGES) == set(CODES)

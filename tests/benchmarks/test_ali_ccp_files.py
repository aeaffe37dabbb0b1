"""The random raw files of Ali-CCP."""

from esmm_jax.data.ali_ccp.writer import CODES, RANGES
import numpy as np
import pytest

from benchmarks.ali_ccp_files import random_block, write_random


@pytest.mark.slow
def test_random_files_have_the_shape_of_the_published_ones(tmp_path):
  n = write_random(str(tmp_path), 'train', 1500)
  again = tmp_path / 'again'
  write_random(str(again), 'train', 1500)
  for name in ('common_features_train.csv', 'sample_skeleton_train.csv'):
    assert (tmp_path / name).read_bytes() == (again / name).read_bytes()
  blocks = [random_block('train', k, num) for k, num in ((0, 1000), (1, 500))]
  assert sum(len(b.segment_ids) for b in blocks) == n
  rate = sum(b.click.sum() for b in blocks) / n
  assert abs(rate - 0.0389) < 5 * np.sqrt(0.0389 / n)
  assert 50 < n / 1500 < 66
  per_row = sum(len(b.skeleton.id) for b in blocks) / n
  per_session = sum(len(b.common.id) for b in blocks) / 1500
  assert 12 < per_row < 14 and 420 < per_session < 620
  for b in blocks:
    for code, name in enumerate(RANGES):
      first, size = RANGES[name]
      for of in (b.common, b.skeleton):
        ids = of.id[of.field == CODES[name]]
        assert not len(ids) or (
            first <= ids.min() and ids.max() < first + size
        ), (code, name)
  other = random_block('test', 0, 1000)
  assert (other.keys != blocks[0].keys).all()

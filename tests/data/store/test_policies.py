"""Conversions without click, by hand."""

from esmm_jax.data.store.policies import apply_conversion_policy, POLICIES
import numpy as np
import pytest

CLICK = np.array([0, 0, 1, 1], np.int8)
CONVERSION = np.array([0, 1, 0, 1], np.int8)
# Policy -> click, conversion and which rows are kept.
EXPECTED = {
    'drop': ([0, 0, 1, 1], [0, 0, 0, 1], [True, False, True, True]),
    'keep': ([0, 0, 1, 1], [0, 0, 0, 1], [True] * 4),
    'click': ([0, 1, 1, 1], [0, 1, 0, 1], [True] * 4),
    'error': ([0, 0, 1, 1], [0, 0, 0, 1], [True] * 4),
}


@pytest.mark.parametrize('policy', EXPECTED)
def test_policies(policy):
  joint = apply_conversion_policy(CLICK, CONVERSION, policy)
  click, conversion, is_kept = EXPECTED[policy]
  assert joint.click.tolist() == click and joint.click.dtype == np.int8
  assert joint.conversion.tolist() == conversion
  assert joint.conversion.dtype == np.int8
  assert joint.is_kept.tolist() == is_kept
  assert joint.unclicked.tolist() == [False, True, False, False]
  assert {*POLICIES, 'error'} == set(EXPECTED)
  # The arguments are those of a caller, and stay as they are.
  assert CLICK.sum() == CONVERSION.sum() == 2

"""Simulated logs that several tests read."""

from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.log import SimulatedLog
from esmm_jax.types import Ragged
import numpy as np

SIZES = dict(num_train=400_000, num_valid=20_000, num_test=80_000)
SMALL = dict(num_train=3_000, num_valid=500, num_test=1_000)
# Hardly any item of these is seen in training.
STRANGE = dict(SMALL, users=2_000, items=50_000)


def make_log(**dials):
  return SimulatedLog(simulator_config('default', **dials))


def assert_same(left, right):
  """The same columns, dtypes and values."""
  assert left.keys() == right.keys()
  for name, column in left.items():
    parts, others = [
        (c.values, c.offsets, c.weights) if isinstance(c, Ragged) else (c,)
        for c in (column, right[name])
    ]
    for part, other in zip(parts, others, strict=True):
      assert part.dtype == other.dtype, name
      np.testing.assert_array_equal(part, other, err_msg=name)

"""Compiled programs of the suite: their mappings and their flags."""

import gc

import jax
import jax.numpy as jnp
import pytest

from tests import optimization
from tests.conftest import num_mappings


def test_programs_that_are_dropped_give_their_mappings_back():
  """Thirty programs of three mappings, while somebody has the functions."""
  before = num_mappings()
  if not before:
    pytest.skip('no /proc/self/maps')
  functions = [jax.jit(lambda x, k=k: jnp.sin(x) * k) for k in range(30)]
  assert [float(f(0.0)) for f in functions] == [0.0] * 30
  many = num_mappings()
  assert many >= before + 60  # Others may be dropped meanwhile.
  jax.clear_caches()
  gc.collect()
  assert num_mappings() <= many - 60


def test_flags_that_jaxlib_does_not_have_are_left_out():
  flags = ['xla_cpu_enable_fast_math=true', 'xla_cpu_no_such_flag=1']
  assert (optimization.flags_of_jaxlib(flags)
          == '--xla_cpu_enable_fast_math=true')

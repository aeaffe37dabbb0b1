"""Compiles programs of tests quickly, or as users have them."""

import contextlib
import os
import sys

_NAME = 'jax_disable_most_optimizations'


def is_on() -> bool:
  """Returns whether programs that are compiled now are optimized."""
  if 'jax' in sys.modules:
    return not sys.modules['jax'].config.values[_NAME]
  return os.environ.get(_NAME.upper(), '0') in ('', '0')


@contextlib.contextmanager
def set_to(on: bool):
  """Lets the programs that are compiled in this block be optimized, or not."""
  import jax  # Only where it is used.

  before = is_on()
  jax.config.update(_NAME, not on)
  try:
    yield
  finally:
    jax.config.update(_NAME, not before)

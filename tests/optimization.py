"""Compiles programs of tests quickly, or as users have them."""

import contextlib
import importlib.util
import mmap
import os
import pathlib
import sys

_NAME = 'jax_disable_most_optimizations'
# With the emitters of kernels that XLA had before, and one module of LLVM for
# all kernels, the programs of training compile in a third of the time.
_QUICK = (
    'xla_cpu_use_fusion_emitters=false',
    'xla_cpu_parallel_codegen_split_count=1')


def is_on() -> bool:
  """Returns whether programs that are compiled now are optimized."""
  if 'jax' in sys.modules:
    return not sys.modules['jax'].config.values[_NAME]
  return os.environ.get(_NAME.upper(), '0') in ('', '0')


def flags_that_compile_quickly() -> str:
  """Returns flags for XLA_FLAGS, those that this version of jaxlib has.

  One that it does not know would end the process.
  """
  folder = pathlib.Path(importlib.util.find_spec('jaxlib').origin).parent
  flags = []
  for library in folder.glob('libjax_common.*'):
    with open(library, 'rb') as f:
      with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as text:
        flags += [f'--{q}' for q in _QUICK
                  if text.find(q.split('=')[0].encode()) >= 0]
  return ' '.join(flags)


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

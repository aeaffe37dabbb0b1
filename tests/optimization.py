"""Compiles programs of tests quickly, or as users have them."""

from collections.abc import Iterable
import contextlib
import importlib.util
import mmap
import os
import pathlib
import sys

_NAME = 'jax_disable_most_optimizations'
# With the emitters of kernels that XLA had before, and one module of LLVM for
# all kernels, the programs of training compile in a third of the time.
QUICK = (
    'xla_cpu_use_fusion_emitters=false',
    'xla_cpu_parallel_codegen_split_count=1')


def is_on() -> bool:
  """Returns whether programs that are compiled now are optimized."""
  if 'jax' in sys.modules:
    return not sys.modules['jax'].config.values[_NAME]
  return os.environ.get(_NAME.upper(), '0') in ('', '0')


def flags_of_jaxlib(flags: Iterable[str] = QUICK) -> str:
  """Returns those flags that this version of jaxlib has, for XLA_FLAGS.

  One that it does not know would end the process.
  """
  folder = pathlib.Path(importlib.util.find_spec('jaxlib').origin).parent
  present = []
  for library in folder.glob('libjax_common.*'):
    with open(library, 'rb') as file:
      with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        present += [f'--{f}' for f in flags
                    if text.find(f.split('=')[0].encode()) >= 0]
  return ' '.join(present)


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

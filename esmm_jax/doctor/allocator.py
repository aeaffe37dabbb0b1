"""Settings of the allocators: what becomes of memory that is freed."""

import ctypes

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8


def keep_scratch() -> bool:
  """Makes the C library keep the memory that a step frees.

  On a CPU a step needs some tens of megabytes for its activations. By default
  glibc maps and unmaps them every step, and the system fills each page with
  zeros every time (`python -m benchmarks.step` with and without
  `--nokeep_scratch`).
  A program calls this before its first large array; it affects the process.

  Returns:
    Whether it took effect; False where the C library is not glibc.
  """
  try:
    mallopt = ctypes.CDLL('libc.so.6').mallopt
  except (OSError, AttributeError):
    return False
  mapped = mallopt(_M_MMAP_THRESHOLD, 1 << 30)
  trimmed = mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
  # One heap for all threads, so that one reuses what another frees.
  shared = mallopt(_M_ARENA_MAX, 1)
  return bool(mapped and trimmed and shared)


def return_arrow_memory() -> bool:
  """Makes Arrow give back to the system what its arrays no longer need.

  Preparing a Parquet log of 10M rows peaked at 1168 MiB with Arrow's default
  allocator and `keep_scratch`, and peaks at 862 MiB with this and without that
  (`python -m benchmarks.log --rows=1e7 --format=parquet`).

  Returns:
    Whether it took effect; False where Arrow was built without jemalloc.
  """
  import pyarrow as pa  # What only shows --help needs none.

  try:
    pa.set_memory_pool(pa.jemalloc_memory_pool())
  except NotImplementedError:
    return False
  return True

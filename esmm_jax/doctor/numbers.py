"""Checks that numbers are right and reproducible, for `experiments.doctor`."""

from collections.abc import Callable, Iterator
import functools
import hashlib
import time
from typing import Any

from esmm_jax.doctor.machine import FAIL, Finding, OK, WARN
from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
from esmm_jax.training import program as programs
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import init_state
import jax
import jax.numpy as jnp
import numpy as np

_DIM = 18
_TOUCHED = 4096
_REPEATS = 20
# Caches alone make the larger table up to 5 times slower; a copy of it, 100.
_MAX_GROWTH = 25.0
_MAX_OVER_NUMPY = 100.0
_STEPS = 5


def median_seconds(step: Callable[[Any], Any], table: Any) -> float:
  """Times a step, the median of calls on each other's result.

  Args:
    step: Table -> table; it may donate its argument.
    table: First argument.
  """
  times = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    table = jax.block_until_ready(step(table))
    times.append(time.perf_counter() - start)
  return float(np.median(times))


def rows(
    take: Callable[..., Any] = gather_rows,
    put: Callable[..., Any] = scatter_rows,
    sizes: tuple[int, int] = (10_000, 1_000_000),
    seconds: Callable[[Callable[[Any], Any], Any], float] = median_seconds,
) -> Iterator[Finding]:
  """Checks that touched rows of a table are read and written right, and fast.

  The time of a step must not grow with the table: some releases copied it, or
  wrote row by row. It is compared between two tables, and with NumPy's.

  Args:
    take: Gathers rows.
    put: Scatters rows.
    sizes: Rows of a small and of a large table.
    seconds: Times a step; see `median_seconds`.
  """
  rng = np.random.default_rng(0)
  times = []
  for size in sizes:
    table = rng.standard_normal((size, 1, _DIM), np.float32)
    touched = np.sort(rng.permutation(size)[:_TOUCHED]).astype(np.int32)
    # Rows past the end are padding.
    padded = np.append(touched, size + np.arange(8, dtype=np.int32))
    move = jax.jit(
        lambda t, at: put(t, at, take(t, at) * 2 + 1), donate_argnums=0
    )
    # A copy, and done before the table changes: a busy CPU reads it later.
    moved = jax.block_until_ready(move(jnp.array(table), padded))
    table[touched] = table[touched] * 2 + 1
    if not np.array_equal(moved, table):
      yield Finding(
          'table rows',
          FAIL,
          'rows are read or written wrongly',
          'Install another jaxlib; training would be wrong without a message.',
      )
      return
    step = functools.partial(move, at=jnp.asarray(padded))
    times.append(seconds(step, moved))

  def numpy_step(table: np.ndarray) -> np.ndarray:
    table[touched] = table[touched] * 2 + 1
    return table

  small, large = times
  growth, ratio = large / small, large / seconds(numpy_step, table)
  text = (
      f'right; {_TOUCHED} rows of {sizes[1]:,} in {large * 1e3:.2f} ms,'
      f' {growth:.1f} times that of {sizes[0]:,}, {ratio:.1f} times NumPy'
  )
  if growth > _MAX_GROWTH or ratio > _MAX_OVER_NUMPY:
    advice = 'Steps will be slow with large tables; install another jaxlib.'
    yield Finding('table rows', WARN, text, advice)
  else:
    yield Finding('table rows', OK, text)


def products(multiply: Callable[[Any, Any], Any] = jnp.matmul) -> Finding:
  """Checks float32 products; accelerators may round their factors."""
  rng = np.random.default_rng(0)
  a, b = rng.standard_normal((2, 512, 512))
  a, b = a.astype(np.float32), b.astype(np.float32)
  exact = a.astype(np.float64) @ b.astype(np.float64)
  error = np.abs(np.asarray(multiply(a, b)) - exact).max() / np.abs(exact).max()
  text = f'relative error of a float32 product {error:.1e}'
  if error > 1e-5:
    return Finding(
        'products',
        WARN,
        f'{text}: factors are rounded (TF32 or bfloat16)',
        'For numbers like those of a CPU set'
        ' JAX_DEFAULT_MATMUL_PRECISION=float32; it is slower.',
    )
  return Finding('products', OK, text)


def steps_hash(config: Any, data_dir: str) -> str:
  """Computes the sha256 of the whole state after a few steps of a config."""
  settings = Settings.read(config)
  program = programs.program([settings], data_dir)
  state = init_state(
      program.plan,
      num_rows=program.schema.num_rows,
      embed_dim=settings.model.embed_dim,
      seeds=[settings.training.first_seed],
      example=program.batches(0),
      term_names=list(program.hyper.loss_weights),
      embed_scale=settings.table.embed_init_scale,
  )
  layout = program.layout
  state = layout.put_state(state)
  feed = Streamed(program.plan, program.batches, layout, 0, _STEPS)
  state = feed.advance(state, 0, _STEPS, program.hyper)
  feed.close()
  digest = hashlib.sha256()
  for leaf in jax.tree.leaves(state.replace(keys=None)):
    digest.update(np.asarray(leaf).tobytes())
  return digest.hexdigest()


def determinism(hashes: list[str]) -> Finding:
  """Checks that the same steps gave the same bits each time.

  Args:
    hashes: Three `steps_hash`: two of one process, then one of another.
  """
  names = ('in one process', 'in one process', 'in another process')
  differing = {n for n, h in zip(names, hashes) if h != hashes[0]}
  if not differing:
    return Finding(
        'determinism', OK, f'{_STEPS} steps give the same bits three times'
    )
  where = ' and '.join(sorted(differing))
  return Finding(
      'determinism',
      FAIL,
      f'the same {_STEPS} steps give other bits {where}',
      "On a GPU set XLA_FLAGS='--xla_gpu_deterministic_ops=true'; on a CPU look"
      ' for a mixed installation: make clean setup.',
  )

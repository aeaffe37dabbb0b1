"""Checks how a GPU adds many values to one row, for `experiments.doctor`.

jaxlib 0.10.2 to 0.11.0 compile float32 additions to repeated rows on CUDA to a
loop that compares and swaps, 450 to 2000 times slower (openxla/xla#46225). The
train step has none there (`embeddings.sums`), but code of a user's own may.
"""

from collections.abc import Callable, Iterator
import time

from esmm_jax.doctor.machine import Finding, OK, WARN
import jax
import jax.numpy as jnp
import numpy as np
from packaging.version import Version

_WIDTH = 18
_REPEATS = 3
# Hardware that adds to one address in turn is slower too, but not so much.
_MAX_RATIO = 100.0
_FIRST, _MENDED = Version('0.10.2'), Version('0.11.1')


def contention(
    seconds: Callable[[np.ndarray], float] | None = None,
    backend: str = '',
    version: str = '',
) -> Iterator[Finding]:
  """Compares additions to two rows with as many to distinct ones, on a GPU.

  Args:
    seconds: Times additions to the rows of an index; default: `add_seconds`.
    backend: Default: that of JAX. One that is no GPU has no finding.
    version: Of jaxlib; default: the one that is installed.
  """
  if (backend or jax.default_backend()) not in ('gpu', 'cuda', 'rocm'):
    return
  seconds = seconds or add_seconds
  distinct = np.arange(1 << 15, dtype=np.int32)
  separate, same = seconds(distinct), seconds(distinct % 2)
  yield judged(separate, same, version or jax.lib.__version__)


def add_seconds(index: np.ndarray) -> float:
  """Times a scatter-add in float32, the least of a few calls.

  Args:
    index: int32 [n], the rows that are added to, below n.
  """
  values = jnp.ones((len(index), _WIDTH))
  add = jax.jit(lambda x, at: jnp.zeros_like(x).at[at].add(x))
  index = jnp.asarray(index)
  add(values, index).block_until_ready()
  times = []
  for _ in range(_REPEATS):
    start = time.perf_counter()
    add(values, index).block_until_ready()
    times.append(time.perf_counter() - start)
  return min(times)


def judged(separate: float, same: float, version: str) -> Finding:
  """Says whether additions to the same rows are too slow, and what helps.

  Args:
    separate: Seconds of additions to distinct rows.
    same: Seconds of as many to two rows.
    version: Of jaxlib.
  """
  ratio = same / separate
  text = (
      f'additions to two rows take {ratio:.1f} times as long as to distinct'
      f' ones ({same * 1e3:.2f} ms; jaxlib {version})'
  )
  if ratio <= _MAX_RATIO:
    return Finding('scatter-add', OK, text)
  advice = 'Training here has none, but code of your own may: '
  if _FIRST <= Version(version) < _MENDED:
    advice += (
        f"pip install 'jax[cuda12]>={_MENDED}' (Python 3.12 or newer), or set"
        " XLA_FLAGS='--xla_backend_extra_options=-nvptx-allow-ftz-atomics'."
    )
  else:
    advice += 'add up by esmm_jax.embeddings.sums, or try another jaxlib.'
  return Finding('scatter-add', WARN, text, advice)

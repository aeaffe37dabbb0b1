"""Parts of an evaluation on several cores; NumPy lets other threads work."""

from collections.abc import Callable, Sequence
import concurrent.futures
import contextvars
from typing import TypeVar

from esmm_jax.cores import cores

_T = TypeVar('_T')
# Fewer are done before threads have begun.
_FEW_ROWS = 100_000
# Rows of all parts that are worked on at once: each takes some 50 bytes.
_ROWS_AT_ONCE = 16_000_000


def run(parts: Sequence[Callable[[], _T]], num_rows: int) -> list[_T]:
  """Calls functions that do not depend on each other.

  >>> from esmm_jax.metrics.side_by_side import run
  >>> run([lambda: 1, lambda: 2], num_rows=1_000_000)
  [1, 2]

  Args:
    parts: The functions, the longest ones last: they begin first.
    num_rows: Rows that each works on, at most.

  Returns:
    What they return, in their order, so the same however many cores there are.

  Raises:
    Exception: What the first one in their order raises.
  """
  workers = min(len(parts), cores(), _ROWS_AT_ONCE // max(num_rows, 1))
  if workers < 2 or num_rows < _FEW_ROWS:
    return [part() for part in parts]
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    # A context each: it holds what `np.errstate` has set.
    later = [
        pool.submit(contextvars.copy_context().run, part)
        for part in reversed(parts)
    ]
    return [future.result() for future in reversed(later)]

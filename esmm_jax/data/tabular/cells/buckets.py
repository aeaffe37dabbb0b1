"""Numbers -> the text of the interval that they lie in."""

from collections.abc import Sequence
import math

from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa

# The field of column `price` is `price.bucket`.
SUFFIX = '.bucket'
_BETWEEN = '|'


def parse_edges(text: str) -> tuple[float, ...]:
  """Parses the option `edges`.

  Raises:
    InputError: An edge is no finite number, or they do not rise.

  >>> parse_edges('0|10|1e2')
  (0.0, 10.0, 100.0)
  """
  edges: list[float] = []
  for part in text.split(_BETWEEN):
    try:
      edge = math.nan if '_' in part else float(part) + 0.0  # No -0.
    except ValueError:
      edge = math.nan
    if not math.isfinite(edge):
      raise InputError(
          f'edge {part.strip()!r} is no number; write edges=0|10|100.'
      )
    if edges and edge <= edges[-1]:
      raise InputError(
          f'edge {part.strip()} follows {shown(edges[-1])}; edges rise, as in'
          ' edges=0|10|100.'
      )
    edges.append(edge)
  return tuple(edges)


def shown(edge: float) -> str:
  """Returns the shortest text that is read as the same number.

  >>> shown(10.0), shown(0.1), shown(1e300)
  ('10', '0.1', '1e+300')
  """
  text = repr(edge)
  return text.removesuffix('.0')


def names(edges: Sequence[float]) -> list[str]:
  """Returns the texts of the intervals between edges, upwards.

  >>> names((0.0, 10.0))
  ['(-inf, 0)', '[0, 10)', '[10, inf)']
  """
  ends = ['-inf', *map(shown, edges), 'inf']
  pairs = zip(ends, ends[1:])
  return [f'{"[" if k else "("}{a}, {b})' for k, (a, b) in enumerate(pairs)]


def texts(values: np.ndarray, edges: Sequence[float]) -> pa.Array:
  """Returns the interval of each number.

  Args:
    values: float64 [n].
    edges: Rising; interval k is from edge k - 1 to below edge k, the first and
      the last one are open.

  Returns:
    Strings [n]; null for nan.
  """
  index = np.searchsorted(np.asarray(edges, np.float64), values, 'right')
  is_missing = np.isnan(values)
  index = pa.array(index.astype(np.int32), mask=is_missing)
  return pa.array(names(edges), pa.string()).take(index)

"""Raw columns, of rows of a log or of tables that rows are joined with."""

from typing import NamedTuple

from esmm_jax.types import Ragged
import numpy as np


class Values(NamedTuple):
  """A raw column.

  Attributes:
    values: Array [n] of any dtype; arbitrary where missing.
    missing: bool [n].
  """

  values: np.ndarray
  missing: np.ndarray


def cut(
    column: np.ndarray | Ragged, low: int, high: int
) -> np.ndarray | Ragged:
  """Returns rows [low, high) of a column, a view; list offsets start at 0."""
  if not isinstance(column, Ragged):
    return column[low:high]
  offsets = column.offsets[low : high + 1]
  a, b = offsets[0], offsets[-1]
  weights = None if column.weights is None else column.weights[a:b]
  return Ragged(column.values[a:b], offsets - a, weights)


def take(lists: Ragged, index: np.ndarray) -> Ragged:
  """Gathers the lists of rows; an empty one for an index < 0."""
  start = lists.offsets[index]
  lengths = np.where(index < 0, 0, lists.offsets[index + 1] - start)
  offsets = np.zeros(len(index) + 1, np.int64)
  np.cumsum(lengths, out=offsets[1:])
  entry = np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)
  weights = None if lists.weights is None else lists.weights[entry]
  return Ragged(lists.values[entry], offsets, weights)

"""Compiled loops that count raw ids and replace them by vocabulary ids.

Beside `store.vocabulary` because ids of a field are dense integers here: arrays
indexed by id need no hashing and no sorting, and their size is known before.
"""

from esmm_jax.schema import FIRST_KEPT, MISSING, RARE
import numba
import numpy as np

ABSENT = -1  # The raw id of a value that is not there.

_compiled = numba.njit(nogil=True, cache=True, boundscheck=True)


@_compiled
def count(counts: np.ndarray, ids: np.ndarray, first: int) -> None:
  """Adds 1 to counts[id - first] for each id that is not absent."""
  for i in range(ids.size):
    if ids[i] >= 0:
      counts[ids[i] - first] += 1


@_compiled
def count_weighted(
    counts: np.ndarray, ids: np.ndarray, rows: np.ndarray, first: int
) -> None:
  """Adds rows[i] to counts[ids[i] - first]."""
  for i in range(ids.size):
    if ids[i] >= 0:
      counts[ids[i] - first] += rows[i]


@_compiled
def count_lists(
    counts: np.ndarray,
    ids: np.ndarray,
    offsets: np.ndarray,
    rows: np.ndarray,
    first: int,
) -> None:
  """Adds rows[i] for each entry of list i; offsets may start above 0."""
  start = offsets[0]
  for i in range(rows.size):
    for k in range(offsets[i] - start, offsets[i + 1] - start):
      counts[ids[k] - first] += rows[i]


@_compiled
def encode(ids: np.ndarray, places: np.ndarray, first: int) -> None:
  """Replaces raw ids by their ids in the vocabulary.

  Args:
    ids: int32 [n], raw ids, -1 where absent; changed in place.
    places: int32, places[id - first] is the id in the vocabulary.
    first: The smallest raw id of `places`; ids outside it are rare.
  """
  for i in range(ids.size):
    k = ids[i] - first
    if ids[i] < 0:
      ids[i] = MISSING
    elif k < 0 or k >= places.size:
      ids[i] = RARE
    else:
      ids[i] = places[k]


def vocabulary(counts: np.ndarray, first: int, min_count: int) -> np.ndarray:
  """Returns the raw ids to keep, int32, by falling count, ties by raw id.

  The k-th of them gets the id k + 2.
  """
  frequent = np.flatnonzero(counts >= min_count)
  order = np.argsort(-counts[frequent], kind='stable')
  return (frequent[order] + first).astype(np.int32)


def places(ids: np.ndarray) -> tuple[np.ndarray, int]:
  """Returns the look-up of `encode` for a vocabulary, and its first raw id."""
  if not len(ids):
    return np.zeros(0, np.int32), 0
  first = int(ids.min())
  table = np.full(int(ids.max()) - first + 1, RARE, np.int32)
  table[ids - first] = np.arange(len(ids), dtype=np.int32) + FIRST_KEPT
  return table, first

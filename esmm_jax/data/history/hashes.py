"""Hashes of keys: texts, or several of them together, as 64 bits.

The state of a history holds hashes and no texts, so that it is compact. With
ten million keys the chance that any two share a hash is 3 in a million.
"""

from collections.abc import Sequence

from esmm_jax.data.store.sessions import session_hash
from numba import njit
import numpy as np
import pyarrow as pa

NO_KEY = np.uint64(0)  # The hash of a missing key; none other has it.
_SEED, _PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


def of_texts(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
  """Hashes identifiers, uint64 [n]; a null is `NO_KEY`.

  FNV-1a, then the finaliser of splitmix64, which mixes its low bits well.

  Args:
    texts: pyarrow strings, as `raw_values.texts` makes them.
  """
  if isinstance(texts, pa.ChunkedArray):
    texts = texts.combine_chunks()
  texts = texts.cast(pa.large_string())
  num = len(texts)
  _, offsets, data = texts.buffers()
  ends = np.zeros(1, np.int64)
  if num:
    ends = np.frombuffer(offsets, np.int64)[texts.offset :][: num + 1]
  content = np.frombuffer(data or b'', np.uint8)
  hashes = _not_zero(session_hash(_fnv(ends, content)))
  missing = texts.is_null().to_numpy(zero_copy_only=False)
  return np.where(missing, NO_KEY, hashes)


def of_integers(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
  """Hashes integers, uint64 [n]; a missing one is `NO_KEY`."""
  hashes = _not_zero(session_hash(values.astype(np.int64).view(np.uint64)))
  return np.where(missing, NO_KEY, hashes)


def joined(hashes: Sequence[np.ndarray]) -> np.ndarray:
  """Joins the hashes of several columns, each uint64 [n]; their order counts.

  A row in which one of them is missing has `NO_KEY`.
  """
  whole = hashes[0]
  for one in hashes[1:]:
    missing = (whole == NO_KEY) | (one == NO_KEY)
    whole = np.where(missing, NO_KEY, mixed(whole, one))
  return whole


def mixed(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Mixes hashes, uint64 [n], which are never `NO_KEY`; their order counts."""
  return _not_zero(session_hash(first * _PRIME ^ second))


def _not_zero(hashes: np.ndarray) -> np.ndarray:
  return np.where(hashes == NO_KEY, np.uint64(1), hashes)


@njit(nogil=True, cache=True)
def _fnv(ends: np.ndarray, content: np.ndarray) -> np.ndarray:
  out = np.empty(len(ends) - 1, np.uint64)
  for k in range(len(out)):
    h = _SEED
    for i in range(ends[k], ends[k + 1]):
      h = (h ^ np.uint64(content[i])) * _PRIME
    out[k] = h
  return out

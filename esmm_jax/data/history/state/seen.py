"""Rows that were observed, by their hashes: 8 bytes a row."""

from collections.abc import Sequence

from esmm_jax.data.history.hashes import NO_KEY
import numpy as np


class Seen:
  """A set of hashes; a change makes another object.

  Attributes:
    parts: uint64 arrays, each ascending; the largest first.
  """

  def __init__(self, parts: Sequence[np.ndarray] = ()):
    """Takes the parts."""
    self.parts = tuple(parts)

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays."""
    return sum(part.nbytes for part in self.parts)

  def has(self, hashes: np.ndarray) -> np.ndarray:
    """Returns which hashes are in the set, bool [n]."""
    found_in = np.zeros(len(hashes), bool)
    for part in self.parts:
      at = np.minimum(np.searchsorted(part, hashes), len(part) - 1)
      found_in |= part[at] == hashes
    return found_in

  def add(self, hashes: np.ndarray) -> 'Seen':
    """Adds hashes, uint64 [n]."""
    new = np.unique(hashes[hashes != NO_KEY])
    parts = [*self.parts, new] if len(new) else list(self.parts)
    while len(parts) > 1 and len(parts[-2]) < 2 * len(parts[-1]):
      newer = parts.pop()
      parts[-1] = np.union1d(parts[-1], newer)
    return Seen(parts)

  def whole(self) -> np.ndarray:
    """Returns all hashes, ascending."""
    if not self.parts:
      return np.zeros(0, np.uint64)
    return np.unique(np.concatenate(self.parts))

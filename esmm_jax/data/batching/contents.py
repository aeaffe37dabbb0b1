"""A hash of a batch, to compare runs, machines and resumptions.

It depends on the examples, their order and their numbers alone: not on the
batch's capacity for table rows or groups, nor on its padding.
"""

import hashlib

from esmm_jax.types import Batch
import numpy as np

_BYTES = 6  # Whole numbers of up to 53 bits are exact in JSON everywhere.


def content_hash(batch: Batch) -> int:
  """Returns the hash of a batch, below 2^48.

  Args:
    batch: NumPy arrays; compacted or not.
  """
  real = batch.where > 0
  digest = hashlib.blake2b(digest_size=_BYTES)

  def add(array: np.ndarray, dtype: type) -> None:
    # -0. and 0. are one number; adding 0. makes both 0.
    array = np.ascontiguousarray(array, dtype) + dtype(0)
    digest.update(f'{array.shape} '.encode())
    digest.update(array.tobytes())

  def rows(slots: np.ndarray) -> np.ndarray:
    return batch.rows[slots] if len(batch.rows) else slots

  add(rows(batch.slots)[real], np.int32)
  add(batch.weights[real], np.float32)
  add(batch.floats[real], np.float32)
  for name in sorted(batch.labels):
    digest.update(name.encode())
    add(batch.labels[name][real], np.float32)
  if batch.groups is not None:
    index = batch.groups.segment_ids[real]
    add(rows(batch.groups.slots)[index], np.int32)
    add(batch.groups.weights[index], np.float32)
  return int.from_bytes(digest.digest(), 'big')

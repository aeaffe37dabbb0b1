"""How rows are arranged: a random order, and ids made unique.

What a batch touches is found here on the host; `esmm_jax.feeding` finds it on
the device, with the same results.
"""

import numpy as np


def grown(capacity: int, needed: int) -> int:
  """The first of capacity, half as much again, and again, that is enough.

  Few sizes mean few compilations.
  """
  while needed > capacity:
    capacity += capacity // 2 + 1
  return capacity


class Compacter:
  """Finds the unique ids of a batch, and each id's place among them.

  Sorts only what is unique, where `np.unique` sorts every id with its place.
  Costs 4 bytes for each table row.
  """

  def __init__(self, num_rows: int, capacity: int):
    """For ids below `num_rows`; results are at least `capacity` long."""
    self._num_rows, self._capacity = num_rows, capacity
    self._place = np.zeros(num_rows, np.int32)

  def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compacts ids, int32 of any shape.

    Returns:
      rows int32 [capacity], ascending and unique, and slots int32 with the
      shape of ids: rows[slots] == ids. Padding has ids from num_rows on. Where
      more ids are unique, rows is half as long again, and again.
    """
    place, flat = self._place, ids.reshape(-1)
    order = np.arange(flat.size, dtype=np.int32)
    place[flat] = order  # Of equal ids one stays.
    rows = np.sort(flat[place[flat] == order])
    place[rows] = order[: rows.size]
    slots = place[flat].reshape(ids.shape)
    capacity = grown(self._capacity, rows.size)
    pad = np.arange(capacity - rows.size, dtype=np.int32) + self._num_rows
    return np.concatenate([rows, pad]), slots


def permutation(
    rng: np.random.Generator, of: np.ndarray, run: int
) -> np.ndarray:
  """A random order of rows, int [n], with runs of a group kept together.

  Args:
    rng: What it depends on.
    of: [n], the group of each row.
    run: The longest run.
  """
  if run == 1:
    return rng.permutation(len(of))
  number = np.arange(len(of))
  begins = np.ones(len(of), bool)
  begins[1:] = of[1:] != of[:-1]
  since = number - np.maximum.accumulate(np.where(begins, number, 0))
  starts = np.flatnonzero(since % run == 0)
  lengths = np.diff(np.append(starts, len(of)))
  order = rng.permutation(len(starts))
  ends = np.cumsum(lengths[order])
  first = np.repeat(starts[order] - (ends - lengths[order]), lengths[order])
  return first + number

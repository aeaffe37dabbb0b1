"""How rows are arranged in an epoch, and sizes that grow."""

import numpy as np


def grown(capacity: int, needed: int) -> int:
  """The first of capacity, half as much again, and again, that is enough.

  Few sizes mean few compilations.
  """
  while needed > capacity:
    capacity += capacity // 2 + 1
  return capacity


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

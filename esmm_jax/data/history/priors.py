"""Sums over the whole log before a time, from quarters of an hour.

A rate is smoothed towards that of the whole log, as it was known. Sums by
quarter of an hour are small however long the log is, and days begin at one in
every zone; what is known at 10:07 is smoothed by the rows before 10:00.
"""

from typing import NamedTuple

from esmm_jax.data.history.spans import SECOND
import numpy as np

QUARTER = 900 * SECOND


class Priors(NamedTuple):
  """Sums of each quarter of an hour that has rows.

  Attributes:
    quarter: int64 [q], ascending: nanoseconds since 1970, divided by `QUARTER`.
    sums: int64 [q, A].
  """

  quarter: np.ndarray
  sums: np.ndarray

  @classmethod
  def empty(cls, num: int) -> 'Priors':
    """Makes those of no rows, with A amounts."""
    return cls(np.zeros(0, np.int64), np.zeros((0, num), np.int64))

  def add(self, time: np.ndarray, amounts: np.ndarray) -> 'Priors':
    """Adds rows.

    Args:
      time: int64 [n], nanoseconds.
      amounts: Integers [n, A].
    """
    quarter, index = np.unique(time // QUARTER, return_inverse=True)
    sums = np.zeros((len(quarter), amounts.shape[1]), np.int64)
    np.add.at(sums, index, amounts)
    every, to = np.unique(
        np.concatenate([self.quarter, quarter]), return_inverse=True
    )
    total = np.zeros((len(every), sums.shape[1]), np.int64)
    np.add.at(total, to, np.concatenate([self.sums, sums]))
    return Priors(every, total)

  def before(
      self, limit: np.ndarray, totals: np.ndarray | None = None
  ) -> np.ndarray:
    """Sums the quarters that have ended at each time of `limit`, [n, A].

    Args:
      limit: int64 [n], the last nanosecond that is seen.
      totals: As `totals` returned them, for who asks often.
    """
    totals = self.totals() if totals is None else totals
    ended = (limit + 1) // QUARTER
    return totals[np.searchsorted(self.quarter, ended)]

  def totals(self) -> np.ndarray:
    """Sums the quarters before each, int64 [q + 1, A]."""
    totals = np.zeros((len(self.quarter) + 1, self.sums.shape[1]), np.int64)
    np.cumsum(self.sums, axis=0, out=totals[1:])
    return totals

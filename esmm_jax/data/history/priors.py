"""Sums over the whole log before a time, from quarters of an hour.

A rate is smoothed towards that of the whole log, as it was known. Sums by
quarter of an hour are small however long the log is, and days begin at one in
every zone; what is known at 10:07 is smoothed by the rows before 10:00.
"""

from collections.abc import Sequence
from typing import NamedTuple

from esmm_jax.data.history import totals
from esmm_jax.data.history.spans import SECOND
from esmm_jax.types import InputError
import numpy as np

QUARTER = 900 * SECOND
_MOST = 2.0**62  # Of the sum of all amounts without their signs.


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

  def add(
      self, time: np.ndarray, amounts: np.ndarray, names: Sequence[str] = ()
  ) -> 'Priors':
    """Adds rows.

    Args:
      time: int64 [n], nanoseconds.
      amounts: Integers [n, A].
      names: Of the amounts, for messages.

    Raises:
      InputError: A sum may leave 64 bits, that of a key too.
    """
    size = np.abs(np.asarray(amounts, np.float64)).sum(axis=0)
    size += np.abs(np.asarray(self.sums, np.float64)).sum(axis=0)
    if (size >= _MOST).any():
      name = f' {names[size.argmax()]!r}' if names else ''
      raise InputError(
          f'The sum of the number{name} over the rows of the log does not fit'
          ' into 64 bits; write it in a larger unit, divided by 1000 say.'
      )
    quarter, index = np.unique(time // QUARTER, return_inverse=True)
    sums = np.zeros((len(quarter), amounts.shape[1]), np.int64)
    totals.add(sums, index, np.asarray(amounts, np.int64))
    every, to = np.unique(
        np.concatenate([self.quarter, quarter]), return_inverse=True
    )
    total = np.zeros((len(every), sums.shape[1]), np.int64)
    totals.add(total, to, np.concatenate([self.sums, sums]))
    return Priors(every, total)

  def before(
      self, limit: np.ndarray, sums: np.ndarray | None = None
  ) -> np.ndarray:
    """Sums the quarters that have ended at each time of `limit`, [n, A].

    Args:
      limit: int64 [n], the last nanosecond that is seen.
      sums: As `totals` returned them, for who asks often.
    """
    sums = self.totals() if sums is None else sums
    ended = (limit + 1) // QUARTER
    return sums[np.searchsorted(self.quarter, ended)]

  def totals(self) -> np.ndarray:
    """Sums the quarters before each, int64 [q + 1, A]."""
    sums = np.zeros((len(self.quarter) + 1, self.sums.shape[1]), np.int64)
    np.cumsum(self.sums, axis=0, out=sums[1:])
    return sums

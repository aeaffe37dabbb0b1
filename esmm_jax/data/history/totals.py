"""Running totals of the rows of each key, compiled by numba.

All compiled functions are in this file on purpose: numba's cache does not
notice a change of a function that is called from another file.
"""

from numba import njit
import numpy as np

NEVER = np.iinfo(np.int64).min  # Before all times.
# The totals of a session: its first time, its number of different times, the
# last of them. All are of rows before a moment; the number is 0 for none.
SESSION = ('first', 'steps', 'last')

_jit = njit(nogil=True, cache=True)


@_jit
def _passed(before: int, after: int) -> float:
  """Returns nanoseconds; 64 bits hold the centuries from 1678 to 2261."""
  if after < before:
    return -float(np.uint64(before) - np.uint64(after))
  return float(np.uint64(after) - np.uint64(before))


@_jit
def positions(
    start: np.ndarray, time: np.ndarray, index: np.ndarray, limit: np.ndarray
) -> np.ndarray:
  """Finds the end of a key's rows up to a time.

  Args:
    start: int64 [m + 1], see `Events`.
    time: int64 [e].
    index: int64 [q], a key each, or -1 for none.
    limit: int64 [q].

  Returns:
    int64 [q], the position behind the last row of the key with a time of at
    most `limit`; the start of the key if there is none, -1 without a key.
  """
  out = np.empty(len(index), np.int64)
  for i in range(len(index)):
    if index[i] < 0:
      out[i] = -1
      continue
    low, high = start[index[i]], start[index[i] + 1]
    while low < high:
      middle = (low + high) // 2
      if time[middle] <= limit[i]:
        low = middle + 1
      else:
        high = middle
    out[i] = low
  return out


@_jit
def dropped(
    start: np.ndarray, time: np.ndarray, horizon: int, keep: int, whole: bool
) -> np.ndarray:
  """Counts the first rows of each key that are not after a time, int64 [m].

  Args:
    start: int64 [m + 1], see `Events`.
    time: int64 [e].
    horizon: Nanoseconds.
    keep: Last rows of those that are not counted.
    whole: Of rows of one time all are counted, or none.
  """
  out = np.zeros(len(start) - 1, np.int64)
  for k in range(len(out)):
    low, high = start[k], start[k + 1]
    while low < high:
      middle = (low + high) // 2
      if time[middle] <= horizon:
        low = middle + 1
      else:
        high = middle
    end = max(low - keep, start[k])
    if whole and end < start[k + 1]:
      while end > start[k] and time[end] == time[end - 1]:
        end -= 1
    out[k] = end - start[k]
  return out


@_jit
def at(
    start: np.ndarray,
    time: np.ndarray,
    running: np.ndarray,
    base: np.ndarray,
    base_time: np.ndarray,
    index: np.ndarray,
    limit: np.ndarray,
    out: np.ndarray,
    when: np.ndarray,
) -> None:
  """Writes the totals of keys at times.

  Args:
    start: int64 [m + 1], see `Events`, as the next four.
    time: int64 [e].
    running: [e, R].
    base: [m, R].
    base_time: int64 [m].
    index: int64 [q], a key each, or -1 for none.
    limit: int64 [q].
    out: [q, R] of zeros, gets the totals of the rows up to `limit`.
    when: int64 [q], gets the time of the last of them; without one it stays.
  """
  for i in range(len(index)):
    k = index[i]
    if k < 0:
      continue
    low, high = start[k], start[k + 1]
    while low < high:
      middle = (low + high) // 2
      if time[middle] <= limit[i]:
        low = middle + 1
      else:
        high = middle
    if low > start[k]:
      when[i] = time[low - 1]
      for r in range(out.shape[1]):
        out[i, r] = running[low - 1, r]
    else:
      when[i] = base_time[k]
      for r in range(out.shape[1]):
        out[i, r] = base[k, r]


@_jit
def add(total: np.ndarray, rows: np.ndarray, amounts: np.ndarray) -> None:
  """Adds amounts [q, A] to rows of `total`, one after the other."""
  for i in range(len(rows)):
    for a in range(amounts.shape[1]):
      total[rows[i], a] += amounts[i, a]


@_jit
def sums(
    start: np.ndarray, amounts: np.ndarray, base: np.ndarray
) -> np.ndarray:
  """Adds amounts up for each key, int64 [e, A]."""
  out = np.empty(amounts.shape, np.int64)
  for k in range(len(start) - 1):
    for a in range(amounts.shape[1]):
      total = base[k, a]
      for i in range(start[k], start[k + 1]):
        total += amounts[i, a]
        out[i, a] = total
  return out


@_jit
def decayed(
    start: np.ndarray,
    time: np.ndarray,
    amounts: np.ndarray,
    base: np.ndarray,
    base_time: np.ndarray,
    half_life: float,
) -> np.ndarray:
  """Adds amounts up that halve in `half_life` nanoseconds, float64 [e, A].

  Rows of one key and time all have the total after the last of them.
  """
  out = np.empty(amounts.shape, np.float64)
  for k in range(len(start) - 1):
    for a in range(amounts.shape[1]):
      total, before = base[k, a], base_time[k]
      i = start[k]
      while i < start[k + 1]:
        # Amounts of one time are added up first, which their order does not
        # change to the bit.
        first, amount = i, 0
        while i < start[k + 1] and time[i] == time[first]:
          amount += amounts[i, a]
          i += 1
        if before != NEVER:
          total *= 2.0 ** (-_passed(before, time[first]) / half_life)
        total += amount
        for j in range(first, i):
          out[j, a] = total
        before = time[first]
  return out


@_jit
def faded(
    total: np.ndarray, since: np.ndarray, now: np.ndarray, half_life: float
) -> np.ndarray:
  """Returns totals [q, A] of the times `since` as they are at `now`."""
  out = np.zeros(total.shape, np.float64)
  for i in range(len(total)):
    if since[i] != NEVER:
      factor = 2.0 ** (-_passed(since[i], now[i]) / half_life)
      for a in range(total.shape[1]):
        out[i, a] = total[i, a] * factor
  return out


@_jit
def sessions(
    start: np.ndarray, time: np.ndarray, base: np.ndarray, pause: int
) -> np.ndarray:
  """Follows the session of each key, int64 [e, 3]; see `SESSION`.

  Rows of one time are one step: what is shown together.
  """
  out = np.empty((len(time), 3), np.int64)
  for k in range(len(start) - 1):
    first, steps, last = base[k, 0], base[k, 1], base[k, 2]
    for i in range(start[k], start[k + 1]):
      is_later = time[i] > last
      passed = np.uint64(time[i]) - np.uint64(last)
      if steps == 0 or (is_later and passed > np.uint64(pause)):
        first, steps, last = time[i], 1, time[i]
      elif is_later:
        steps, last = steps + 1, time[i]
      out[i, 0], out[i, 1], out[i, 2] = first, steps, last
  return out

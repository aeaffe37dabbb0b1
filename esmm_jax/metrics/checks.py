"""Validation of inputs, and means, that all metrics share."""

from esmm_jax.types import Array, InputError
import numpy as np


def same_length(**columns: Array) -> list[np.ndarray]:
  """Converts columns to arrays of one length.

  Raises:
    InputError: They are not all [n] with one n.
  """
  arrays = [np.asarray(x) for x in columns.values()]
  shapes = {name: x.shape for name, x in zip(columns, arrays, strict=True)}
  if len(set(shapes.values())) > 1 or arrays[0].ndim != 1:
    raise InputError(f'Expected arrays [n] of one length, got {shapes}.')
  return arrays


def is_one(name: str, values: np.ndarray) -> np.ndarray:
  """Converts 0 or 1 [n] to bool [n].

  Args:
    name: Name of the values, for the error.
    values: [n].

  Raises:
    InputError: A value is neither 0 nor 1.
  """
  if values.dtype == np.bool_:
    return values
  one = values == 1
  if np.count_nonzero(one) + np.count_nonzero(values == 0) != len(values):
    raise InputError(f'{name} must be 0 or 1.')
  return one


def float_rows(
    where: Array | None, *, is_finite: bool = False, **columns: Array
) -> list[np.ndarray]:
  """Selects the rows that count, in float64.

  Args:
    where: 0 or 1 [n], the rows that count; None: all.
    is_finite: Refuses infinities too.
    **columns: Name -> numbers [n].

  Returns:
    float64 [rows that count], in the order of the columns.

  Raises:
    InputError: The arrays are not [n] of one n, `where` is neither 0 nor 1, or
      a column has nan in a row that counts.
  """
  if where is None:
    arrays = same_length(**columns)
  else:
    *arrays, where = same_length(**columns, where=where)
    mask = is_one('where', where)
    arrays = [x[mask] for x in arrays]
  arrays = [x.astype(np.float64) for x in arrays]
  for name, x in zip(columns, arrays, strict=True):
    if is_finite and not np.isfinite(x).all():
      raise InputError(f'{name} must be finite.')
    if np.isnan(x).any():
      raise InputError(f'{name} must not hold nan.')
  return arrays


def mean_or_nan(values: np.ndarray) -> float:
  """Returns the mean; nan of no values."""
  return float(values.mean()) if len(values) else float('nan')


def divide(numerator: float, denominator: float) -> float:
  """Divides numbers that are not negative; x / 0 is inf, 0 / 0 is nan."""
  if denominator > 0:
    return float(numerator / denominator)
  return float('inf') if numerator > 0 else float('nan')


def equal_mass_bins(keys: np.ndarray, num_bins: int) -> np.ndarray:
  """Assigns rows to bins of equal mass, equal keys to one bin.

  Args:
    keys: float64 [n], without nan.
    num_bins: Number of bins.

  Returns:
    int64 [n], the bin of each row: that of the middle rank of its ties.

  Raises:
    InputError: `num_bins` is below 1.
  """
  if num_bins < 1:
    raise InputError(f'num_bins must be at least 1, it is {num_bins}.')
  num = len(keys)
  ordered = np.sort(keys)  # Values alone: ranks of all rows would take longer.
  starts = np.arange(1, num_bins) * num // num_bins if num else np.zeros(0, int)
  # Bin b begins with the first run of ties [low, high) whose middle rank,
  # (low + high) / 2, is at least b num / num_bins: the run of that rank or the
  # next one.
  firsts = ordered[starts]
  low = np.searchsorted(ordered, firsts, side='left')
  high = np.searchsorted(ordered, firsts, side='right')
  late = (low + high) * num_bins < 2 * num * np.arange(1, len(starts) + 1)
  firsts = np.append(ordered, np.nan)[np.where(late, high, starts)]
  return np.searchsorted(firsts, keys, side='right')

"""Shared parts of what compares pairs of scores: checks, and the bootstrap.

References:
  Efron, Tibshirani. An introduction to the bootstrap. Chapman and Hall, 1993.
    Section 13.3, the percentile interval.
"""

from collections.abc import Callable

from esmm_jax.types import Array, InputError
import numpy as np

NAN = float('nan')


def resampled(
    statistic: Callable[[np.ndarray], np.ndarray],
    n: int,
    resamples: int,
    seed: int,
    confidence: float,
) -> tuple[float, float, float, int, int]:
  """Computes a statistic of means over seeds, with its percentile interval.

  Whole seeds are resampled with replacement, as many as there are.

  Args:
    statistic: Maps the weights of the seeds, float [..., n], to float [...].
    n: Number of seeds.
    resamples: Number of draws.
    seed: Seed of the draws.
    confidence: Coverage of the interval.

  Returns:
    The statistic, nan without a seed; both ends of the interval, nan of fewer
    than two seeds; n; the number of draws behind the interval.
  """
  if not n:
    return NAN, NAN, NAN, 0, 0
  equal = np.full(n, 1 / n)
  value = float(statistic(equal))
  if n < 2:
    return value, NAN, NAN, n, 0
  draws = np.random.default_rng(seed).multinomial(n, equal, size=resamples)
  tail = (1 - confidence) / 2
  low, high = np.quantile(statistic(draws / n), [tail, 1 - tail])
  return value, float(low), float(high), n, resamples


def complete_seeds(
    values: Array, baseline: Array | None, name: str = 'baseline'
) -> tuple[np.ndarray, np.ndarray | None]:
  """Selects the seeds without nan.

  Args:
    values: float [S, P, 2].
    baseline: float [S, 2] of the same seeds, or None.
    name: That of `baseline` in messages.

  Returns:
    float64 [s, P, 2] and [s, 1, 2], or None.

  Raises:
    InputError: The shapes are other ones, or the numbers of seeds differ.
  """
  values = checked('values', values, '[S, P, 2]')
  whole = complete(values).all(1)
  if baseline is not None:
    baseline = checked(name, baseline, '[S, 2]')
    if len(baseline) != len(values):
      raise InputError(
          f'values have {len(values)} seeds and {name} {len(baseline)}.'
      )
    whole &= complete(baseline)
    baseline = baseline[whole, None]
  return values[whole], baseline


def complete(values: np.ndarray) -> np.ndarray:
  """Marks the pairs [..., 2] without nan, bool [...]."""
  return ~np.isnan(values).any(-1)


def checked(name: str, values: Array, shape: str) -> np.ndarray:
  """Converts to float64.

  Args:
    name: That of the values in messages.
    values: Array of pairs.
    shape: Its expected shape as a text, '[S, P, 2]'; the rank counts.

  Raises:
    InputError: The rank or the last axis is another one, or a value is
      infinite.
  """
  values = np.asarray(values, np.float64)
  if values.ndim != shape.count(',') + 1 or values.shape[-1] != 2:
    raise InputError(f'{name} must be {shape}, got {list(values.shape)}.')
  if np.isinf(values).any():
    raise InputError(f'{name} must not be infinite.')
  return values


def corner(reference: Array) -> np.ndarray:
  """Converts the corner that counts as worst to float64 [2].

  Raises:
    InputError: It is not two finite numbers.
  """
  reference = np.asarray(reference, np.float64)
  if reference.shape != (2,) or not np.isfinite(reference).all():
    raise InputError(f'reference must be two finite numbers, got {reference}.')
  return reference

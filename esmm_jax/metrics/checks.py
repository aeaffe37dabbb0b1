"""What every metric asks of its inputs."""

from esmm_jax.types import Array, InputError
import numpy as np


def same_length(**columns: Array) -> list[np.ndarray]:
  """The columns as arrays; InputError unless all are [n] with one n."""
  arrays = [np.asarray(x) for x in columns.values()]
  shapes = {name: x.shape for name, x in zip(columns, arrays, strict=True)}
  if len(set(shapes.values())) > 1 or arrays[0].ndim != 1:
    raise InputError(f'Expected arrays [n] of one length, got {shapes}.')
  return arrays


def is_one(name: str, values: np.ndarray) -> np.ndarray:
  """bool [n], where the values are 1; InputError unless all are 0 or 1."""
  if values.dtype == np.bool_:
    return values
  one = values == 1
  if np.count_nonzero(one) + np.count_nonzero(values == 0) != len(values):
    raise InputError(f'{name} must be 0 or 1.')
  return one

"""The program of an export, compiled for batches of a few sizes."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from esmm_jax.serving import exported, model_inputs
from esmm_jax.types import Array, InputError
import jax
from jax import export as jax_export
import numpy as np

SIZES = (1, 32, 1024)


class Program:
  """Scores encoded rows; what it calls is compiled before the first call.

  Attributes:
    about: The content of description.json.
    sizes: Rows of the batches that are compiled, ascending.
  """

  def __init__(self, folder: str, sizes: Sequence[int] = SIZES):
    """Reads and compiles an export.

    Args:
      folder: Of the export; every file in it is checked before it is read.
      sizes: Rows of the batches. Fewer are padded, more are cut.

    Raises:
      InputError: It is no export, or a file in it is not as it was exported.
    """
    self.about, model, self._params = read(folder)
    self.sizes = sorted(set(sizes))
    call = jax.jit(model.call)
    self._compiled = {
        size: call.lower(self._params, self._shapes(size)).compile()
        for size in self.sizes
    }
    for size in self.sizes:  # The first call takes longer, too.
      shapes = self._shapes(size).items()
      self.scores({name: np.zeros(s.shape, s.dtype) for name, s in shapes})

  def _shapes(self, size: int) -> dict[str, jax.ShapeDtypeStruct]:
    return {
        i['name']: jax.ShapeDtypeStruct((size, *i['shape'][1:]), i['dtype'])
        for i in self.about['inputs']
    }

  def scores(self, features: Mapping[str, Array]) -> dict[str, np.ndarray]:
    """Scores rows; threads may do so at once.

    Args:
      features: Input -> array [n, ...], as `Rows.encode` returns them; n is at
        least 1.

    Returns:
      Output -> float32 [n].
    """
    num = len(next(iter(features.values())))
    largest, pieces = self.sizes[-1], []
    for start in range(0, num, largest):
      rows = {k: v[start : start + largest] for k, v in features.items()}
      held = min(largest, num - start)
      size = next(s for s in self.sizes if s >= held)
      outputs = self._compiled[size](
          self._params, model_inputs.pad_rows(rows, size)
      )
      pieces.append({k: np.asarray(v)[:held] for k, v in outputs.items()})
    return {
        o['name']: np.concatenate([p[o['name']] for p in pieces])
        for o in self.about['outputs']
    }


def read(
    folder: str,
) -> tuple[dict[str, Any], jax_export.Exported, dict[str, Array]]:
  """Reads an export.

  Args:
    folder: Of the export; every file in it is checked before it is read.

  Returns:
    The content of description.json; the program; its parameters, on the device.

  Raises:
    InputError: It is no export, or a file in it is not as it was exported.
  """
  about = exported.checked(folder)
  path = os.path.join(folder, about['model'])
  with open(path, 'rb') as f:
    serialized = bytearray(f.read())
  try:
    model = jax_export.deserialize(serialized)
  except ValueError as e:
    raise InputError(
        f'{path} was exported with jax {about["jax"]}, and jax'
        f' {jax.__version__} cannot read it ({str(e).splitlines()[0]}). Export'
        ' the run again.'
    ) from e
  params = {
      p['name']: jax.device_put(np.load(os.path.join(folder, p['file'])))
      for p in about['params']
  }
  return about, model, params

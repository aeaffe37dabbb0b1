"""Fitted calibrators: Platt's line and the isotonic step function.

Both map the log-odds z of one task:

    platt      log-odds slope * z + intercept
    isotonic   a rising step function of z, straight between its steps

A calibrator is plain data, `{'platt': {'slope', 'intercept'}, 'isotonic':
{'scores', 'probabilities'}}`, as calibration.json holds it for each sample
space. `calibrator_fits` fits them, `calibrate` those of a run.
"""

from collections.abc import Callable, Mapping
import functools
import os
from typing import Any

from esmm_jax import checksums
from esmm_jax.entry import commands
from esmm_jax.json_files import read_json
from esmm_jax.tasks import Space, spaces, Tasks
from esmm_jax.types import Array, InputError
from esmm_jax.workdir import identity
from esmm_jax.workdir.identity import Stamp
import numpy as np
from scipy import special

NAME = 'calibration.json'
VERSION = 2
# Files of this version name no run and hold no hash.
_UNCHECKED = 1
_REMEDY = f'Run {commands.command("calibrate")} again.'
KINDS = ('platt', 'isotonic')
CHOICES = ('none', *KINDS)
JOINTS = ('product', 'own')


def calibrate_logits(
    calibrator: Mapping[str, Any], kind: str, logits: Array, xp: Any = np
) -> Array:
  """Maps log-odds of one task to calibrated log-odds.

  Args:
    calibrator: `platt` and `isotonic` of the task's sample space.
    kind: One of `KINDS`.
    logits: float [n]; past the ends of an isotonic fit it is constant.
    xp: numpy or jax.numpy.

  Returns:
    float [n]: float64 with numpy, float32 with jax.numpy.
  """
  z = xp.asarray(logits, np.float64 if xp is np else np.float32)
  if kind == 'platt':
    return calibrator['platt']['slope'] * z + calibrator['platt']['intercept']
  p = _interpolate(calibrator['isotonic'], z, xp)
  # Not from p: float32 rounds the greatest of 20 million rows to 1.
  rest = _interpolate(calibrator['isotonic'], z, xp, of_negative=True)
  return xp.log(p) - xp.log(rest)


def _interpolate(
    isotonic: Mapping[str, Any],
    z: Array,
    xp: Any = np,
    of_negative: bool = False,
) -> Array:
  """Returns the isotonic probabilities, of 0 if `of_negative`, at z [n]."""
  p = np.asarray(isotonic['probabilities'], np.float64)
  p = xp.asarray(1 - p if of_negative else p, z.dtype)
  return xp.interp(z, xp.asarray(isotonic['scores'], z.dtype), p)


def calibrate_probabilities(
    calibrator: Mapping[str, Any], kind: str, probabilities: Array
) -> np.ndarray:
  """Maps probabilities of one task to calibrated ones, float64 [n].

  Args:
    calibrator: As for `calibrate_logits`.
    kind: One of `KINDS`.
    probabilities: float [n] in [0, 1], both ends included.
  """
  z = special.logit(np.asarray(probabilities, np.float64))
  if kind == 'platt':
    return special.expit(calibrate_logits(calibrator, kind, z))
  return _interpolate(calibrator['isotonic'], z)


def probability_maps(
    calibration: Mapping[str, Any],
) -> dict[str, dict[str, Callable[[np.ndarray], np.ndarray]]]:
  """Builds the maps of probabilities that a calibration.json describes.

  Args:
    calibration: What calibration.json holds.

  Returns:
    Sample space -> kind -> `calibrate_probabilities` of that calibrator.

  Raises:
    InputError: A calibrator lacks a value or has one that is no number.
  """
  maps: dict[str, Any] = {}
  for space, calibrator in calibration.get('tasks', {}).items():
    kinds = [kind for kind in KINDS if kind in calibrator]
    maps[space] = {
        kind: functools.partial(calibrate_probabilities, calibrator, kind)
        for kind in kinds
    }
    try:
      for change in maps[space].values():
        change(np.array([0.5]))
    except (KeyError, TypeError, ValueError) as e:
      raise InputError(
          f'{NAME}: the maps of {space} cannot be read ({e!r}). Make'
          f' it again with {commands.command("calibrate")}.'
      ) from e
  return maps


def calibrate_outputs(
    calibrators: Mapping[str, Any],
    kind: str,
    joint: str,
    outputs: Mapping[str, Array],
    tasks: Tasks,
    xp: Any = np,
) -> dict[str, Array]:
  """Calibrates all outputs of a model.

  Args:
    calibrators: Sample space -> calibrator, as `read` gives them.
    kind: One of `KINDS`.
    joint: `product`: joint outputs (`ctcvr`) are products of the calibrated
      conditional ones along the funnel, so that p_ctcvr = p_ctr x p_cvr still
      holds. `own`: each is calibrated by itself, and it does not.
    outputs: Output -> float32 [n].
    tasks: The tasks of the outputs.
    xp: numpy or jax.numpy.

  Returns:
    The same outputs, float32 [n]. Values of regressions do not change.

  Raises:
    InputError: `joint` is neither.
  """
  # Imported here because the reports read calibrators without JAX.
  from esmm_jax.estimators import funnel
  import jax.numpy as jnp

  if joint not in JOINTS:
    raise InputError(
        f'joint is {joint!r}; it must be one of {", ".join(JOINTS)}.'
    )
  separate = {
      s.output: calibrate_logits(
          calibrators[s.key], kind, outputs[s.output], xp
      )
      for s in binary_spaces(tasks)
  }
  raw = {
      t.name: jnp.asarray(separate.get(t.name, outputs[t.name]), jnp.float32)
      for t in tasks
  }
  calibrated = funnel.outputs(raw, tasks)
  if joint == 'own':
    calibrated |= separate
  return {name: xp.asarray(calibrated[name], np.float32) for name in outputs}


def binary_spaces(tasks: Tasks) -> list[Space]:
  """Returns the sample spaces that have a calibrator: those of events."""
  return [s for s in spaces(tasks) if s.kind == 'binary']


def read(folder: str, kind: str, run: Stamp) -> dict[str, Any]:
  """Reads the calibrators of a run's calibration.json.

  Args:
    folder: The run's folder.
    kind: One of `KINDS`.
    run: The stamp of the run and its parameters.

  Returns:
    Sample space -> calibrator.

  Raises:
    InputError: `kind` is not known, the run is not calibrated, or its
      calibration is damaged or of other parameters.
  """
  if kind not in KINDS:
    raise InputError(
        f'calibrated is {kind!r}; it must be one of {", ".join(CHOICES)}.'
    )
  calibration = read_file(folder, run)
  if calibration is None:
    raise InputError(
        f'calibrated={kind}: there is no {os.path.join(folder, NAME)}. First'
        f' run {commands.command("calibrate")} --workdir={folder}.'
    )
  return calibration['tasks']


def read_file(folder: str, run: Stamp) -> dict[str, Any] | None:
  """Reads a run's calibration.json, as it was written for that run.

  Args:
    folder: The run's folder.
    run: See `read`.

  Returns:
    Its content, without its own hash; None where it is absent.

  Raises:
    InputError: It is damaged, or of another run or other parameters.
  """
  path = os.path.join(folder, NAME)
  calibration = read_json(path, _REMEDY)
  if calibration is None:
    return None
  if not isinstance(calibration, dict):
    raise InputError(f'{path} holds no object. {_REMEDY}')
  version = calibration.get('version')
  if version not in (VERSION, _UNCHECKED):
    raise InputError(
        f'{path} is of version {version}, not {VERSION}. {_REMEDY}'
    )
  if version == VERSION or checksums.CONTENT in calibration:
    if wrong := checksums.changed_content(calibration):
      raise InputError(f'{path} {wrong}. {_REMEDY}')
    del calibration[checksums.CONTENT]
  identity.require(path, calibration.get('run'), run, _REMEDY)
  return calibration

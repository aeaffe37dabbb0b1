"""The maps of calibration.json, applied to probabilities."""

from collections.abc import Callable, Mapping
from typing import Any

from esmm_jax.types import InputError
import numpy as np
from scipy import special

Map = Callable[[np.ndarray], np.ndarray]


def maps(calibration: Mapping[str, Any]) -> dict[str, dict[str, Map]]:
  """Task -> name of the map -> probabilities to calibrated probabilities.

  Platt is sigmoid(slope * log-odds + intercept); isotonic goes through the
  points (log-odds `scores`, `probabilities`) in straight lines.

  Raises:
    InputError: A map has not what it needs.
  """
  found: dict[str, dict[str, Map]] = {}
  for task, kinds in calibration.get('tasks', {}).items():
    mine = found.setdefault(task, {})
    try:
      if 'platt' in kinds:
        mine['Platt'] = _platt(
            float(kinds['platt']['slope']), float(kinds['platt']['intercept'])
        )
      if 'isotonic' in kinds:
        mine['isotonic'] = _isotonic(
            np.asarray(kinds['isotonic']['scores'], np.float64),
            np.asarray(kinds['isotonic']['probabilities'], np.float64),
        )
    except (KeyError, TypeError, ValueError) as e:
      raise InputError(
          f'calibration.json: the maps of {task} cannot be read ({e!r}). Make'
          ' it again with python -m experiments.calibrate.'
      ) from e
  return found


def _platt(slope: float, intercept: float) -> Map:
  return lambda p: special.expit(slope * special.logit(p) + intercept)


def _isotonic(scores: np.ndarray, probabilities: np.ndarray) -> Map:
  if scores.shape != probabilities.shape or not len(scores):
    raise ValueError('scores and probabilities differ in length')
  return lambda p: np.interp(special.logit(p), scores, probabilities)

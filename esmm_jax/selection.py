"""Which evaluation's parameters are kept, and when to stop."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.train_state import TrainState
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np


class Selection:
  """Keeps the best evaluation on a declared validation metric.

  Attributes:
    metrics: All metrics of the best evaluation; {} before the first.
    step: Its step; 0 before the first.
    stopped: Whether patience has run out.
  """

  def __init__(self, options: Mapping[str, Any], has_valid: bool):
    """Reads the config's `selection` section.

    Args:
      options: `metric` (a `valid/...` key, or '' to keep the last parameters),
        `mode` (min or max) and `patience` (0: never stop early).
      has_valid: Whether there is a validation split.
    """
    self._metric, self._patience = options['metric'], options['patience']
    if options['mode'] not in ('min', 'max'):
      raise InputError(
          f'selection.mode is {options["mode"]!r}; it must be min or max.'
      )
    if self._metric and not self._metric.startswith('valid/'):
      raise InputError(
          f'selection.metric is {self._metric!r}; only metrics of the'
          " validation split ('valid/...') may choose, never the test split's."
      )
    if self._metric and not has_valid:
      raise InputError(
          "selection.metric needs a validation split; set selection.metric=''"
          ' or dataset.valid_split.'
      )
    self._sign = 1 if options['mode'] == 'min' else -1
    self.metrics = {}
    self.step = 0
    self._waited = 0

  @property
  def stopped(self) -> bool:
    return bool(self._patience) and self._waited >= self._patience

  def start(self, state: TrainState) -> dict[str, Any]:
    """Where the best parameters will be kept: a copy, or {} if none are."""
    return _copy(state) if self._metric else {}

  def update(
      self,
      step: int,
      metrics: Mapping[str, float],
      state: TrainState,
      best: dict[str, Any],
  ) -> dict[str, Any]:
    """Takes note of an evaluation; returns the best parameters so far.

    Raises:
      InputError: There is no such metric.
    """
    if not self._metric:
      return best
    if self._metric not in metrics:
      known = sorted(k for k in metrics if k.startswith('valid/'))
      raise InputError(
          f'selection.metric is {self._metric!r}, which was not computed; there'
          f' are: {", ".join(known)}.'
      )
    value = self._sign * metrics[self._metric]
    before = self._sign * self.metrics.get(self._metric, np.inf * self._sign)
    better = value < before or np.isnan(before) > np.isnan(value)
    if not self.metrics or better:
      self.metrics, self.step, self._waited = dict(metrics), step, 0
      return _copy(state)
    self._waited += 1
    return best

  def choose(self, state: TrainState, best: dict[str, Any]) -> dict[str, Any]:
    """The parameters to evaluate on the test split."""
    if best and self.step:
      return best
    return state.params

  def position(self) -> dict[str, Any]:
    """What a checkpoint needs to know, as JSON."""
    return {
        'metrics': {k: repr(float(v)) for k, v in self.metrics.items()},
        'step': self.step,
        'waited': self._waited,
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Takes over what `position` gave."""
    self.metrics = {k: float(v) for k, v in position['metrics'].items()}
    self.step, self._waited = position['step'], position['waited']


def _copy(state: TrainState) -> dict[str, Any]:
  """A copy of the parameters; the next step consumes the originals."""
  return jax.tree.map(jnp.copy, state.params)

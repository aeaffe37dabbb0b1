"""Selects the evaluation whose parameters count, and stops early."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from esmm_jax.metrics import choosing
from esmm_jax.options import check_choice, COUNT_OR_NONE, number, Section
from esmm_jax.parallel import axes
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.types import Array, InputError
import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class SelectionOptions(Section, prefix='selection'):
  """The config's section `selection`.

  Attributes:
    metric: A `valid/...` key; the test split sees the parameters of its best
      evaluation. '' keeps the last parameters. None: see `choosing.resolve`.
    mode: Whether min or max is best; None: what the metric's name says.
    patience: Evaluations without improvement before training stops; 0 never
      stops.
  """

  metric: str | None = None
  mode: str | None = None
  patience: int = number(0, COUNT_OR_NONE)

  @property
  def keeps(self) -> bool:
    """False if the last parameters are asked for."""
    return self.metric != ''

  def check(self) -> None:
    if self.mode is not None:
      check_choice('selection.mode', self.mode, ('min', 'max'))
    if self.metric and not self.metric.startswith('valid/'):
      raise InputError(
          f'selection.metric is {self.metric!r}; only metrics of the validation'
          " split ('valid/...') can select, never those of the test split."
      )
    if self.patience and self.metric == '':
      raise InputError(
          f"selection.patience is {self.patience}, but selection.metric is '',"
          ' so no metric can stop the run early. Set selection.patience=0, or'
          ' name a metric.'
      )


class Selection:
  """Keeps the best evaluation on a declared validation metric.

  Attributes:
    metric: The metric that selects; '' for none.
    metrics: All metrics of the best evaluation, or of the last one where none
      is selected; {} before the first.
    step: Step of the best one; 0 before it, and where none is selected.
    stopped: Whether patience has run out.
    warnings: Those of `choosing.resolve`.
  """

  def __init__(
      self, options: SelectionOptions, has_valid: bool, tasks: Tasks = FUNNEL
  ):
    """Prepares a selection before the first evaluation.

    Args:
      options: The config's section.
      has_valid: Whether there is a validation split.
      tasks: Tasks of the run.

    Raises:
      InputError: See `choosing.resolve`.
    """
    if options.patience and not has_valid:
      raise InputError(
          f'selection.patience is {options.patience}, but there is no'
          f' validation split. {choosing.ADVICE}'
      )
    choice = choosing.resolve(options.metric, options.mode, has_valid, tasks)
    self.metric, self.warnings = choice.metric, choice.warnings
    self._patience = options.patience
    self._sign = 1 if choice.mode == 'min' else -1
    self.metrics = {}
    self.step = 0
    self._waited = 0

  @property
  def stopped(self) -> bool:
    return bool(self._patience) and self._waited >= self._patience

  @property
  def keeps(self) -> bool:
    """True if the best parameters count, not the last."""
    return bool(self.metric)

  def update(self, step: int, metrics: Mapping[str, float]) -> bool:
    """Records an evaluation; returns True if it is the best so far.

    Raises:
      InputError: There is no such metric.
    """
    if not self.metric:
      self.metrics = dict(metrics)
      return False
    if self.metric not in metrics:
      computed = sorted(k for k in metrics if k.startswith('valid/'))
      raise InputError(
          f'selection.metric is {self.metric!r}, which was not computed; there'
          f' are: {", ".join(computed)}.'
      )
    value = self._sign * metrics[self.metric]
    before = self._sign * self.metrics.get(self.metric, np.inf * self._sign)
    better = value < before or np.isnan(before) > np.isnan(value)
    if not self.step or better:
      self.metrics, self.step, self._waited = dict(metrics), step, 0
      return True
    self._waited += 1
    if np.isnan(before):  # Nothing can be told apart: the last ones count.
      self.metrics, self.step = dict(metrics), step
      return True
    return False

  @property
  def is_blind(self) -> bool:
    """True while no evaluation has had a number that could choose."""
    value = self.metrics.get(self.metric, 0.0)
    return bool(self.metric and np.isnan(value))

  def position(self) -> dict[str, Any]:
    """Returns the content of a checkpoint besides arrays, as JSON."""
    return {
        'metrics': {k: repr(float(v)) for k, v in self.metrics.items()},
        'step': self.step,
        'waited': self._waited,
    }

  def load(self, position: Mapping[str, Any]) -> None:
    """Restores what `position` returned."""
    self.metrics = {k: float(v) for k, v in position['metrics'].items()}
    self.step, self._waited = position['step'], position['waited']


def copy(params: Any) -> Any:
  """Copies the parameters, because the next step consumes the originals."""
  return jax.tree.map(jnp.copy, params)


def chosen(
    selections: Sequence[Selection], best: Any, params: dict[str, Any]
) -> dict[str, Any]:
  """Returns the parameters that the test split sees: best or last of each.

  Args:
    selections: Of the replicas.
    best: What was kept, as `merge` made it; {} where nothing was.
    params: The last parameters.
  """
  takes_best = [s.keeps and s.step > 0 for s in selections]
  if not any(takes_best):
    return params
  if all(takes_best):
    return best
  return _merge(params, best, np.asarray(takes_best))


def merge(
    old: dict[str, Any], new: dict[str, Any], replicas: Sequence[bool]
) -> dict[str, Any]:
  """Takes `new` for some replicas and `old` for the others.

  Args:
    old: `table` [V, R, .], `net` and `stats`, each leaf [R, ...]; the result
      takes its memory.
    new: The same.
    replicas: [R].
  """
  return _merge_in_place(old, new, np.asarray(replicas))


def _merge(old: dict[str, Any], new: dict[str, Any], which: Array) -> Any:
  def pick(axis: int, a: Array, b: Array) -> Array:
    shape = [1] * a.ndim
    shape[axis] = len(which)
    return jnp.where(which.reshape(shape), b, a)

  return axes.map_replicas(pick, old, new)


_merge_in_place = jax.jit(_merge, donate_argnums=0)

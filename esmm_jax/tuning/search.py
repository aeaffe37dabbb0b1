"""Asks Optuna for trials, and tells it how they went.

The study lives in memory: a search that goes on asks for the same trials again
and tells the same numbers, which it reads from the folders of the runs.
"""

from collections.abc import Sequence
import functools
import importlib
import math
from typing import Any

from esmm_jax.tuning.space import Dimension
from esmm_jax.types import InputError

SAMPLERS = ('tpe', 'random')
PRUNERS = ('median', 'none')
COMPLETE, PRUNED, FAILED = 'complete', 'pruned', 'failed'


def load() -> Any:
  """Returns Optuna.

  Raises:
    InputError: It is not installed.
  """
  try:
    return importlib.import_module('optuna')
  except ImportError as e:
    raise InputError(
        'A search needs Optuna, which is not installed: pip install'
        " 'esmm_jax[tune]'."
    ) from e


class Search:
  """A search: trials are asked for, evaluated and ended, in any number.

  The same calls give the same trials.
  """

  def __init__(
      self,
      space: Sequence[Dimension],
      mode: str,
      sampler: str = 'tpe',
      pruner: str = 'median',
      seed: int = 0,
  ):
    """Begins a search without trials.

    Args:
      space: What varies.
      mode: 'min' or 'max', which end of the metric is best.
      sampler: One of `SAMPLERS`. TPE draws the first ten at random.
      pruner: One of `PRUNERS`. The median ends a trial whose best value so far
        is worse than the median at that evaluation of the trials that were
        complete, once there are five.
      seed: Of the sampler.

    Raises:
      InputError: Optuna is not installed.
    """
    optuna = load()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    samplers = optuna.samplers
    chosen = samplers.RandomSampler if sampler == 'random' else (
        # The trials that are at work count as bad ones, so that those that are
        # asked for at once differ.
        functools.partial(samplers.TPESampler, constant_liar=True)
    )
    none = pruner == 'none'
    pruners = optuna.pruners
    self._study = optuna.create_study(
        direction='minimize' if mode == 'min' else 'maximize',
        sampler=chosen(seed=seed),
        pruner=pruners.NopPruner() if none else pruners.MedianPruner(),
    )
    self._space, self._sign = space, -1 if mode == 'min' else 1
    self._trials: list[Any] = []
    self._told: list[int] = []  # Evaluations of each that Optuna knows.
    self.values: dict[int, float] = {}  # Of the trials that are complete.

  def ask(self) -> tuple[int, dict[str, Any]]:
    """Returns a trial: its number, from 0, and key -> value."""
    trial = self._study.ask()
    self._trials.append(trial)
    self._told.append(0)
    return len(self._trials) - 1, {
        d.key: d.value(_draw(trial, d)) for d in self._space
    }

  def ends(self, number: int, values: Sequence[float]) -> bool:
    """Returns whether the pruner ends a trial at its latest evaluation.

    Args:
      number: Of the trial.
      values: The metric at its evaluations so far.
    """
    self._tell(number, values)
    return self._trials[number].should_prune()

  def end(self, number: int, values: Sequence[float], state: str) -> str:
    """Ends a trial.

    Args:
      number: Of the trial.
      values: The metric at its evaluations; the best one counts.
      state: One of COMPLETE, PRUNED and FAILED.

    Returns:
      The state that it has: one without any number has failed.
    """
    self._tell(number, values)
    numbers = [v for v in values if not math.isnan(v)]
    state = state if numbers else FAILED
    states = load().trial.TrialState
    if state == COMPLETE:
      best = max(numbers, key=lambda v: v * self._sign)
      self.values[number] = best
      self._study.tell(self._trials[number], best)
    else:
      told = states.PRUNED if state == PRUNED else states.FAIL
      self._study.tell(self._trials[number], state=told)
    return state

  @property
  def best(self) -> int | None:
    """Number of the best trial that is complete, the first of equals."""
    key = lambda number: (self.values[number] * self._sign, -number)
    return max(self.values, key=key, default=None)

  def _tell(self, number: int, values: Sequence[float]) -> None:
    """Tells the evaluations that Optuna does not know."""
    for k in range(self._told[number], len(values)):
      self._trials[number].report(values[k], k)
    self._told[number] = max(self._told[number], len(values))


def _draw(trial: Any, d: Dimension) -> Any:
  """Draws a value of a dimension, as the sampler knows it."""
  if d.choices:
    return trial.suggest_categorical(d.key, [repr(c) for c in d.choices])
  suggest = trial.suggest_int if d.whole else trial.suggest_float
  return suggest(d.key, d.low, d.high, log=d.log)

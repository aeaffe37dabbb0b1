"""Computes all metrics of the rows of one task, which sort them once."""

from esmm_jax.metrics import Metric, METRICS
from esmm_jax.metrics.classes import Classes
from esmm_jax.metrics.ranking import grouped_auc
from esmm_jax.metrics.thresholds import OF_CLASSES
from esmm_jax.plugins.registry import Registry
from esmm_jax.types import Array, InputError


def of_events(
    logits: Array, labels: Array, periods: Array | None = None
) -> dict[str, float]:
  """Computes `METRICS` of one task.

  Args:
    logits: float32 [n].
    labels: 0 or 1 [n].
    periods: See `by_space.Observed`; AUC alone compares rows of one period.

  Returns:
    Metric -> value, in the order of `METRICS`.
  """
  classes = Classes.of(logits, labels)  # Sorts once for all that need it.
  values = {
      n: OF_CLASSES[n](classes)
      if n in OF_CLASSES
      else value_of(METRICS, n, logits, labels)
      for n in METRICS.in_use()
  }
  if periods is not None:
    values['auc'] = grouped_auc(logits, labels, periods).value
  return values


def value_of(
    registry: Registry[Metric], name: str, values: Array, labels: Array
) -> float:
  """Computes one metric.

  Args:
    registry: `METRICS`, or those of a regression.
    name: The metric.
    values: Log-odds or values, [n].
    labels: [n].

  Raises:
    InputError: A plugin's raises something, or returns no number.
  """
  try:
    return float(registry[name](values, labels, None))
  except Exception as e:  # Whatever somebody's code does.
    if not registry.module(name):
      raise
    raise InputError(
        f'the metric {name!r} of {registry.module(name)} cannot be computed:'
        f' {type(e).__name__}: {e}. It takes (values, labels, where), NumPy'
        ' arrays [n], where may be None, and returns a number.'
    ) from e

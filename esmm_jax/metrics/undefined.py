"""Says which metrics are no numbers, and why."""

from collections.abc import Mapping

from esmm_jax.metric_names import GROUPED, OURS
from esmm_jax.metrics.by_space import functions, Observed
from esmm_jax.tasks import Space, spaces
import numpy as np


def undefined(
    metrics: Mapping[str, float], observed: Observed, split: str
) -> list[str]:
  """Says which metrics of a split are no numbers, and why.

  Args:
    metrics: As `evaluate` returns them.
    observed: The rows that they are of.
    split: `valid` or `test`, for the text.

  Returns:
    A line for each sample space that has such metrics.
  """
  lines = []
  for space in spaces(observed.tasks):
    every = [
        name
        for name in (*functions(space), *GROUPED)
        if not np.isfinite(metrics.get(f'{space.key}/{name}', 0.0))
    ]
    names = [n.replace('_', ' ') for n in every if n in OURS]
    if own := [n for n in every if n not in OURS]:
      lines.append(
          f'{split}/{space.key}: {", ".join(own)} of a plugin is not finite,'
          ' and null in results.json.'
      )
    if names:
      lines.append(
          f'{split}/{space.key}: {", ".join(names)} cannot be computed and'
          f' {"are" if len(names) > 1 else "is"} null in results.json, because'
          f' {_reason(space, observed)}.'
      )
  return lines


def _reason(space: Space, observed: Observed) -> str:
  """Returns what the rows of a space lack for its metrics."""
  labels = np.asarray(observed.labels[space.label])
  rows = 'rows'
  if space.given:
    labels = labels[np.asarray(observed.labels[space.given]) == 1]
    rows = f'rows with {space.given} 1'
  if not len(labels):
    return f'there are no {rows}'
  if (labels == labels[0]).all():
    return f'{space.label} is {labels[0]:g} in all {len(labels)} {rows}'
  if space.kind == 'binary':
    return f'no group of {rows} has both values of {space.label}'
  return f'all predictions for the {rows} are equal'

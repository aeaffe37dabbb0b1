"""The numbers of a seesaw laboratory's page, as plain data."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from esmm_jax.reporting.seesaw import costs, stops, verdicts
from esmm_jax.reporting.seesaw.arms import Arms


def numbers(
    arms: Arms,
    judged: Mapping[tuple, str],
    pairs: Mapping[tuple, str],
    front: verdicts.Front,
    stopped: Sequence[stops.Stopped],
    single: stops.Stopped | None,
) -> dict[str, Any]:
  """Collects the numbers of the page, nan as None.

  Args:
    arms: The runs.
    judged: Values of a row -> its verdict over the single-task models.
    pairs: The same over replays.
    front: The static front.
    stopped: Scores by step of all arms but the single-task models.
    single: Those; None without a validation split.
  """
  design = arms.design
  rows = []
  for row in arms.block.rows:
    arm, ratio = row.values
    scores = {
        str(seed): [run.value(m) for m in design.metrics]
        for seed, run in arms.finished(row).items()
    }
    rows.append({
        'arm': arm,
        'ratio': ratio,
        'test_auc': scores,
        'over_single_task': judged.get(row.values),
        'over_replay': pairs.get(row.values),
    })
  by_step = [
      {'arm': s.name[0], 'ratio': s.name[1]}
      | {'seeds': {str(k): v._asdict() for k, v in s.stops.items()}}
      for s in (*stopped, *([single] if single else []))
  ]
  margins = {
      str(name): {where: m._asdict() for where, m in by.items()}
      for name, by in front.margins.items()
  }
  return _plain({
      'losses': design.terms,
      'scores': design.scores,
      'arms': rows,
      'front_volume': front.volume._asdict(),
      'margins': margins,
      'by_step': by_step,
      'cost': costs.numbers(arms.block.rows, arms.config),
  })


def _plain(value: Any) -> Any:
  """Returns plain data with None where a number is nan."""
  if isinstance(value, Mapping):
    return {k: _plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(v) for v in value]
  return None if isinstance(value, float) and math.isnan(value) else value

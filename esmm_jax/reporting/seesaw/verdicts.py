"""Sentences on what the arms of a seesaw laboratory show."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from esmm_jax.metrics.front_margin import front_margin, FrontMargin
from esmm_jax.metrics.fronts import front_volume, FrontVolume
from esmm_jax.reporting.front_grid import Curves, REFERENCE
from esmm_jax.reporting.gain_grid import verdict
from esmm_jax.reporting.grid import interval, NONE, text
from esmm_jax.sweeps.results import Block, Row
from esmm_jax.sweeps.seesaw import METHOD, STATIC
from esmm_jax.sweeps.table import Table


def of_rows(table: Table, rows: Sequence[Row]) -> dict[tuple, str]:
  """Returns values of a row -> its verdict on both scores.

  Args:
    table: A results table with a verdict.
    rows: Of its block; those without gains are left out.
  """
  assert table.verdict is not None
  headers = {c.metric: c.header.split()[0] for c in table.columns}
  return {
      row.values: verdict([(headers[m], row.gains[m]) for m in table.verdict])
      for row in rows
      if row.gains
  }


def static_weights(verdicts: Mapping[tuple, str]) -> str:
  """Says what the static weights gain over the single-task models."""
  judged = [v for values, v in verdicts.items() if values[0] == STATIC]
  if NONE in judged:
    return 'Static weights: with one seed there is no test.'
  counts = ', '.join(f'{v} {n}' for v, n in Counter(judged).most_common())
  return (
      f'Static weights against single_task: {judged.count("seesaw")} of'
      f' {len(judged)} ratios seesaw beyond noise ({counts}).'
  )


def methods(verdicts: Mapping[tuple, str]) -> str:
  """Says which methods differ from their replays."""
  if not verdicts:
    return 'Methods: none was asked for.'
  if NONE in verdicts.values():
    return 'Methods: with one seed there is no test.'
  better = [values[0] for values, v in verdicts.items() if is_better(v)]
  other = [
      f'{values[0]} {v}'
      for values, v in verdicts.items()
      if v != 'noise' and not is_better(v)
  ]
  text_of = lambda names: ', '.join(map(str, names)) or 'none'
  return (
      'Methods against their replays, constant weights at their own means:'
      f' better beyond noise {text_of(better)}; otherwise different'
      f' {text_of(other)}; of {len(verdicts)}.'
  )


def is_better(judged: str) -> bool:
  """Returns whether a verdict has a gain and no loss."""
  return judged.endswith(' up')


# Fewer seeds give a bootstrap that is much too narrow: five have 126 draws.
FEW = 5


class Front(NamedTuple):
  """The front of static weights, and the models beside it.

  Attributes:
    volume: What the front dominates more than the single-task models.
    margins: Series -> text of `along` -> how far it lies beyond the front.
  """

  volume: FrontVolume
  margins: Mapping[Any, Mapping[str, FrontMargin]]


def front(scores: Curves) -> Front:
  """Computes the volume of the static front, and the margins over it."""
  curve = scores.series[STATIC]
  return Front(
      front_volume(curve, REFERENCE, scores.single),
      {
          name: {where: front_margin(curve, x) for where, x in by.items()}
          for name, by in scores.points.items()
      },
  )


def beyond(front: Front) -> str:
  """Says how large the front is, and which methods lie beyond it."""
  volume = front.volume
  if not volume.n:
    return 'Front: no seed has all static weights and the single-task models.'
  gain = interval(volume.value, volume.low, volume.high, 5)
  gain = f'Front of static weights: volume {gain} over single_task'
  if volume.n < 2:
    return f'{gain}; with one seed it has no interval.'
  if volume.n < FEW:
    return f'{gain}; {volume.n} seeds are too few to judge by such an interval.'
  outside = [
      text(name)
      for name, by in front.margins.items()
      if METHOD in by and by[METHOD].low > 0
  ]
  return (
      f'{gain}; methods beyond it with their whole interval:'
      f' {", ".join(outside) or "none"}.'
  )


def block_rows(block: Block) -> dict[tuple, Row]:
  """Returns values -> row."""
  return {row.values: row for row in block.rows}

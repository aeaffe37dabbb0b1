"""Weights that the gates of a mixture of experts give to them."""

from collections.abc import Mapping
import math

from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

_LABELLED = 0.06  # Smallest share whose number is written into its bar.


def gates(
    loads: Mapping[str, Array],
    entropies: Mapping[str, float],
    path: str,
    title: str,
) -> drawing.Figure:
  """Draws the mean weight of each expert, a stacked bar for each gate.

  Beside a bar is the mean entropy of its weights as a share of the largest
  possible, ln(number of experts): 100 % mixes evenly, 0 % takes one expert.

  Args:
    loads: Gate -> [E], mean weights that sum to 1.
    entropies: Gate -> mean entropy in nats.
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no gate.
  """
  height = 0.42 * len(loads) + 1.7
  figure, [[axes]] = drawing.panels(min(1, len(loads)), 1, (7.5, height))
  axes.grid(False)
  most = max(map(len, loads.values()))
  left = np.zeros(len(loads))
  for e in range(most):
    width = [load[e] if e < len(load) else 0.0 for load in loads.values()]
    color = drawing.COLOURS[e % len(drawing.COLOURS)]
    bars = axes.barh(
        list(loads), width, left=left, height=0.7, color=color,
        edgecolor='white', label=f'expert {e}',
    )  # fmt: skip
    texts = [f'{100 * w:.0f} %' if w >= _LABELLED else '' for w in width]
    axes.bar_label(
        bars, texts, label_type='center', color='white', fontsize='small'
    )
    left = left + width
  for k, (gate, load) in enumerate(loads.items()):
    even = math.log(len(load)) if len(load) > 1 else math.nan
    share = entropies.get(gate, math.nan) / even
    text = '' if math.isnan(share) else f'{100 * share:.0f} %'
    axes.text(1.02, k, text, va='center', fontsize='small')
  axes.text(1.02, -0.85, 'entropy', va='center', fontsize='small')
  axes.invert_yaxis()
  axes.set(
      xlim=(0, 1),
      ylim=(len(loads) - 0.5, -0.6),
      xticks=[0, 0.25, 0.5, 0.75, 1],
      xlabel='mean weight over all impressions',
  )
  axes.tick_params(left=False)
  drawing.finish(figure, np.array([[axes]]), title, path)
  return figure

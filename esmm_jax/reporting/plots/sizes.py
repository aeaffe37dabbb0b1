"""Scores by the share of the training data that a method has seen."""

from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

# Widths relative to the step from one share to the next: of the points of all
# methods together, and between two neighbours, at most.
_SPREAD = 0.56
_APART = 0.08


def training_size(
    panels: Mapping[str, Mapping[str, Mapping[float, Array]]],
    path: str,
    title: str,
    x_label: str = 'share of the training data',
) -> drawing.Figure:
  """Draws scores by training share, as figure 3 of the ESMM paper.

  The shares are at equal steps. A point is the mean over seeds, its bar one
  standard deviation on each side, left out of fewer than two seeds. Methods
  are moved a little sideways so that their bars do not hide each other.

  Args:
    panels: Label of the score -> method -> share in (0, 1] -> float [S], nan
      where a run is missing. A method has one colour in all panels.
    path: The PNG to write.
    title: Above the figure.
    x_label: Below the panels.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel, or values are not [S].

  References:
    Ma et al. Entire space multi-task model: an effective approach for
      estimating post-click conversion rate. SIGIR 2018.
  """
  styles = drawing.styles(panels.values())
  lines = [line for panel in panels.values() for line in panel.values()]
  shares = sorted({share for line in lines for share in line})
  apart = min(_APART, _SPREAD / max(len(styles), 1))
  shifts = {
      method: apart * (k - (len(styles) - 1) / 2)
      for k, method in enumerate(styles)
  }
  size = 4.7 * len(panels) + 0.2, 4.5
  figure, grid = drawing.panels(1, len(panels), size, sharey=False)
  for axes, (label, panel) in zip(grid.flat, panels.items(), strict=True):
    count = _panel(axes, panel, shares, shifts, styles)
    drawing.headline(axes, '', count)
    axes.set(xlabel=x_label, ylabel=label)
  grid[0, 0].set_xticks(
      range(len(shares)), [f'{100 * share:g} %' for share in shares]
  )
  drawing.finish(figure, grid, title, path)
  return figure


def _panel(
    axes: drawing.Axes,
    panel: Mapping[str, Mapping[float, Array]],
    shares: Sequence[float],
    shifts: Mapping[str, float],
    styles: Mapping[str, Mapping[str, Any]],
) -> str:
  """Draws the methods of a panel; returns the text with their seeds."""
  counts, total = [], 0
  for method, by_share in panel.items():
    points = []
    for share in sorted(by_share):
      values = drawing.checked(method, by_share[share], (None,))
      mean, std, n = drawing.moments(values)
      counts.append(n)
      total = max(total, len(values))
      if n:
        points.append((shares.index(share) + shifts[method], mean, std))
    x, mean, std = np.reshape(points, (-1, 3)).T
    axes.errorbar(
        x, mean, std, label=method, capsize=2, linewidth=1.2, markersize=5,
        elinewidth=1, **styles[method],
    )  # fmt: skip
  return drawing.seeds(counts, total)

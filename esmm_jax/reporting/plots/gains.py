"""Gains over the baseline, with their intervals."""

from collections.abc import Mapping

from esmm_jax.printable import printable
from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

_CUT = 5.0  # Intervals are cut off at this multiple of the largest mean.


def gains(
    panels: Mapping[str, Mapping[str, Array]], path: str, title: str
) -> drawing.Figure:
  """Draws each row's difference to the baseline, a panel for each score.

  A line is the 95 % interval, cut off at five times the largest mean of the
  panel; a filled point is one whose p-value is below .05. Rows have the same
  height in all panels, so a seesaw is a pair of points on either side of 0.

  Args:
    panels: Score -> row -> float [4]: mean, low, high and p-value; nan where
      one is missing. All panels have the same rows.
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel, or values are not [4].
  """
  panels = {
      name: {row: drawing.checked(row, x, (4,)) for row, x in rows.items()}
      for name, rows in panels.items()
  }
  names = list(next(iter(panels.values()), {}))
  size = 3.2 * len(panels) + 2.2, 0.32 * len(names) + 1.5
  figure, grid = drawing.panels(
      1, len(panels), size, sharex=False, sharey=True
  )
  for axes, (name, rows) in zip(grid.flat, panels.items()):
    for y, row in enumerate(names):
      mean, low, high, p = rows[row]
      color = drawing.COLOURS[0 if mean >= 0 else 1]
      axes.hlines(y, low, high, color=color, linewidth=1.4)
      face = color if p < 0.05 else 'white'
      axes.plot(
          mean, y, marker='o', markersize=6, color=color, markerfacecolor=face
      )
    axes.axvline(0, color=drawing.GREY, linewidth=1, linestyle='--')
    axes.grid(axis='x', color='0.9')
    axes.set_xlim(*_limits(np.array(list(rows.values()))))
    axes.set_xlabel('difference to the baseline')
    drawing.headline(axes, name, '')
  grid[0, 0].set_yticks(range(len(names)), list(map(printable, names)))
  grid[0, 0].set_ylim(len(names) - 0.4, -0.6)
  figure.suptitle(title)
  drawing.write(figure, path)
  return figure


def _limits(values: np.ndarray) -> tuple[float, float]:
  """Returns the x limits of rows [n, 4]: 0, all means, most intervals."""
  means = values[:, 0][np.isfinite(values[:, 0])]
  far = _CUT * max(np.abs(means), default=0.0) or 1.0
  ends = values[:, :3][np.isfinite(values[:, :3])]
  low = max(-far, min(0.0, min(ends, default=0.0)))
  high = min(far, max(0.0, max(ends, default=0.0)))
  margin = 0.06 * (high - low) or 0.1
  return low - margin, high + margin

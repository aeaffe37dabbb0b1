"""Gains over the baseline, with their intervals."""

from collections.abc import Collection, Mapping

from esmm_jax.printable import printable
from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

_CUT = 5.0  # Intervals are cut off at this multiple of the largest mean.


def gains(
    panels: Mapping[str, Mapping[str, Array]],
    path: str,
    title: str,
    *,
    columns: int = 0,
    lower_is_better: bool | Collection[str] = False,
    others: Mapping[str, Array] | None = None,
    x_label: str = 'difference to the baseline',
) -> drawing.Figure:
  """Draws each row's difference to the baseline, a panel for each score.

  A line is the 95 % interval. One that reaches beyond five times the largest
  mean of the panel is cut off there, with an arrowhead. A filled point is
  one whose p-value is below .05, blue one that is better and orange one that is
  worse. Rows have the same height in all panels, so a seesaw is a pair of
  points on either side of 0.

  Args:
    panels: Panel -> row -> float [4]: mean, low, high and p-value; nan where
      one is missing. All panels have the same rows. A panel is a score, or one
      of the blocks of a results table.
    path: The PNG to write.
    title: Above the figure.
    columns: Panels side by side; 0: all of them.
    lower_is_better: Whether a negative difference is the better one; or the
      panels where it is.
    others: Panel -> float [n], mean differences that are drawn as grey lines
      across all rows: the other values that the baseline was chosen from.
    x_label: Below the lowest panels.

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
  columns = min(columns or len(panels), len(panels))
  lines = -(-len(panels) // max(columns, 1))
  height = 0.32 * len(names) + 0.6
  size = 3.2 * columns + 2.2, height * lines + 0.9
  figure, grid = drawing.panels(
      lines, columns, size, sharex=False, sharey=True
  )
  for axes, (name, rows) in zip(grid.flat, panels.items()):
    lower = lower_is_better is True or (
        lower_is_better is not False and name in lower_is_better
    )
    _panel(axes, [rows[row] for row in names], lower)
    for x in (others or {}).get(name, ()):
      axes.axvline(x, color='0.8', linewidth=1, zorder=0.5)
    axes.set_xlabel(x_label)
    axes.locator_params(axis='x', nbins=4)  # Long numbers of small panels.
    drawing.headline(axes, name, '')
  for axes in grid.flat[len(panels) :]:
    axes.set_axis_off()
  grid[0, 0].set_yticks(range(len(names)), list(map(printable, names)))
  grid[0, 0].set_ylim(len(names) - 0.4, -0.6)
  figure.suptitle(title)
  drawing.write(figure, path)
  return figure


def _panel(
    axes: drawing.Axes, rows: list[np.ndarray], lower_is_better: bool
) -> None:
  """Draws the points and intervals of rows, the first one on top."""
  for y, (mean, low, high, p) in enumerate(rows):
    better = mean <= 0 if lower_is_better else mean >= 0
    color = drawing.COLOURS[0 if better else 1]
    axes.hlines(y, low, high, color=color, linewidth=1.4)
    face = color if p < 0.05 else 'white'
    axes.plot(
        mean, y, marker='o', markersize=6, color=color, markerfacecolor=face
    )
  axes.axvline(0, color=drawing.GREY, linewidth=1, linestyle='--')
  axes.grid(axis='x', color='0.9')
  ends = _limits(np.array(rows))
  axes.set_xlim(*ends)
  _arrowheads(axes, rows, ends)


def _arrowheads(
    axes: drawing.Axes, rows: list[np.ndarray], ends: tuple[float, float]
) -> None:
  """Marks the intervals that go on beyond the panel's `ends`."""
  for y, (_, low, high, _) in enumerate(rows):
    for goes_on, x, marker in (
        (low < ends[0], ends[0], '<'), (high > ends[1], ends[1], '>')
    ):
      if goes_on:
        axes.plot(
            x, y, marker=marker, markersize=6, color='0.3', clip_on=False
        )


def _limits(values: np.ndarray) -> tuple[float, float]:
  """Returns the x limits of rows [n, 4]: 0, all means, most intervals."""
  means = values[:, 0][np.isfinite(values[:, 0])]
  far = _CUT * max(np.abs(means), default=0.0) or 1.0
  ends = values[:, :3][np.isfinite(values[:, :3])]
  low = max(-far, min(0.0, min(ends, default=0.0)))
  high = min(far, max(0.0, max(ends, default=0.0)))
  margin = 0.06 * (high - low) or 0.1
  return low - margin, high + margin

"""Losses and scores by training step."""

from collections.abc import Mapping, Sequence

from esmm_jax.reporting.plots import drawing
import numpy as np

Line = tuple[Sequence[float], Sequence[float]]  # Steps and values.
_COLUMNS = 2
_BEGINNING = 0.25  # First share of the steps, which may leave the panel.


def learning(
    panels: Mapping[str, Mapping[str, Line]],
    path: str,
    title: str,
    selected: int | None = None,
) -> drawing.Figure:
  """Draws losses and scores by training step, a panel each.

  The y axis covers all but the first quarter of the steps: there losses fall
  steeply from their value at the initialisation.

  Args:
    panels: Title -> line -> (steps, values); a line has one colour in
      all panels. A line named 'training' has no markers, unless it is a point.
    path: The PNG to write.
    title: Above the figure.
    selected: The step of the chosen parameters; marked in each panel.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel.
  """
  columns = min(_COLUMNS, len(panels))
  rows = -(-len(panels) // _COLUMNS)
  size = 4.6 * columns + 0.4, 2.5 * rows + 1.1
  figure, grid = drawing.panels(rows, columns, size, sharey=False)
  styles = drawing.styles(panels.values())
  drawn = np.zeros(grid.shape, bool)
  for k, (name, lines) in enumerate(panels.items()):
    axes = grid.flat[k]
    drawn.flat[k] = True
    for label, (steps, values) in lines.items():
      style = dict(styles[label], markersize=4, linewidth=1.4)
      if label == 'training' and len(steps) > 1:
        style |= {'marker': '', 'linewidth': 1.2}
      axes.plot(steps, values, label=label, **style)
    if selected is not None:
      axes.axvline(selected, color=drawing.GREY, linewidth=1, linestyle=':')
    low, high = _limits(lines)
    if low < high:
      axes.set_ylim(low, high)
    drawing.headline(axes, name, '')
  drawing.outer_labels(grid, drawn, 'training step')
  for axes in grid[drawn]:
    axes.tick_params(labelleft=True)
  drawing.finish(figure, grid, title, path)
  return figure


def _limits(lines: Mapping[str, Line]) -> tuple[float, float]:
  """Returns the y limits: all values after the beginning, and a margin."""
  last = max((max(s) for s, _ in lines.values() if len(s)), default=0)
  shown = [
      y
      for steps, values in lines.values()
      for x, y in zip(steps, values)
      if np.isfinite(y) and x > _BEGINNING * last
  ]
  if not shown:
    return 0.0, 0.0
  margin = 0.08 * (max(shown) - min(shown))
  return min(shown) - margin, max(shown) + margin

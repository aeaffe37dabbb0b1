"""Weights of the tasks and their gradients by training step."""

from collections.abc import Mapping, Sequence

from esmm_jax.reporting.plots import drawing
import numpy as np

Line = tuple[Sequence[float], Sequence[float]]  # Steps and values.
RATIO, COSINE = 'weight ratio', 'cosine'
CONFLICT, NORMS = 'conflict rate', 'norm ratio'
# In the order in which they are drawn, with the value at which nothing is
# uneven: equal weights and norms, gradients at right angles.
KINDS = {RATIO: 1.0, COSINE: 0.0, NORMS: 1.0, CONFLICT: 0.0}
_LOG = (RATIO, NORMS)


def balance(
    pairs: Mapping[str, Mapping[str, Mapping[str, Line]]],
    path: str,
    title: str,
    selected: int | None = None,
) -> drawing.Figure:
  """Draws how two tasks relate along training, four panels for each pair.

  Ratios are on a logarithmic axis; a grey line is where nothing is uneven.

  Args:
    pairs: Pair of tasks -> one of `KINDS` -> line -> (steps, values); a line is
      a part of the parameters and has one colour in all panels.
    path: The PNG to write.
    title: Above the figure.
    selected: The step of the chosen parameters; marked in each panel.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no pair.
  """
  columns = 2 if len(pairs) < 2 else len(KINDS)
  rows = -(-len(pairs) * len(KINDS) // columns)
  size = (4.6 if columns == 2 else 3.4) * columns + 0.4, 2.5 * rows + 1.1
  figure, grid = drawing.panels(rows, columns, size, sharey=False)
  styles = drawing.styles(
      panel for kinds in pairs.values() for panel in kinds.values()
  )
  drawn = np.zeros(grid.shape, bool)
  panels = [(pair, kind) for pair in pairs for kind in KINDS]
  for k, (pair, kind) in enumerate(panels):
    lines = pairs[pair].get(kind, {})
    axes = grid.flat[k]
    drawing.headline(axes, f'{pair}: {kind}' if len(pairs) > 1 else kind, '')
    if not lines:
      continue
    drawn.flat[k] = True
    _draw(axes, kind, lines, styles)
    if selected is not None:
      axes.axvline(selected, color=drawing.GREY, linewidth=1, linestyle=':')
  drawing.outer_labels(grid, drawn, 'training step')
  for axes in grid[drawn]:
    axes.tick_params(labelleft=True)
  drawing.finish(figure, grid, title, path)
  return figure


def _draw(
    axes: drawing.Axes,
    kind: str,
    lines: Mapping[str, Line],
    styles: Mapping[str, Mapping[str, object]],
) -> None:
  """Draws the lines of a panel, and where nothing is uneven."""
  axes.axhline(KINDS[kind], color=drawing.GREY, linewidth=1)
  for label, (steps, values) in lines.items():
    style = dict(styles[label], markersize=3.5, linewidth=1.3)
    axes.plot(steps, values, label=label, **style)
  if kind in _LOG:
    axes.set_yscale('log')
    axes.yaxis.set_major_formatter(lambda value, _: f'{value:.3g}')
    axes.yaxis.set_minor_formatter(_plain())
  if kind == CONFLICT:
    axes.set_ylim(-0.03, 1.03)


def _plain() -> object:
  """Returns a formatter of logarithmic axes: 4 and 0.6, not 4 x 10^0."""
  from matplotlib import ticker

  class Plain(ticker.LogFormatter):

    def __call__(self, x: float, pos: int | None = None) -> str:
      return f'{x:.3g}' if super().__call__(x, pos) else ''

  return Plain()

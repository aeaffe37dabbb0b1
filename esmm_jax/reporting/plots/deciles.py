"""Predicted over true CVR in each decile of the true CTR."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.metric_names import DECILE_BIASES, DECILE_RATIOS
from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

_DECILES = range(1, 11)
_RATIO = 'mean predicted CVR / mean true CVR'
_BIAS = 'mean predicted CVR − mean true CVR'
# The axis is log if a ratio is above this or below its inverse.
_FAR = 4.0


def cvr_by_ctr_decile(
    runs: Mapping[str, Mapping[str, Any]], path: str, title: str
) -> None:
  """Draws predicted over true CVR in each decile of the true CTR.

  Beside it predicted minus true, where all runs have it.

  Args:
    runs: Name -> results with `test/cvr_entire/NAME` of `DECILE_RATIOS`, and of
      `DECILE_BIASES`, which results of earlier versions lack.
    path: The PNG to write.
    title: Above the figure.
  """
  biased = all(
      results.get(f'test/cvr_entire/{name}') is not None
      for results in runs.values()
      for name in DECILE_BIASES
  )
  size = (12.0, 4.5) if biased else (7.5, 4.5)
  figure, [grid] = drawing.panels(1, 1 + biased, size, sharey=False)
  highest = 1.0
  for k, (name, results) in enumerate(runs.items()):
    ratios = [results[f'test/cvr_entire/{name}'] for name in DECILE_RATIOS]
    highest = max(highest, *ratios)
    label = f'{name}: {results["test/cvr_entire/ratio"]:.2f} overall'
    grid[0].plot(_DECILES, ratios, label=label, **drawing.style(k))
    if biased:
      biases = [results[f'test/cvr_entire/{name}'] for name in DECILE_BIASES]
      grid[1].plot(_DECILES, biases, **drawing.style(k))
  for axes, truth, label in zip(grid, (1.0, 0.0), (_RATIO, _BIAS)):
    _truth(axes, truth)
    axes.annotate(
        'true', (10.56, truth), color=drawing.GREY, va='center',
        annotation_clip=False,
    )  # fmt: skip
    axes.set(
        xlabel='decile of true pCTR (1: least likely to be clicked)',
        ylabel=label,
        xticks=list(_DECILES),
        xlim=(0.5, 10.5),
    )
  grid[0].set_ylim(0, 1.08 * highest)
  figure.suptitle(title)
  grid[0].legend(frameon=False)
  drawing.write(figure, path)


def cvr_by_ctr_decile_panels(
    panels: Mapping[tuple[str, str], Mapping[str, Array]],
    path: str,
    title: str,
) -> drawing.Figure:
  """Draws predicted over true CVR by true CTR decile, a grid of panels.

  Shown are the mean over seeds and a band of one standard deviation on each
  side, without the band if fewer than two seeds have a value. All panels have a
  log axis if the ratio of one seed is above 4 or below 1/4; the band then ends
  at the smallest ratio, since mean minus deviation may be negative.

  Args:
    panels: (row, column) -> method -> float [S, 10], nan where a run is
      missing. A method has one colour in all panels; a pair may be missing.
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel, or values are not [S, 10].
  """
  panels = {
      cell: {
          method: drawing.checked(method, values, (None, 10))
          for method, values in panel.items()
      }
      for cell, panel in panels.items()
  }
  rows = list(dict.fromkeys(row for row, _ in panels))
  columns = list(dict.fromkeys(column for _, column in panels))
  styles = drawing.styles(panels.values())
  ratios = [x.ravel() for panel in panels.values() for x in panel.values()]
  floor = _floor(np.concatenate([*ratios, []]))
  size = 3.4 * len(columns) + 0.8, 2 * len(rows) + 1.4
  figure, grid = drawing.panels(len(rows), len(columns), size)
  drawn = np.zeros(grid.shape, bool)
  for (i, j), axes in np.ndenumerate(grid):
    name = columns[j] if i == 0 else ''
    count = ''
    if j == 0:
      # The empty line keeps it apart from the label of the figure.
      axes.set_ylabel(f'\n{rows[i]}')
    if (rows[i], columns[j]) in panels:
      drawn[i, j] = True
      count = _panel(axes, panels[rows[i], columns[j]], styles, floor)
    drawing.headline(axes, name, count)
  grid[0, 0].set(xticks=list(_DECILES), xlim=(0.5, 10.5))
  if floor:
    _use_log_axes(grid)
  grid[0, 0].set_ylim(bottom=floor)
  drawing.outer_labels(
      grid, drawn, 'decile of true pCTR\n(1: least likely to be clicked)'
  )
  figure.supylabel(_RATIO, fontsize='medium')
  drawing.finish(figure, grid, title, path)
  return figure


def _panel(
    axes: drawing.Axes,
    panel: Mapping[str, np.ndarray],
    styles: Mapping[str, Mapping[str, Any]],
    floor: float,
) -> str:
  """Draws the methods of a panel; returns the text with their seeds."""
  counts = []
  for method, values in panel.items():
    mean, std, n = drawing.moments(values)
    counts.extend(n)
    style = styles[method]
    axes.plot(_DECILES, mean, label=method, markersize=4, **style)
    low = mean - std
    axes.fill_between(
        _DECILES,
        np.maximum(low, floor) if floor else low,
        mean + std,
        color=style['color'],
        alpha=0.18,
        linewidth=0,
    )
  _truth(axes)
  return drawing.seeds(counts, max(map(len, panel.values()), default=0))


def _truth(axes: drawing.Axes, value: float = 1.0) -> None:
  """Marks the ratio 1, or the difference 0, of unbiased predictions."""
  axes.axhline(value, color=drawing.GREY, linewidth=1, linestyle='--')


def _floor(ratios: np.ndarray) -> float:
  """Returns the start of a log axis; 0 if the axis is to be linear."""
  ratios = ratios[~np.isnan(ratios)]
  if not np.any((ratios > _FAR) | (ratios < 1 / _FAR)):
    return 0.0
  return min(ratios[ratios > 0], default=1.0) / 1.2


def _use_log_axes(grid: np.ndarray) -> None:
  """Makes the y axes of all panels [rows, columns] logarithmic."""
  from matplotlib import ticker

  for axes in grid.flat:
    axes.set_yscale('log', base=2, nonpositive='mask')
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(_fraction))


def _fraction(value: float, _: int) -> str:
  """Formats a ratio: `4`, `1/4`."""
  return f'{value:g}' if value >= 1 else f'1/{1 / value:g}'

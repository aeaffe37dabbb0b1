"""Two scores traded against each other by the weights of the tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.metrics.fronts import ellipse, pareto
from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array, InputError
import numpy as np

_COLUMNS = 3
_WIDE = 8.0
_FLAT = 1e-3  # Of an ellipse that has no area to be seen.


def fronts(
    series: Mapping[str, Array],
    weights: Sequence[float],
    single: Array,
    path: str,
    title: str,
    x_label: str,
    y_label: str,
    weight_label: str = 'log2 of the CTR : CVR weight',
    points: Mapping[str, Mapping[str, Array]] | None = None,
) -> drawing.Figure:
  """Draws two scores traded against each other, a panel per architecture.

  A panel has the mean point over seeds of each weight, joined in the order of
  the weights, and the ellipse of one standard deviation of the seeds, a line if
  there are two. Points on the Pareto front of the panel are ringed. The lines
  of the other architectures are grey. The cross-hair is the mean of the
  single-task models, its band one standard deviation on each side.

  Args:
    series: Architecture -> float [S, P, 2]: seed, weight, score on the x and on
      the y axis. Where either score is nan the run counts as missing; a weight
      without any run has no point.
    weights: Positive [P], the weight of the first task over the second.
    single: float [S, 2], the single-task models.
    path: The PNG to write.
    title: Above the figure.
    x_label: Of the first score.
    y_label: Of the second.
    weight_label: Of the colour bar.
    points: Method -> name -> float [S, 2], scores that are drawn in every
      panel: the mean of the first name filled, those of the others hollow, and
      lines between. All methods have the same names.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel, the shapes differ, or a weight is not
      positive.
  """
  order, ratios = _log2(weights)
  shape = (None, len(weights), 2)
  runs = {
      name: _whole(drawing.checked(name, values, shape))[:, order]
      for name, values in series.items()
  }
  single = _whole(drawing.checked('single', single, (None, 2)))
  points = {
      method: {
          name: _whole(drawing.checked(f'{method}, {name}', x, (None, 2)))
          for name, x in by_name.items()
      }
      for method, by_name in (points or {}).items()
  }
  columns = min(_COLUMNS, len(runs))
  rows = -(-len(runs) // _COLUMNS)
  size = 3.1 * columns + 1.2, 2.7 * rows + 1.3
  if points:  # They lie close together, and their legend is long.
    size = max(size[0], _WIDE), size[1] + 2.2 * rows + 0.06 * len(points)
  figure, grid = drawing.panels(rows, columns, size)
  colours = _colours(ratios)
  for axes, name in zip(grid.flat, runs):
    _panel(axes, name, runs, single, ratios, colours)
    _lone(axes, points)
  for axes in grid[:, 0]:
    axes.set_ylabel(y_label)
  drawn = np.arange(grid.size).reshape(grid.shape) < len(runs)
  drawing.outer_labels(grid, drawn, x_label)
  figure.colorbar(colours, ax=grid, label=weight_label, aspect=20 * rows)
  drawing.finish(figure, grid, title, path)
  return figure


def _log2(weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
  """Returns the ascending order of the weights [P], and their log2 in it."""
  weights = drawing.checked('weights', weights, (None,))
  if not np.all(weights > 0):
    raise InputError('weights must be positive.')
  order = np.argsort(weights, kind='stable')
  return order, np.log2(weights[order])


def _panel(
    axes: drawing.Axes,
    name: str,
    runs: Mapping[str, np.ndarray],
    single: np.ndarray,
    ratios: np.ndarray,
    colours: Any,
) -> None:
  """Draws one architecture, with the lines of the others in grey.

  Args:
    axes: The panel.
    name: The architecture.
    runs: Architecture -> float [S, P, 2], ordered by weight.
    single: float [S, 2], the single-task models.
    ratios: float [P], log2 of the weights.
    colours: Maps ratios to colours.
  """
  _cross_hair(axes, single)
  for other, values in runs.items():
    if other != name:
      mean, _, _ = drawing.moments(values)
      _line(axes, mean, '0.82', 'mean of another architecture', 0.8)
  mean, _, counts = drawing.moments(runs[name])
  _line(axes, mean, '0.3', 'mean of this architecture', 2)
  _ellipses(axes, runs[name], ratios, colours)
  _points(axes, mean, ratios, colours)
  drawing.headline(axes, name, drawing.seeds(counts.flat, len(runs[name])))
  axes.locator_params(nbins=5)


def _whole(values: np.ndarray) -> np.ndarray:
  """Sets both scores of a pair [..., 2] to nan if one of them is."""
  missing = np.isnan(values).any(-1, keepdims=True)
  return np.where(missing, np.nan, values)


def _colours(ratios: np.ndarray) -> Any:
  """Maps the range of the ratios to viridis without its yellow end."""
  import matplotlib
  from matplotlib import cm, colors

  table = matplotlib.colormaps['viridis'](np.linspace(0, 0.93, 256))
  low, high = min(ratios, default=0.0), max(ratios, default=0.0)
  margin = 0.5 if low == high else 0.0
  norm = colors.Normalize(low - margin, high + margin)
  return cm.ScalarMappable(norm, colors.ListedColormap(table))


def _cross_hair(axes: drawing.Axes, single: np.ndarray) -> None:
  """Draws mean and standard deviation of the single-task models [S, 2]."""
  centre, spread, _ = drawing.moments(single)
  if np.isnan(centre).any():
    return
  lines = dict(color=drawing.GREY, linewidth=1, linestyle='--', zorder=1.5)
  label = 'single-task'
  if not np.isnan(spread).any():
    label += ', ± 1 standard deviation'
    low, high = centre - spread, centre + spread
    band = dict(color='#56B4E9', alpha=0.15, linewidth=0, zorder=0.5)
    axes.axvspan(low[0], high[0], **band)
    axes.axhspan(low[1], high[1], **band)
  axes.axvline(centre[0], label=label, **lines)
  axes.axhline(centre[1], **lines)


def _line(
    axes: drawing.Axes, points: np.ndarray, colour: str, label: str, z: float
) -> None:
  """Joins the points [P, 2], without those that are nan."""
  points = points[~np.isnan(points).any(-1)]
  axes.plot(*points.T, color=colour, linewidth=1.1, label=label, zorder=z)


def _ellipses(
    axes: drawing.Axes, runs: np.ndarray, ratios: np.ndarray, colours: Any
) -> None:
  """Draws one standard deviation of the seeds [S, P, 2] of each ratio."""
  from matplotlib.patches import Ellipse

  for k, ratio in enumerate(ratios):
    x, y, width, height, angle = ellipse(runs[:, k])
    if width > 0:
      patch = Ellipse((x, y), width, height, angle=angle)
      patch.set(color=colours.to_rgba(ratio), alpha=0.14, zorder=1)
      patch.set(linewidth=0, label='1 standard deviation of the seeds')
      if height < _FLAT * width:  # Of two seeds it is a line.
        patch.set(linewidth=1.4, alpha=0.5)
      axes.add_patch(patch)


def _points(
    axes: drawing.Axes, means: np.ndarray, ratios: np.ndarray, colours: Any
) -> None:
  """Draws the points [P, 2], ringed on their Pareto front."""
  front = pareto(means)
  exists = ~np.isnan(means).any(-1)
  for which, size, edge, width, label in (
      (exists & ~front, 26, 'white', 0.5, 'mean of one weight'),
      (front, 48, 'black', 1.3, 'on the Pareto front of the panel'),
  ):
    if which.any():
      axes.scatter(
          *means[which].T, s=size, c=ratios[which], cmap=colours.cmap,
          norm=colours.norm, edgecolors=edge, linewidths=width, label=label,
          zorder=3,
      )  # fmt: skip


def _lone(
    axes: drawing.Axes, points: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
  """Draws methods' points, method -> name -> [S, 2], joined to the first."""
  for k, (method, by_name) in enumerate(points.items()):
    style = drawing.style(k)
    means = [drawing.moments(x)[0] for x in by_name.values()]
    line = dict(linewidth=0.8, alpha=0.7, zorder=3.5, color=style['color'])
    for mean in means[1:]:
      axes.plot(*zip(means[0], mean), **line)
      axes.plot(
          *mean[:, None], **style, linestyle='', markersize=5,
          markerfacecolor='white', zorder=3.6,
      )  # fmt: skip
    if not np.isnan(means[0]).any():
      axes.plot(
          *means[0][:, None], **style, linestyle='', markersize=6,
          markeredgecolor='white', markeredgewidth=0.4, label=method, zorder=4,
      )  # fmt: skip
  names = list(next(iter(points.values()), {}))
  for name, face in zip(names, [drawing.GREY, *['white'] * len(names)]):
    axes.plot(
        [], [], marker='o', linestyle='', color=drawing.GREY,
        markerfacecolor=face, label=name,
    )  # fmt: skip

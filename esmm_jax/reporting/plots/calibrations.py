"""Observed rates by prediction, and observed CVR by decile of pCTR."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.reporting.plots import drawing
import numpy as np

_COLUMNS = 3
# Ratios of the largest to the smallest value: above the first the axes are log,
# above the second they have one label per power of ten.
_LOG_RATIO, _WIDE_RATIO = 20.0, 50.0
_CUT = 1.8  # Bars are cut off at this multiple of the largest value.
_DECILES = np.arange(1, 11)


def calibration_curves(
    panels: Mapping[str, Mapping[str, Any]], path: str, title: str
) -> drawing.Figure:
  """Draws the observed rate by mean prediction, a panel for each space.

  Bars are 95 % intervals of the observed rate, of the first series. Axes are
  logarithmic if predictions differ by a factor of more than 20; a bin without a
  positive then has only the upper end of its bar.

  Args:
    panels: Space -> series -> curve with `predicted` [G] and `observed`, which
      has `rate`, `low` and `high` [G].
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.

  Raises:
    InputError: There is no panel.
  """
  columns = min(_COLUMNS, len(panels))
  rows = -(-len(panels) // _COLUMNS)
  size = 3.1 * columns + 0.3, 3 * rows + 0.9
  figure, grid = drawing.panels(
      rows, columns, size, sharey=False, sharex=False
  )
  styles = drawing.styles(panels.values())
  for axes in grid.flat[len(panels) :]:
    axes.set_visible(False)
  for axes, (name, series) in zip(grid.flat, panels.items()):
    _panel(axes, series, styles)
    drawing.headline(axes, name, '')
    axes.set_xlabel('mean predicted')
    axes.tick_params(labelbottom=True, labelleft=True)
  for row in grid:
    row[0].set_ylabel('observed rate')
  drawing.finish(figure, grid, title, path)
  return figure


def _panel(
    axes: drawing.Axes,
    series: Mapping[str, Any],
    styles: Mapping[str, Mapping[str, Any]],
) -> None:
  """Draws the curves of a space and the diagonal."""
  x = np.concatenate([c.predicted for c in series.values()])
  y = np.concatenate([c.observed.rate for c in series.values()])
  low, high = x.min(), max(x.max(), y.max())
  is_log = low > 0 and x.max() > _LOG_RATIO * low
  if is_log:
    floor = min([low, *y[y > 0]]) / 1.5
    axes.set_xscale('log')
    axes.set_yscale('log', nonpositive='mask')
    axes.set_xlim(low / 1.5, high * 1.5)
    axes.set_ylim(floor, high * 1.5)
    ends = [floor / 10, high * 10]
    _label_few(axes)
  else:
    floor = 0.0
    axes.set_xlim(0, 1.08 * high)
    axes.set_ylim(0, 1.08 * max(high, *_tops(series)))
    ends = [0, 10 * high]
  axes.plot(ends, ends, color=drawing.GREY, linestyle='--', linewidth=1)
  for k, (label, curve) in enumerate(series.items()):
    rate, bottom, top = curve.observed
    middle = np.where(rate > 0, rate, np.nan) if is_log else rate
    style = dict(styles[label])
    if k == 0:  # The bars of the other series are equally long.
      axes.vlines(
          curve.predicted, np.maximum(bottom, floor / 10), top,
          color=style['color'], linewidth=1, alpha=0.6,
      )  # fmt: skip
    axes.plot(
        curve.predicted, middle, label=label, markersize=4, linewidth=1.2,
        **style,
    )  # fmt: skip


def _label_few(axes: drawing.Axes) -> None:
  """Labels 1, 2 and 5 of each power of ten, or 1 if there are many."""
  from matplotlib import ticker

  for axis in (axes.xaxis, axes.yaxis):
    low, high = axis.get_view_interval()
    several = high < _WIDE_RATIO * low
    subs = (1, 2, 5) if several else (1,)
    axis.set_major_locator(ticker.LogLocator(subs=subs))
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _: f'{x:g}'))
    axis.set_minor_formatter(ticker.NullFormatter())


def _tops(series: Mapping[str, Any]) -> list[float]:
  """Returns the upper end of the longest bar of each series."""
  return [float(np.max(c.observed.high)) for c in series.values()]


def observed_cvr(deciles: Any, path: str, title: str) -> drawing.Figure:
  """Draws CVR by predicted CTR decile: predicted, observed, true if known.

  Args:
    deciles: `predicted`, `predicted_clicked`, `true` (or None) [G] and
      `observed`, which has `rate`, `low` and `high` [G].
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.
  """
  figure, [[axes]] = drawing.panels(1, 1, (7.5, 4.5))
  x = _DECILES[: len(deciles.predicted)]
  rate, low, high = deciles.observed
  lines = {
      'predicted, all impressions': deciles.predicted,
      'predicted, clicked ones': deciles.predicted_clicked,
  }
  for k, (label, values) in enumerate(lines.items()):
    axes.plot(x, values, label=label, **drawing.style(k))
  if deciles.true is not None:
    style = drawing.style(2)
    axes.plot(x, deciles.true, label='true, all impressions', **style)
  axes.errorbar(
      x + 0.08, rate, np.maximum([rate - low, high - rate], 0), fmt='x',
      color='0.2', capsize=3, linewidth=1,
      label='observed, clicked ones (95 %)',
  )  # fmt: skip
  axes.set(
      xlabel='decile of predicted pCTR (1: least likely to be clicked)',
      ylabel='conversions per click',
      title=title,
      xticks=list(x),
      xlim=(0.5, len(x) + 0.5),
  )
  # Bars of few clicks may be long and would flatten the lines.
  shown = np.concatenate([*lines.values(), rate])
  if deciles.true is not None:
    shown = np.concatenate([shown, deciles.true])
  top = _CUT * np.nanmax(shown)
  axes.set_ylim(0, min(top, 1.05 * np.nanmax([*high, *shown])) or 1)
  axes.legend(frameon=False, fontsize='small')
  drawing.write(figure, path)
  return figure

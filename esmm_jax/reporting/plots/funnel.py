"""Counts along the funnel, and the true CVR of all and of clicked rows."""

from esmm_jax.reporting.plots import drawing
from esmm_jax.types import Array
import numpy as np

_BINS = 30


def funnel(
    click: Array, conversion: Array, true_cvr: Array, path: str, title: str
) -> drawing.Figure:
  """Draws the counts along the funnel and the histogram of the true CVR.

  Args:
    click: [N], 0 or 1, of impressions.
    conversion: [N], 0 or 1.
    true_cvr: float [N] in (0, 1): P(conversion given a click) of every row,
      clicked or not, which only a simulator knows.
    path: The PNG to write.
    title: Above the figure.

  Returns:
    The figure that was written.

  Raises:
    InputError: The arrays are not [N].
  """
  click = drawing.checked('click', click, (None,))
  num = len(click)
  conversion = drawing.checked('conversion', conversion, (num,))
  true_cvr = drawing.checked('true_cvr', true_cvr, (num,))
  figure, grid = drawing.panels(
      1, 2, (10, 3.9), sharex=False, sharey=False
  )
  ((counts, rates),) = grid
  names = ('impressions', 'clicks', 'conversions')
  totals = (num, click.sum(), conversion.sum())
  bars = counts.barh(names, totals, color=drawing.COLOURS[0], height=0.6)
  counts.bar_label(
      bars, [f'{t:,.0f}\n{t / num:.2%}' for t in totals], padding=4
  )
  counts.set(xscale='log', xlabel='rows', xlim=(1, 12 * num))
  counts.invert_yaxis()
  counts.grid(axis='y', visible=False)
  drawing.headline(counts, 'The funnel', 'share of the impressions')
  low, high = true_cvr.min(), true_cvr.max()
  edges = np.geomspace(low, max(high, 1.01 * low), _BINS + 1)
  for k, (name, where) in enumerate(
      (('all impressions', np.ones(num, bool)), ('clicked', click == 1))
  ):
    label = f'{name}: mean {true_cvr[where].mean():.3f}'
    rates.hist(
        true_cvr[where], edges, weights=np.full(where.sum(), 1 / where.sum()),
        histtype='step', linewidth=1.8, color=drawing.COLOURS[k], label=label,
    )  # fmt: skip
    rates.axvline(
        true_cvr[where].mean(), color=drawing.COLOURS[k], linestyle='--',
        linewidth=1,
    )  # fmt: skip
  rates.set(
      xscale='log', xlabel='true P(conversion | click)',
      ylabel='share of the rows',
  )
  drawing.headline(rates, 'Who clicks is not who is shown', '')
  drawing.finish(figure, grid, title, path)
  return figure

"""Predictions of a test split -> the curves that the pictures of a page show.

The file is read in parts, so a page of 43 million rows needs little memory.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from esmm_jax.reporting.page.bins import Bins, observed_rate, Rate
from esmm_jax.tasks import FUNNEL, Space, spaces, Tasks
from esmm_jax.types import Array
from esmm_jax.workdir import predictions
from esmm_jax.workdir.identity import Stamp
import numpy as np

CURVE_BINS = 20
_EVENTS = 5  # Fewer expected ones give no rate.

# (first row, row behind the last) -> truth columns of these rows, [n] each.
Truth = Callable[[int, int], Mapping[str, Array]]


class Curve(NamedTuple):
  """A calibration curve: bins of equally many rows, by rising prediction.

  Attributes:
    predicted: float64 [G], mean prediction.
    observed: Rate of the label, [G] each.
    count: int64 [G], rows.
    bins: The fine bins by prediction that it was made of.
  """

  predicted: np.ndarray
  observed: Rate
  count: np.ndarray
  bins: Bins


class Deciles(NamedTuple):
  """CVR by decile of the predicted CTR, float64 [G] each.

  Attributes:
    ctr: Mean pCTR.
    predicted: Mean pCVR of all impressions.
    predicted_clicked: Mean pCVR of those clicked.
    observed: Conversions over clicks.
    true: Mean true CVR of all impressions; None if it is not known.
    clicks: Clicked impressions.
  """

  ctr: np.ndarray
  predicted: np.ndarray
  predicted_clicked: np.ndarray
  observed: Rate
  true: np.ndarray | None
  clicks: np.ndarray


class Scores(NamedTuple):
  """Curves of the predictions of a split.

  Attributes:
    rows: Number of rows of the split.
    curves: Space, `cvr_clicked` say -> its curve.
    deciles: None if there is no pCVR.
    rates: Space -> the event, its positives, and the rows where it can be.
  """

  rows: int
  curves: dict[str, Curve]
  deciles: Deciles | None
  rates: dict[str, tuple[str, int, int]] = {}


def read(
    path: str,
    truth: Truth | None = None,
    tasks: Tasks = FUNNEL,
    run: Stamp | None = None,
) -> Scores:
  """Sums up predictions as `predict.save_predictions` writes them.

  Args:
    path: The Parquet file.
    truth: Returns `p_cvr` of the same rows in the same order, if known.
    tasks: The run's tasks; a sample space whose columns are not in the file
      has no curve.
    run: The stamp of the run that they must be of; None compares none.

  Raises:
    InputError: The file cannot be read or is not as it was written, is of
      another run, or a prediction is no probability.
  """
  bins: dict[str, Bins] = {}
  shown: list[Space] = []
  columns = ['p_ctr', 'cvr', 'cvr_clicked', 'click', 'conversion']
  by_ctr = Bins(*columns, *(['true'] if truth else []))
  row, has_cvr = 0, False
  for data in predictions.batches(path, run):
    names = set(data)
    if not row:
      shown = [s for s in spaces(tasks) if s.kind == 'binary']
      shown = [
          s
          for s in shown
          if {f'p_{s.output}', s.label, s.given} - {''} <= names
      ]
      bins = {s.key: Bins('p', 'label') for s in shown}
      has_cvr = {'p_ctr', 'p_cvr', 'click', 'conversion'} <= names
    num = len(next(iter(data.values())))
    for s in shown:
      where = data[s.given] == 1 if s.given else np.ones(num, bool)
      p = data[f'p_{s.output}'][where]
      bins[s.key].add(p, p=p, label=data[s.label][where])
    if has_cvr:
      true = truth(row, row + num)['p_cvr'] if truth else None
      _add_cvr(by_ctr, data, true)
    row += num
  return Scores(
      row,
      {key: curve(b) for key, b in bins.items() if b.count.any()},
      _deciles(by_ctr, truth is not None) if has_cvr and row else None,
      {
          s.key: (
              s.label,
              round(bins[s.key].sums['label'].sum()),
              int(bins[s.key].count.sum()),
          )
          for s in shown
      },
  )


def _add_cvr(
    bins: Bins, data: Mapping[str, np.ndarray], true: Array | None
) -> None:
  """Adds rows to the sums by predicted CTR; `true` is their true CVR, [n]."""
  click = data['click']
  sums = dict(
      p_ctr=data['p_ctr'],
      cvr=data['p_cvr'],
      cvr_clicked=data['p_cvr'] * (click == 1),
      click=click,
      conversion=data['conversion'],
  )
  if true is not None:
    sums['true'] = true
  bins.add(data['p_ctr'], **sums)


def curve(bins: Bins) -> Curve:
  """Computes the curve of bins that have the sums `p` and `label`.

  A group of less than half its share of the rows, behind many with nearly one
  prediction, is joined to its neighbour unless both outcomes are expected at
  least five times in it: a rate of three rows would be a cliff.
  """
  groups = _without_small(bins.groups(CURVE_BINS))
  return Curve(
      groups['p'] / groups['count'],
      observed_rate(groups['label'], groups['count']),
      groups['count'],
      bins,
  )


def _without_small(groups: Mapping[str, Array]) -> dict[str, np.ndarray]:
  """Joins groups of too few rows to the one before, the first to the next."""
  count, p = groups['count'], groups['p']
  few = 2 * CURVE_BINS * count < count.sum()
  small = few & (np.minimum(p, count - p) < _EVENTS)
  number = np.maximum(np.cumsum(~small) - 1, 0)
  joined = {k: np.bincount(number, weights=x) for k, x in groups.items()}
  return joined | {'count': joined['count'].astype(np.int64)}


def remapped(bins: Bins, change: Callable[[np.ndarray], np.ndarray]) -> Curve:
  """Computes the curve after a rising change of the predictions.

  Args:
    bins: With the sums `p` and `label`.
    change: Probabilities -> probabilities; evaluated at the mean of each fine
      bin, 1/64 of log-odds wide.
  """
  changed = Bins('p', 'label')
  filled = bins.count > 0
  count = bins.count[filled]
  p = bins.sums['p'][filled] / count
  changed.count[filled] = count
  # The mean of ones may exceed 1 by a rounding error.
  changed.sums['p'][filled] = change(np.clip(p, 0, 1)) * count
  changed.sums['label'][filled] = bins.sums['label'][filled]
  return curve(changed)


def _deciles(bins: Bins, has_truth: bool) -> Deciles:
  """Computes the deciles of bins by predicted CTR."""
  groups = bins.groups(10)
  n, clicks = groups['count'], groups['click']
  with np.errstate(divide='ignore', invalid='ignore'):
    clicked = groups['cvr_clicked'] / clicks
  return Deciles(
      groups['p_ctr'] / n,
      groups['cvr'] / n,
      clicked,
      observed_rate(groups['conversion'] * (clicks > 0), clicks),
      groups['true'] / n if has_truth else None,
      clicks,
  )

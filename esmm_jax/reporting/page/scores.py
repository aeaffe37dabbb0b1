"""Predictions of a test split -> what the pictures of a page show.

The file is read in parts, so a page of 43 million rows needs little memory.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from esmm_jax.reporting.page.bins import Bins, observed_rate, Rate
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Space, spaces
from esmm_jax.types import Array, InputError
import numpy as np

CURVE_BINS = 20
_ROWS = 1_000_000  # Of a part.

# (first row, row behind the last) -> truth columns of these rows, [n] each.
Truth = Callable[[int, int], Mapping[str, Array]]


class Curve(NamedTuple):
  """A calibration curve: bins of as many rows, by rising prediction.

  Attributes:
    predicted: float64 [G], mean prediction.
    observed: Rate of the label, [G] each.
    count: int64 [G], rows.
    bins: What it was made of, by prediction.
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
    true: Mean true CVR of all impressions; None where it is not known.
    clicks: Clicked impressions.
  """

  ctr: np.ndarray
  predicted: np.ndarray
  predicted_clicked: np.ndarray
  observed: Rate
  true: np.ndarray | None
  clicks: np.ndarray


class Scores(NamedTuple):
  """What predictions say.

  Attributes:
    rows: Of the split.
    curves: Space, `cvr_clicked` say -> its curve.
    deciles: None where there is no pCVR.
  """

  rows: int
  curves: dict[str, Curve]
  deciles: Deciles | None


def read(path: str, truth: Truth | None = None) -> Scores:
  """Reads predictions as `predict.save_predictions` writes them.

  Args:
    path: The Parquet file.
    truth: Gives `p_cvr` of the same rows in the same order, if known.

  Raises:
    InputError: The file cannot be read or a prediction is no probability.
  """
  from pyarrow import ArrowInvalid, parquet

  try:
    file = parquet.ParquetFile(path)
  except (OSError, ArrowInvalid) as e:
    raise InputError(
        f'{path} cannot be read ({e}). Delete it; the report makes it again.'
    ) from e
  with file:
    names = set(file.schema_arrow.names)
    wanted = _spaces(names)
    bins = {s.key: Bins('p', 'label') for s in wanted}
    has_cvr = {'p_ctr', 'p_cvr', 'click', 'conversion'} <= names
    columns = ['p_ctr', 'cvr', 'cvr_clicked', 'click', 'conversion']
    by_ctr = Bins(*columns, *(['true'] if truth else []))
    row = 0
    for part in file.iter_batches(_ROWS):
      data = {n: part.column(n).to_numpy(zero_copy_only=False) for n in names}
      for s in wanted:
        where = data[s.given] == 1 if s.given else np.ones(len(part), bool)
        p = data[f'p_{s.output}'][where]
        bins[s.key].add(p, p=p, label=data[s.label][where])
      if has_cvr:
        p, click = data['p_cvr'], data['click']
        sums = dict(
            p_ctr=data['p_ctr'],
            cvr=p,
            cvr_clicked=p * (click == 1),
            click=click,
            conversion=data['conversion'],
        )
        if truth:
          sums['true'] = truth(row, row + len(part))['p_cvr']
        by_ctr.add(data['p_ctr'], **sums)
      row += len(part)
  return Scores(
      row,
      {key: curve(b) for key, b in bins.items() if b.count.any()},
      _deciles(by_ctr, truth is not None) if has_cvr and row else None,
  )


def curve(bins: Bins) -> Curve:
  """The curve of bins with the sums `p` and `label`."""
  found = bins.groups(CURVE_BINS)
  return Curve(
      found['p'] / found['count'],
      observed_rate(found['label'], found['count']),
      found['count'],
      bins,
  )


def remapped(bins: Bins, change: Callable[[np.ndarray], np.ndarray]) -> Curve:
  """The curve after a rising change of the predictions.

  Args:
    bins: With the sums `p` and `label`.
    change: Probabilities -> probabilities; it is taken at the mean of each fine
      bin, 1/64 of log-odds wide.
  """
  changed = Bins('p', 'label')
  there = bins.count > 0
  count = bins.count[there]
  p = bins.sums['p'][there] / count
  changed.count[there] = count
  changed.sums['p'][there] = change(np.clip(p, 0, 1)) * count
  changed.sums['label'][there] = bins.sums['label'][there]
  return curve(changed)


def _spaces(names: set[str]) -> list[Space]:
  """The binary spaces of the known funnels whose columns are there."""
  found = {
      s.key: s
      for s in (*spaces(FUNNEL), *spaces(CART_FUNNEL))
      if {f'p_{s.output}', s.label, *filter(None, [s.given])} <= names
  }
  if 'p_atr' not in names:
    return list(found.values())
  order = [s.key for s in spaces(CART_FUNNEL)]
  return sorted(found.values(), key=lambda s: order.index(s.key))


def _deciles(bins: Bins, has_truth: bool) -> Deciles:
  found = bins.groups(10)
  n, clicks = found['count'], found['click']
  with np.errstate(divide='ignore', invalid='ignore'):
    clicked = found['cvr_clicked'] / clicks
  return Deciles(
      found['p_ctr'] / n,
      found['cvr'] / n,
      clicked,
      observed_rate(found['conversion'] * (clicks > 0), clicks),
      found['true'] / n if has_truth else None,
      clicks,
  )

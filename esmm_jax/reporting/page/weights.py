"""The section of a page on the weights of clicked rows in the loss."""

from collections.abc import Mapping
import math
from typing import Any

from esmm_jax.metric_names import WEIGHTS
from esmm_jax.reporting.grid import Grid, NONE
from esmm_jax.reporting.page import meanings
from esmm_jax.reporting.page.parts import Missing, Section, Table, Terms, Text
from esmm_jax.reporting.page.sections import number

# Below this share the loss is that of few rows.
FEW = 0.1
_CALIBRATION = (
    'CTR calib.',
    'predicted clicks over observed ones, all impressions; below 1 the own'
    ' propensities of the run are too small in the mean, and its weights too'
    ' large.',
)


def section(
    results: Mapping[str, Any], config: Mapping[str, Any] | None
) -> Section:
  """Shows how much the weights of clicked rows rest on few of them.

  Args:
    results: `test/term/ess` and so on, `valid/...` likewise, and `ctr`'s
      calibration; without them the section is empty.
    config: The content of config.json; None: not known.
  """
  rows, exact, few = [], {}, []
  for split in ('test', 'valid'):
    for key in results:
      if not (key.startswith(f'{split}/') and key.endswith('/ess')):
        continue
      term = key.split('/')[1]
      keys = [f'{split}/ctr/calibration']
      keys += [f'{split}/{term}/{name}' for name in WEIGHTS]
      for j, name in enumerate(keys, 2):
        if results.get(name) is not None:
          exact[len(rows), j] = repr(results[name])
      rows.append([split, term, *(_text(k, results.get(k)) for k in keys)])
      share = results.get(f'{split}/{term}/ess_share')
      if share is not None and share < FEW:
        few.append(f'{_percent(share)} ({split}, {term})')
  title = 'Weights of clicked rows'
  if not rows:
    return Section(title, _absent(results, config))
  headers = [_CALIBRATION, *(meanings.WEIGHTS[name] for name in WEIGHTS)]
  parts: list[Any] = [
      Text(
          'The estimator weights clicked rows by the inverse of their'
          ' propensity to be clicked. These are the weights that a split has'
          ' with the parameters that were chosen.'
      ),
      Table(
          Grid('', ['split', 'term', *(h for h, _ in headers)], rows, 2, []),
          exact=exact,
      ),
      Terms(headers),
  ]
  if few:
    parts.insert(
        1,
        Missing(
            'Few rows carry the loss: the effective sample size is'
            f' {", ".join(few)} of the clicked rows, below {100 * FEW:g} %.'
            ' A higher floor, or a lower cap, makes it larger, and the estimate'
            ' more biased.'
        ),
    )
  return Section(title, parts)


def _percent(share: float) -> str:
  return f'{100 * share:.1f} %'


def _text(key: str, value: float | None) -> str:
  """Formats a count of rows, a share, or another number."""
  name = key.split('/')[-1]
  if value is None or math.isnan(value):
    return NONE
  if name == 'ess':
    return f'{value:,.1f}'
  if name in ('ess_share', 'at_floor'):
    return _percent(value)
  return f'{value:,.6g}' if name == 'weight_max' else number(value)


def _absent(
    results: Mapping[str, Any], config: Mapping[str, Any] | None
) -> list[Any]:
  """Says why a run that weights its rows has no weights of a split."""
  options = (config or {}).get('estimator_options') or {}
  if not results or options.get('propensity') != 'frozen':
    return []
  return [
      Text(
          'The propensity is that of a frozen run (estimator_options.propensity'
          " = 'frozen'), which the training rows alone have: there are no"
          ' weights of the validation and test splits to look at.'
      )
  ]

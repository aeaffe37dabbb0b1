"""Sections of a page that are drawn from the predictions of a test split."""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.entry import commands
from esmm_jax.metric_names import DECILE_BIASES, DECILE_RATIOS, LARGEST_BIAS
from esmm_jax.reporting import plots
from esmm_jax.reporting.grid import Grid
from esmm_jax.reporting.page import meanings, scores
from esmm_jax.reporting.page.parts import Missing, Picture, Section, Table, Text
from esmm_jax.reporting.page.sections import number
from esmm_jax.tasks import Tasks

_ENTIRE = 'test/cvr_entire/'
_DECILES = [_ENTIRE + name for name in DECILE_RATIOS]
_BIASES = [_ENTIRE + name for name in DECILE_BIASES]


def selection_bias(
    predicted: scores.Scores | None,
    results: Mapping[str, Any],
    folder: str,
    why: str,
    workdir: str,
) -> Section:
  """Draws CVR by decile of predicted and of true CTR.

  Args:
    predicted: Curves of the test split's predictions; None without.
    results: Metrics, `test/space/metric`.
    folder: Gets the pictures.
    why: The reason for missing predictions or truth; ''.
    workdir: The run's folder, for the command that makes them.
  """
  parts: list[Any] = []
  if predicted and predicted.deciles:
    path = os.path.join(folder, 'observed-cvr.png')
    plots.observed_cvr(
        predicted.deciles, path, 'CVR by decile of predicted CTR, test split'
    )
    what = (
        'CVR is trained where it is observed, on clicks, and used on all'
        ' impressions. Each tenth of the test split by predicted CTR: mean'
        ' predicted CVR of all its impressions and of the clicked ones, and the'
        ' conversions over clicks among the latter.'
    )
    if predicted.deciles.true is not None:
      what += (
          ' The true line is the mean CVR of all its impressions, which only'
          ' the simulator knows: where it leaves the observed one, clicked'
          ' impressions are not like the others.'
      )
    parts.append(Picture(path, what))
    if why:
      parts.append(Missing(why, command(workdir)))
  elif predicted is None:
    parts.append(Missing(why, command(workdir)))
  if all(results.get(key) is not None for key in _DECILES):
    path = os.path.join(folder, 'cvr-by-ctr-decile.png')
    plots.cvr_by_ctr_decile(
        {'this run': results},
        path,
        'CVR over all impressions: predicted over true',
    )
    parts.append(
        Picture(
            path,
            'Mean predicted over mean true CVR in each tenth of the test split'
            ' by true CTR; 1 has no bias.'
            + _has_biases(results) * ' Beside it their difference.',
            large=_has_biases(results),
        )
    )
    parts.append(_decile_table(results))
  return Section('Selection bias', parts)


def _has_biases(results: Mapping[str, Any]) -> bool:
  """Returns whether there are differences; earlier versions have none."""
  return all(results.get(key) is not None for key in _BIASES)


def _decile_table(results: Mapping[str, Any]) -> Table:
  """Shows predicted over true, and predicted minus true, by decile."""
  rows = [[str(d), number(results[k])] for d, k in enumerate(_DECILES, 1)]
  exact = {(d, 1): repr(results[k]) for d, k in enumerate(_DECILES)}
  headers, notes = ['tenth by true CTR', 'pred./true'], []
  if _has_biases(results):
    headers.append('pred. − true')
    for d, key in enumerate(_BIASES):
      rows[d].append(f'{results[key]:+.6f}')
      exact[d, 2] = repr(results[key])
    largest = results[_ENTIRE + LARGEST_BIAS]
    notes.append(f'Largest difference, without its sign: {largest:.6f}.')
  return Table(Grid('CVR by true CTR', headers, rows, 1, notes), exact=exact)


def command(workdir: str) -> str:
  """Returns the command that makes this page, with predictions."""
  return f'{commands.command("report")} --workdir={workdir}'


def calibration_curves(
    predicted: scores.Scores | None,
    tasks: Tasks,
    folder: str,
    why: str,
    workdir: str,
) -> Section:
  """Draws the calibration curve of each sample space.

  Args:
    predicted: See `selection_bias`.
    tasks: The run's tasks.
    folder: See `selection_bias`.
    why: See there.
    workdir: See there.
  """
  title = 'Calibration curves'
  if predicted is None:
    return Section(title, [Missing(why, command(workdir))])
  if not predicted.curves:
    return Section(title, [])
  path = os.path.join(folder, 'calibration.png')
  plots.calibration_curves(
      {key: {'as trained': c} for key, c in predicted.curves.items()},
      path,
      'Observed rate by prediction, test split',
  )
  spaces = '; '.join(
      f'{key}: {meaning.rstrip(".")}' if meaning else key
      for key in predicted.curves
      for meaning in [meanings.of_space(key, tasks)]
  )
  text = (
      f'The {predicted.rows:,} rows of the test split in'
      f' {scores.CURVE_BINS} bins of as many rows by prediction, with 95 %'
      ' intervals. On the dashed line predictions are right; below it they are'
      ' too high.'
  )
  return Section(title, [Text(text), Picture(path, spaces + '.', large=True)])

"""The page of a run."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from esmm_jax.json_files import read_json, read_jsonl
from esmm_jax.reporting import plots
from esmm_jax.reporting.page import meanings, scores, sections
from esmm_jax.reporting.page.calibration import maps
from esmm_jax.reporting.page.parts import Missing, Page, Picture, Section, Text
from esmm_jax.sweeps.results import read_run, Run
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import predictions_file

_HEAD = ('ctr', 'cvr_clicked', 'ctcvr', 'cvr_entire')
_DECILES = [f'test/cvr_entire/ratio_ctr_decile_{d}' for d in range(1, 11)]


def make(
    workdir: str,
    truth: scores.Truth | None = None,
    no_predictions: str = '',
) -> Page:
  """Draws the pictures into WORKDIR/plots and makes the page.

  Args:
    workdir: The run's folder; it may be unfinished.
    truth: The true CVR of the test split's rows, where it is known.
    no_predictions: Why there are none, or no truth, if it is known.

  Raises:
    InputError: The folder has no config.json, or a file of it is damaged.
  """
  run = read_run(workdir)
  if run.config is None:
    raise InputError(
        f'--workdir={workdir}: there is no config.json, so no run has begun'
        ' there, and no sweep.json either. Name the folder of a run or sweep.'
    )
  name = os.path.basename(os.path.abspath(workdir))
  results = run.results or {}
  lines = read_jsonl(os.path.join(workdir, 'metrics.jsonl'))
  folder = os.path.join(workdir, 'plots')
  calibration = read_json(os.path.join(workdir, 'calibration.json'))
  path = predictions_file(workdir)
  found = scores.read(path, truth) if os.path.exists(path) else None
  if found is None and not no_predictions:
    no_predictions = 'There are no predictions of the test split.'
  after = _after(found, calibration, os.path.join(folder, 'calibrated.png'))
  page_sections = [
      _state(run, lines, workdir),
      _learning(lines, results, os.path.join(folder, 'learning.png')),
      sections.metrics(results),
      _selection_bias(found, results, folder, no_predictions, workdir),
      _calibration(found, folder, no_predictions, workdir),
      sections.calibrated(calibration, after, workdir),
      _gates(results, os.path.join(folder, 'gates.png')),
      sections.other_seeds(workdir, run),
      sections.made_by(run, read_json(os.path.join(workdir, 'manifest.json'))),
  ]
  numbers = [
      (f'{space} AUC', sections.number(results[key]), _short(space))
      for space in _HEAD
      if (key := f'test/{space}/auc') in results
  ]
  config = run.config
  subtitle = (
      f'{config["model"]["name"]}, estimator {config["estimator"]}, data'
      f' {config["dataset"]["name"]}, seed {config["seed"]}'
  )
  return Page(f'Run {name}', subtitle, numbers, page_sections)


def _short(space: str) -> str:
  """What a number at the top is of."""
  return {
      'ctr': 'all impressions',
      'cvr_clicked': 'clicked impressions',
      'ctcvr': 'all impressions',
      'cvr_entire': 'all, against the truth',
  }[space]


def _state(
    run: Run, lines: Sequence[Mapping[str, Any]], workdir: str
) -> Section:
  if run.results is not None:
    return Section('State', [])
  step = max((line['step'] for line in lines), default=0)
  what = f'This run is not finished; its last line is of step {step:,}.'
  if step == 0:
    what = 'This run has not reached its first report.'
  bad = os.path.join(workdir, 'non_finite')
  if os.path.isdir(bad):
    what += ' A loss was not finite: see its folder non_finite.'
  what += ' The test split is seen once, at the end. The command that goes on:'
  return Section('State', [Missing(what, sections.rerun(run, workdir))])


def _learning(
    lines: Sequence[Mapping[str, Any]], results: Mapping[str, Any], path: str
) -> Section:
  """Training and validation loss of each term, and AUC on validation."""
  title = 'Learning curves'
  if not lines:
    return Section(title, [Missing('metrics.jsonl has no line yet.')])

  def of(key: str) -> tuple[list[int], list[float]]:
    pairs = [(r['step'], r[key]) for r in lines if r.get(key) is not None]
    return [s for s, _ in pairs], [v for _, v in pairs]

  keys = dict.fromkeys(key for line in lines for key in line)
  panels: dict[str, dict[str, Any]] = {}
  for key in keys:
    if not key.startswith('train/') or key.split('/')[1] in (
        'loss', 'batch_hash', 'skipped',
    ):  # fmt: skip
      continue
    term = key.split('/')[1]
    panel = {'training': of(key)}
    if f'valid/{term}/logloss' in keys:
      panel['validation'] = of(f'valid/{term}/logloss')
    panels[f'{term}: loss, nats'] = panel
  if 'train/loss' in keys:
    panels = {'all terms: loss, nats': {'training': of('train/loss')}} | panels
  auc = {
      f'AUC {k.split("/")[1]}': of(k)
      for k in keys
      if k.startswith('valid/') and k.endswith('/auc')
  }
  if auc:
    panels['AUC on the validation split'] = auc
  if not panels:
    return Section(title, [Missing('metrics.jsonl has no losses.')])
  selected = results.get('selected_step')
  plots.learning(panels, path, 'Learning curves', selected)
  chosen = (
      f' The dotted line is step {selected:,}, whose parameters the test split'
      ' saw.'
      if selected
      else ''
  )
  caption = (
      'Training losses are means since the line before; validation is the whole'
      ' split. What is above a panel in its first quarter is cut off.' + chosen
  )
  return Section(title, [Picture(path, caption, large=True)])


def _selection_bias(
    found: scores.Scores | None,
    results: Mapping[str, Any],
    folder: str,
    why: str,
    workdir: str,
) -> Section:
  parts: list[Any] = []
  if found and found.deciles:
    path = os.path.join(folder, 'observed-cvr.png')
    plots.observed_cvr(
        found.deciles, path, 'CVR by decile of predicted CTR, test split'
    )
    what = (
        'CVR is trained where it is observed, on clicks, and used on all'
        ' impressions. Each tenth of the test split by predicted CTR: mean'
        ' predicted CVR of all its impressions and of the clicked ones, and the'
        ' conversions over clicks among the latter.'
    )
    if found.deciles.true is not None:
      what += (
          ' The true line is the mean CVR of all its impressions, which only'
          ' the simulator knows: where it leaves the observed one, clicked'
          ' impressions are not like the others.'
      )
    parts.append(Picture(path, what))
    if why:
      parts.append(Missing(why, command(workdir)))
  elif found is None:
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
            ' by true CTR; 1 has no bias.',
        )
    )
  return Section('Selection bias', parts)


def command(workdir: str) -> str:
  """The command that makes this page, with predictions."""
  return f'python -m experiments.report --workdir={workdir}'


def _calibration(
    found: scores.Scores | None, folder: str, why: str, workdir: str
) -> Section:
  title = 'Calibration curves'
  if found is None:
    return Section(title, [Missing(why, command(workdir))])
  if not found.curves:
    return Section(title, [])
  path = os.path.join(folder, 'calibration.png')
  plots.calibration_curves(
      {key: {'as trained': c} for key, c in found.curves.items()},
      path,
      'Observed rate by prediction, test split',
  )
  spaces = '; '.join(
      f'{key}: {meanings.of_space(key).rstrip(".")}' for key in found.curves
  )
  text = (
      f'The {found.rows:,} rows of the test split in {scores.CURVE_BINS} bins'
      ' of as many rows by prediction, with 95 % intervals. On the dashed line'
      ' predictions are right; below it they are too high.'
  )
  return Section(title, [Text(text), Picture(path, spaces + '.', large=True)])


def _after(
    found: scores.Scores | None,
    calibration: Mapping[str, Any] | None,
    path: str,
) -> str | None:
  """Draws the curves of the calibrated probabilities; the file, if drawn."""
  if found is None or calibration is None:
    return None
  panels = {}
  for task, changes in maps(calibration).items():
    if task in found.curves:
      before = found.curves[task]
      panels[task] = {'as trained': before} | {
          name: scores.remapped(before.bins, change)
          for name, change in changes.items()
      }
  if not panels:
    return None
  plots.calibration_curves(panels, path, 'Before and after, test split')
  return path


def _gates(results: Mapping[str, Any], path: str) -> Section:
  loads, entropies = sections.gate_use(results)
  if not loads:
    return sections.gates(results, None)
  plots.gates(loads, entropies, path, 'Use of the gates, test split')
  return sections.gates(results, path)

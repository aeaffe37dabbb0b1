"""The page of a run."""

from collections.abc import Mapping, Sequence
import os
from typing import Any

from esmm_jax.json_files import read_jsonl
from esmm_jax.metric_names import BALANCING, NO_LOSSES
from esmm_jax.reporting import plots
from esmm_jax.reporting.page import balance, curves, provenance, scores
from esmm_jax.reporting.page import sections, weights
from esmm_jax.reporting.page.parts import Missing, Page, Picture, Section
from esmm_jax.serving.calibrators import probability_maps, read_file
from esmm_jax.sweeps.saved_runs import read_run, SavedRun
from esmm_jax.tasks import FUNNEL
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, manifest
from esmm_jax.workdir.folder import predictions_file, read_schema

_HEAD = ('ctr', 'cvr_clicked', 'ctcvr', 'cvr_entire')


def make(
    workdir: str,
    truth: scores.Truth | None = None,
    no_predictions: str = '',
    folder: str = '',
    predictions: str = '',
) -> Page:
  """Draws the pictures and makes the page.

  Args:
    workdir: The run's folder; it may be unfinished.
    truth: The true CVR of the test split's rows, if it is known.
    no_predictions: The reason for missing predictions or truth, if it is known.
    folder: Gets the pictures; '': WORKDIR/plots.
    predictions: File of the test split's predictions; '': that of the run.

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
  folder = folder or os.path.join(workdir, 'plots')
  stamp = end_note.stamp(workdir)
  calibration = read_file(workdir, stamp)
  path = predictions or predictions_file(workdir)
  predicted, tasks = None, FUNNEL
  if os.path.exists(path):
    schema = read_schema(workdir)
    tasks = schema.tasks if schema else tasks
    predicted = scores.read(path, truth, tasks, stamp)
  elif not no_predictions:
    no_predictions = 'There are no predictions of the test split.'
  why = no_predictions
  after = _after(predicted, calibration, os.path.join(folder, 'calibrated.png'))
  page_sections = [
      _state(run, lines, workdir),
      sections.rates(predicted),
      _learning(lines, results, os.path.join(folder, 'learning.png')),
      balance.section(
          lines, results, run.config, os.path.join(folder, 'balance.png')
      ),
      sections.metrics(results, tasks, run.history),
      weights.section(results, run.config),
      curves.selection_bias(predicted, results, folder, why, workdir),
      curves.calibration_curves(predicted, tasks, folder, why, workdir),
      sections.calibrated(calibration, after, workdir),
      _gates(results, os.path.join(folder, 'gates.png')),
      sections.other_seeds(workdir, run),
      provenance.made_by(run, manifest.began(workdir)),
  ]
  config = run.config
  subtitle = (
      f'{config["model"]["name"]}, estimator {config["estimator"]}, data'
      f' {config["dataset"]["name"]}, seed {config["seed"]}'
      + (f', history {run.history}' if run.history else '')
  )
  return Page(f'Run {name}', subtitle, head(results), page_sections)


def head(results: Mapping[str, Any]) -> list[tuple[str, str, str]]:
  """Returns the numbers at the top of a page: (name, number, rows)."""
  shown = [s for s in _HEAD if f'test/{s}/auc' in results]
  if not shown:  # Labels of one's own.
    named = sections.spaces(results)
    shown = [s for s in named if f'test/{s}/auc' in results][: len(_HEAD)]
  return [
      (f'{s} AUC', sections.number(results[f'test/{s}/auc']), _short(s))
      for s in shown
  ]


def _short(space: str) -> str:
  """Names the rows behind a number at the top of the page."""
  return {
      'ctr': 'all impressions',
      'cvr_clicked': 'clicked impressions',
      'ctcvr': 'all impressions',
      'cvr_entire': 'all, against the truth',
  }.get(space, 'test split')


def _state(
    run: SavedRun, lines: Sequence[Mapping[str, Any]], workdir: str
) -> Section:
  """Reports an unfinished run and the command that resumes it."""
  if run.results is not None:
    return Section('State', [])
  step = max((line['step'] for line in lines), default=0)
  what = f'This run is not finished; its last line is of step {step:,}.'
  if step == 0:
    what = 'This run has not reached its first report.'
  bad = os.path.join(workdir, 'non_finite')
  if os.path.isdir(bad):
    what += ' A loss was not finite: see its folder non_finite.'
  what += (
      ' The test split is seen once, at the end. The command that resumes the'
      ' run:'
  )
  return Section('State', [Missing(what, provenance.rerun(run, workdir))])


def _learning(
    lines: Sequence[Mapping[str, Any]], results: Mapping[str, Any], path: str
) -> Section:
  """Draws training and validation losses of each term, and validation AUC."""
  title = 'Learning curves'
  if not lines:
    return Section(title, [Missing('metrics.jsonl has no line yet.')])
  panels = _learning_panels(lines)
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
      ' split. What lies outside of a panel in its first quarter is cut off.'
      + chosen
  )
  evaluated = [r for r in lines if any(k.startswith('valid/') for k in r)]
  if len(evaluated) == 1:
    caption += (
        ' The validation split was evaluated once, so it has points and no'
        ' curve; --config.evals_per_epoch=4 evaluates it four times an epoch.'
    )
  return Section(title, [Picture(path, caption, large=True)])


def _learning_panels(
    lines: Sequence[Mapping[str, Any]],
) -> dict[str, dict[str, tuple[list[int], list[float]]]]:
  """Returns panel -> line -> (steps, values) of all losses and AUCs."""

  def curve(key: str) -> tuple[list[int], list[float]]:
    pairs = [(r['step'], r[key]) for r in lines if r.get(key) is not None]
    return [s for s, _ in pairs], [v for _, v in pairs]

  keys = dict.fromkeys(key for line in lines for key in line)
  panels = {}
  if 'train/loss' in keys:
    panels['all terms: loss, nats'] = {'training': curve('train/loss')}
  for key in keys:
    split, _, term = key.partition('/')
    if split != 'train' or term in ('loss', *NO_LOSSES):
      continue
    if term.startswith(BALANCING):
      continue
    panel = {'training': curve(key)}
    if f'valid/{term}/logloss' in keys:
      panel['validation'] = curve(f'valid/{term}/logloss')
    panels[f'{term}: loss, nats'] = panel
  auc = {
      f'AUC {key.split("/")[1]}': curve(key)
      for key in keys
      if key.startswith('valid/') and key.endswith('/auc')
  }
  if auc:
    panels['AUC on the validation split'] = auc
  return panels


def _after(
    predicted: scores.Scores | None,
    calibration: Mapping[str, Any] | None,
    path: str,
) -> str | None:
  """Draws the curves of calibrated probabilities; returns the file or None."""
  if predicted is None or calibration is None:
    return None
  panels = {}
  for space, maps in probability_maps(calibration).items():
    if space in predicted.curves:
      before = predicted.curves[space]
      panels[space] = {'as trained': before} | {
          sections.CALIBRATED[kind]: scores.remapped(before.bins, change)
          for kind, change in maps.items()
      }
  if not panels:
    return None
  plots.calibration_curves(panels, path, 'Before and after, test split')
  return path


def _gates(results: Mapping[str, Any], path: str) -> Section:
  """Draws the gates, if the model has some."""
  loads, entropies = sections.gate_use(results)
  if not loads:
    return sections.gates(results, None)
  plots.gates(loads, entropies, path, 'Use of the gates, test split')
  return sections.gates(results, path)

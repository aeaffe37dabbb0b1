"""The page of several runs whose outputs are averaged."""

from collections.abc import Mapping
import math
from typing import Any

from esmm_jax.metric_names import direction
from esmm_jax.metrics.significance import summarize
from esmm_jax.reporting.grid import digits, Grid, NONE, spread
from esmm_jax.reporting.page import curves, meanings, run_page, scores
from esmm_jax.reporting.page import sections
from esmm_jax.reporting.page.parts import Code, Page, Section, Table, Terms
from esmm_jax.reporting.page.parts import Text
from esmm_jax.sweeps.saved_runs import SavedRun
from esmm_jax.tasks import FUNNEL, Tasks
from esmm_jax.workdir.folder import differences, flatten

_SHOWN = ('auc', 'gauc', 'logloss', 'kl', 'mse', 'mae', 'r2')
_MEANING = (
    'Averaged are the log-odds of a click, and of a conversion given the click;'
    ' pCTCVR is the product of the two probabilities (of a longer funnel'
    ' likewise; of regressions the values are averaged).'
)
_GAIN = (
    'mean member: mean ± standard deviation of the test metrics of the members.'
    ' gain: what averaging adds to a member taken at random, the averaged less'
    ' the mean member; ↑ higher is better, ↓ lower is better. The best member'
    ' is that on these test rows, which nobody knows beforehand.'
)


def make(
    members: Mapping[str, SavedRun],
    results: Mapping[str, Any],
    stamps: Mapping[str, Any],
    predictions: str,
    folder: str,
    tasks: Tasks = FUNNEL,
    truth: scores.Truth | None = None,
) -> Page:
  """Draws the pictures and makes the page.

  Args:
    members: Name -> finished run.
    results: Metrics of the averaged outputs, `test/space/metric`.
    stamps: `run` and `members`, as the predictor tells them.
    predictions: File of the averaged predictions of the test split.
    folder: Gets the pictures.
    tasks: Those of the runs.
    truth: The true CVR of the test split's rows, if it is known.

  Raises:
    InputError: The predictions are damaged.
  """
  predicted = scores.read(predictions, truth, tasks)
  # They are of one data set, so they know the same.
  history = next(iter(members.values())).history
  page_sections = [
      Section('Mean and members', [
          Text(_MEANING),
          Table(comparison(results, members)),
          Table(_each(results, members)),
      ]),
      sections.metrics(results, tasks, history),
      curves.selection_bias(predicted, results, folder, '', ''),
      curves.calibration_curves(predicted, tasks, folder, '', ''),
      _made_by(members, stamps),
  ]  # fmt: skip
  first = next(iter(members.values())).config or {}
  subtitle = (
      f'{first["model"]["name"]}, estimator {first["estimator"]}, data'
      f' {first["dataset"]["name"]}; {", ".join(members)}'
      + (f'; history {history}' if history else '')
  )
  title = f'Mean of {len(members)} runs'
  return Page(title, subtitle, run_page.head(results), page_sections)


def comparison(
    results: Mapping[str, Any], members: Mapping[str, SavedRun]
) -> Grid:
  """Compares the metrics of the mean outputs with those of the members.

  Args:
    results: Metrics of the mean, `test/space/metric`.
    members: Name -> finished run.
  """
  rows = []
  for key, value in results.items():
    _, space, metric = key.split('/')
    if metric not in _SHOWN or value is None or math.isnan(value):
      continue
    best = direction(metric)
    values = {name: run.value(key) for name, run in members.items()}
    defined = {n: v for n, v in values.items() if not math.isnan(v)}
    summary = summarize(values.values())
    decimals = 4 if abs(value) >= 0.05 else 6
    gain = value - summary.mean
    top = (max if best == 'max' else min)(
        defined, key=defined.__getitem__, default=''
    )
    rows.append([
        space,
        meanings.of_metrics()[metric][0] + {'max': ' ↑', 'min': ' ↓'}[best],
        sections.number(value),
        spread(summary, decimals),
        NONE if math.isnan(gain) else f'{gain:+.{decimals}f}',
        f'{digits(defined[top])} ({top})' if top else NONE,
    ])
  headers = ['space', 'metric', 'averaged', 'mean member', 'gain']
  headers.append('best member')
  return Grid('Test split', headers, rows, 2, [_GAIN])


def _each(results: Mapping[str, Any], members: Mapping[str, SavedRun]) -> Grid:
  """Lists the members with the AUC of each space."""
  keys = [key for key in results if key.endswith('/auc')]
  rows = [
      [name, f'{(run.results or {}).get("selected_step", 0):,}']
      + [sections.number(run.value(key)) for key in keys]
      for name, run in members.items()
  ]
  headers = ['run', 'parameters of step']
  headers += [f'{key.split("/")[1]} AUC' for key in keys]
  return Grid('Members', headers, rows, 1, [])


def _made_by(
    members: Mapping[str, SavedRun], stamps: Mapping[str, Any]
) -> Section:
  """Shows the identity of the mean and of its members, and their configs."""
  items = [('the mean', _stamp(stamps['run']))]
  items += [(n, _stamp(s)) for n, s in stamps.get('members', {}).items()]
  configs = {name: flatten(run.config) for name, run in members.items()}
  (first, config), *others = configs.items()
  lines = [
      f'{name} and {first}: {text}'
      for name, other in others
      for text in differences(other, config)
  ]
  parts: list[Any] = [Terms(items)]
  if lines:
    parts.append(Code('\n'.join(lines), 'Keys in which the configs differ'))
  texts = [f'{key} = {value!r}' for key, value in config.items()]
  parts.append(
      Code('\n'.join(texts), f'Config of {first}, {len(texts)} keys')
  )
  return Section('How it was made', parts)


def _stamp(stamp: Mapping[str, Any]) -> str:
  identity, params = stamp['identity'], stamp['params_sha256']
  return f'run {identity or "not known"}; parameters {params or "not known"}'

"""Sections of a run's page: metrics, calibration, gates and seeds."""

from collections.abc import Mapping, Sequence
import math
import os
import re
from typing import Any

from esmm_jax import histories
from esmm_jax.entry import commands
from esmm_jax.metric_names import WEIGHTS
from esmm_jax.metrics.significance import summarize
from esmm_jax.reporting.grid import digits, Grid, NONE
from esmm_jax.reporting.page import meanings
from esmm_jax.reporting.page.parts import Missing, Picture, Section, Table
from esmm_jax.reporting.page.parts import Terms, Text
from esmm_jax.reporting.grid import spread
from esmm_jax.sweeps.saved_runs import read_run, SavedRun
from esmm_jax.tasks import Tasks
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten
from esmm_jax.workdir.identity import say_once

_SEEDS = ('seed', 'init_seed', 'dataset.raw_dir')
_GATE = re.compile(r'test/(.*gate.*)/(entropy|load_\d+)')
# Key in calibration.json -> label.
CALIBRATED = {'none': 'as trained', 'platt': 'Platt', 'isotonic': 'isotonic'}


def number(value: float | None) -> str:
  """Formats a metric; '–' if it is missing."""
  return NONE if value is None or math.isnan(value) else digits(value)


def spaces(results: Mapping[str, Any], split: str = 'test') -> list[str]:
  """Lists the spaces of a split's metrics, in the order of the results."""
  names = dict.fromkeys(
      key.split('/')[1]
      for key in results
      # A term of the loss is no space, though it may have the name of one.
      if key.startswith(f'{split}/') and key.split('/')[-1] not in WEIGHTS
  )
  return [s for s in names if not _GATE.fullmatch(f'test/{s}/entropy')]


def rates(predicted: Any) -> Section:
  """Shows the rows of the test split, and how many of them are positive.

  Args:
    predicted: `scores.Scores` of that split, or None.
  """
  if predicted is None or not predicted.rates:
    return Section('Rows', [])
  texts = [
      [space, label, f'{rows:,}', f'{positives:,}',
       f'{positives / rows:.3%}' if rows else NONE]
      for space, (label, positives, rows) in predicted.rates.items()
  ]  # fmt: skip
  headers = ['space', 'event', 'rows', 'positives', 'base rate']
  return Section('Rows', [Table(Grid('Test split', headers, texts, 2, []))])


def metrics(
    results: Mapping[str, Any], tasks: Tasks = (), history: str = ''
) -> Section:
  """Shows metrics by space, and the meaning of each space and metric.

  Args:
    results: `test/space/metric` and `valid/space/metric`.
    tasks: The run's.
    history: What its histories know, see `histories`.
  """
  parts: list[Any] = []
  shown: dict[str, None] = {}
  for split, title in (
      ('test', 'Test split'),
      ('valid', 'Validation split, at the step that was chosen'),
  ):
    rows = spaces(results, split)
    # Against labels, and against the truth: they share the AUC only.
    true = [space for space in rows if space.endswith('_entire')]
    for some in ([space for space in rows if space not in true], true):
      names = [
          name
          for name in meanings.of_metrics()
          if any(f'{split}/{space}/{name}' in results for space in some)
      ]
      if names:
        parts.append(_by_space(results, split, title, some, names))
        shown |= dict.fromkeys(names)
        title = ''
  if parts:
    if history:
      told = [f'History: {histories.meaning(history)}']
      if histories.is_live(history) and 'gauc' in shown:
        told.append(
            'GAUC compares the rows of a user that lie within one delay, of'
            ' which none knows the label of another.'
        )
      parts.insert(0, Text(' '.join(told)))
    meaning = {s: meanings.of_space(s, tasks) for s in spaces(results)}
    parts.append(Terms([item for item in meaning.items() if item[1]]))
    about = meanings.of_metrics()
    parts.append(Terms([about[name] for name in shown]))
  return Section('Metrics by space', parts)


def _by_space(
    results: Mapping[str, Any],
    split: str,
    title: str,
    rows: Sequence[str],
    names: Sequence[str],
) -> Table:
  """Shows spaces by metrics; a metric that a space lacks is left empty."""
  texts, exact = [], {}
  for i, space in enumerate(rows):
    keys = [f'{split}/{space}/{name}' for name in names]
    texts.append(
        [space, *(number(results[k]) if k in results else '' for k in keys)]
    )
    for j, key in enumerate(keys, 1):
      if results.get(key) is not None:
        exact[i, j] = repr(results[key])
  about = meanings.of_metrics()
  headers = ['space', *(about[name][0] for name in names)]
  return Table(Grid(title, headers, texts, 1, []), exact=exact)


def gate_use(
    results: Mapping[str, Any],
) -> tuple[dict[str, list[float]], dict[str, float]]:
  """Collects mean weights and entropy of each gate on the test split."""
  loads: dict[str, list[float]] = {}
  entropies: dict[str, float] = {}
  for key, value in results.items():
    if match := _GATE.fullmatch(key):
      gate, name = match.groups()
      if name == 'entropy':
        entropies[gate] = value
      else:
        loads.setdefault(gate, []).append(value)
  return loads, entropies


def gates(results: Mapping[str, Any], picture: str | None) -> Section:
  """Shows the use of the gates; the section is empty if there are none."""
  loads, entropies = gate_use(results)
  if not loads or picture is None:
    return Section('Gates', [])
  most = max(map(len, loads.values()))
  rows = [
      [gate, number(entropies.get(gate))]
      + [number(load[e]) if e < len(load) else '' for e in range(most)]
      for gate, load in loads.items()
  ]
  headers = ['gate', 'entropy, nats', *(f'expert {e}' for e in range(most))]
  return Section(
      'Gates',
      [
          Text(
              'A gate mixes experts with weights that sum to 1 for each'
              ' impression. Shown is their mean over the test split. Entropy is'
              ' that of the weights of one impression, in the mean; it is'
              ' highest, ln(experts), where a gate mixes evenly, and 0 where it'
              ' takes one expert. Experts are numbered as each gate sees them:'
              " in PLE a task's own come first, then the shared ones."
          ),
          Picture(
              picture,
              'Mean weight of each expert by gate, and the mean entropy as a'
              ' share of the largest possible.',
          ),
          Table(Grid('', headers, rows, 1, [])),
      ],
  )


def calibrated(
    calibration: Mapping[str, Any] | None,
    picture: str | None,
    workdir: str,
) -> Section:
  """Shows the metrics before and after calibration, on the test split."""
  if calibration is None:
    return Section(
        'Calibration after training',
        [
            Missing(
                'This run has no calibration.json: no Platt scaling or isotonic'
                ' regression was fitted on its validation split.',
                f'{commands.command("calibrate")} --workdir={workdir}',
            )
        ],
    )
  rows, names = [], {}
  for maps in calibration.get('test', {}).values():
    for scores in maps.values():
      names |= dict.fromkeys(scores)
  names = [m for m in ('logloss', 'calibration', 'ece', 'auc') if m in names]
  for task, maps in calibration.get('test', {}).items():
    for name, scores in maps.items():
      values = [number(scores.get(metric)) for metric in names]
      rows.append([task, CALIBRATED.get(name, name), *values])
  counts = calibration.get('rows', {})
  fitted = ', '.join(f'{task} {n:,}' for task, n in counts.items())
  about = meanings.of_metrics()
  headers = ['space', 'probabilities', *(about[m][0] for m in names)]
  split = calibration.get('fitted_on', 'valid')
  parts = [
      Text(
          f'Fitted on the {split} split ({fitted or "rows not said"}), scored'
          ' on the test split. Both maps keep the order of their space, so its'
          ' AUC changes by ties only. A space with _product is the calibrated'
          ' pCTR times the calibrated pCVR.'
      ),
      Table(Grid('', headers, rows, 2, [])),
  ]
  if picture:
    parts.append(
        Picture(
            picture, 'Calibration curves before and after, test split.', True
        )
    )
  return Section('Calibration after training', parts)


def other_seeds(workdir: str, run: SavedRun) -> Section:
  """Averages over finished sibling runs that differ only in the seed."""
  title = 'Other seeds'
  folder = os.path.dirname(os.path.abspath(workdir))
  config = _without_seeds(run.config or {})
  name = os.path.basename(os.path.abspath(workdir))
  runs = {seed_of(run): run}
  for other in sorted(os.listdir(folder)):
    path = os.path.join(folder, other)
    if other == name or not os.path.exists(os.path.join(path, 'results.json')):
      continue
    try:
      sibling = read_run(path, with_origin=False)
    except InputError as e:  # It is missing here, as in a results table.
      say_once(f'{e} It is left out of the other seeds of {name}.')
      continue
    same_data = run.data == sibling.data or not (run.data and sibling.data)
    if same_data and _without_seeds(sibling.config) == config:
      # A copy of a run is no other seed.
      runs.setdefault(seed_of(sibling), sibling)
  if len(runs) < 2 or run.results is None:
    return Section(title, [])
  rows = []
  for key in run.results:
    split, _, rest = key.partition('/')
    space, _, metric = rest.partition('/')
    if split != 'test' or metric not in ('auc', 'logloss', 'calibration', 'kl'):
      continue
    summary = summarize(r.value(key) for r in runs.values())
    rows.append([
        space, meanings.of_metrics()[metric][0], number(run.value(key)),
        spread(summary, 4 if abs(summary.mean) >= 0.05 else 6), str(summary.n),
    ])  # fmt: skip
  seeds = ', '.join(sorted(map(str, runs)))
  text = (
      f'The {len(runs)} finished runs in the same folder whose configs differ'
      f' in their seeds only ({seeds}): mean ± standard deviation.'
  )
  headers = ['space', 'metric', 'this run', 'mean ± std', 'n']
  return Section(title, [Text(text), Table(Grid('', headers, rows, 2, []))])


def _without_seeds(config: Any) -> dict[str, Any]:
  flat = flatten(config) if isinstance(config, dict) else {}
  return {
      k: v
      for k, v in flat.items()
      # A refit of another seed is of another run.
      if k not in _SEEDS and not k.startswith('refit_')
  }


def seed_of(run: SavedRun) -> Any:
  """Returns the seed, with that of the initialisation if it differs."""
  config = run.config or {}
  init_seed = config.get('init_seed')
  seed = config.get('seed')
  return seed if init_seed is None else f'{seed} (initialisation {init_seed})'

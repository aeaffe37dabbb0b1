"""Checks the runs and columns of a sweep before the first run is trained."""

from collections.abc import Collection, Iterable, Mapping
import json
import os
import re
from typing import Any

from esmm_jax.types import InputError, suggest
from esmm_jax.experiments.sweeping.plans import Plan

# Of results.json beside metrics: `training.phases.write_results`.
FACTS = (
    'examples_per_second',
    'flops_per_example',
    'num_network_params',
    'num_params',
    'replicas',
    'seed',
    'selected_step',
    'skipped_steps',
    'steps',
    'traces',
    'train_seconds',
)
# Loads and entropies of gates, whose names are the models' own.
_GATE = re.compile(r'(valid|test)/\w*gate\w*/(entropy|load_\d+)')


def check(
    plan: Plan, workdir: str, data_dir: str | None
) -> dict[str, InputError]:
  """Compares the settings of all runs, and the columns, with the data.

  Args:
    plan: The runs of the sweep.
    workdir: Its folder; finished runs there are not checked again.
    data_dir: Folder of prepared data; None: the default one.

  Returns:
    Run -> why it cannot begin.

  Raises:
    InputError: No run can have one of the table's columns.
  """
  from esmm_jax import no_effect, ownership
  from esmm_jax.sweeps.saved_runs import find_run, run_folder
  from esmm_jax.workdir import folder

  builders: dict[str, Any] = {}
  refused: dict[str, InputError] = {}
  keys: set[str] = set()
  flat = {
      name: folder.flatten(folder.record(config))
      for name, config in plan.configs.items()
  }
  read = no_effect.anywhere(flat.values())
  for name, config in plan.configs.items():
    try:
      ownership.check(run_folder(workdir, name), ownership.RUN, '')
      saved = find_run(workdir, name)
      if saved.results is not None:
        keys |= set(saved.results)
        continue
      if saved.config is None:  # A run that has begun is not asked again.
        no_effect.check(flat[name], elsewhere=read)
      _check_named_runs(name, flat[name], plan.configs, workdir)
      keys |= run_keys(config, data_dir, builders)
    except InputError as e:
      if name in plan.names:
        refused[name] = e
  # Where nothing could be read of any run, the runs say why.
  if keys:
    check_columns(plan.table, keys)
  return refused


def check_data(plan: Plan, workdir: str, data_dir: str | None) -> None:
  """Refuses a folder whose finished runs were trained on other data than today.

  Runs that are not finished would be averaged with them.

  Args:
    plan: The runs, all of one data set.
    workdir: Their folder.
    data_dir: Folder of prepared data; None: the default one.

  Raises:
    InputError: The log has changed since.
  """
  from esmm_jax.sweeps.saved_runs import find_run
  from esmm_jax.training import parts
  from esmm_jax.workdir import manifest, provenance

  saved = [find_run(workdir, name) for name in plan.names]
  before = {r.data: r.name for r in saved if r.results is not None and r.data}
  if not before:
    return
  section = next(iter(plan.configs.values())).dataset
  now = manifest.data_hash(provenance.data(parts.dataset(section, data_dir)))
  for data, name in before.items():
    if data != now:
      raise InputError(
          f'--workdir={workdir}: {name} was trained on other data (sha256'
          f' {data}) than there is today ({now}), and is finished. Name another'
          ' folder for the log of today.'
      )


def _check_named_runs(
    name: str, flat: Mapping[str, Any], runs: Iterable[str], workdir: str
) -> None:
  """Refuses a frozen or replayed run that is not finished.

  Those that the sweep trains need not be.

  Args:
    name: The run that names it.
    flat: Its flat config.
    runs: All runs of the sweep.
    workdir: Folder of the sweep.
  """
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.training.frozen.run import FrozenRun, KEY
  from esmm_jax.warm_start.base import resolved

  folder = run_folder(workdir, name)
  others = [run_folder(workdir, other) for other in runs if other != name]
  trained = lambda named: resolved(named, folder) in map(
      os.path.normpath, others
  )
  if (named := flat.get(KEY)) and not trained(named):
    FrozenRun.open(named, folder)
  if (named := flat.get('balancing.of')) and not trained(named):
    from esmm_jax.training.balanced.replayed import Replayed

    Replayed.open(named, folder)


def run_keys(
    config: Any, data_dir: str | None, builders: dict[str, Any]
) -> set[str]:
  """Checks a config and lists the keys that its results.json will have.

  Args:
    config: A ConfigDict.
    data_dir: Folder of prepared data; None: the default one.
    builders: Data sets by their section; gets that of this config.

  Raises:
    InputError: The run cannot begin.
  """
  from esmm_jax.balancing import over_run
  from esmm_jax.metric_names import PARTS
  from esmm_jax.metrics.by_space import metric_keys
  from esmm_jax.metrics import METRICS
  from esmm_jax.metrics.weights import RowWeights
  from esmm_jax.protocols.use import named
  from esmm_jax.tasks import spaces
  from esmm_jax.training import parts
  from esmm_jax.training.program import check_before_preparing
  from esmm_jax.training.settings import Settings

  settings = Settings.read(config)
  section = config.dataset.to_dict()
  own = {k: v for k, v in section.items() if not k.endswith('_split')}
  key = json.dumps(own, sort_keys=True, default=str)
  if key not in builders:
    builders[key] = parts.compared(parts.data_builder(section, data_dir))
  builder, dataset = builders[key], settings.dataset
  check_before_preparing([settings], builder)
  schema = parts.schema(builder, dataset.fields, dataset.tasks)
  # Columns against the truth may stand in a table of other data, too: they are
  # left out there.
  truth = [f'p_{s.output}' for s in spaces(schema.tasks)]
  estimator = parts.estimator(settings.objective, schema.tasks)
  weights = RowWeights.of(estimator)
  computed = metric_keys(schema.tasks, bool(schema.group), truth, weights)
  splits = parts.eval_splits(dataset, builder)
  keys = {f'{split}/{k}' for split in splits for k in computed} | set(FACTS)
  terms = ('loss', 'batch_hash', 'skipped', *estimator.weights)
  keys |= {f'train/{term}' for term in terms}
  if balancer := parts.balancer([settings], estimator):
    whole = over_run.keys(balancer.terms, PARTS)
    keys |= {*whole, *(f'train/{key}' for key in whole)}
  if settings.training.common_ctr:
    keys |= {f'test/ctcvr_common/{name}' for name in METRICS.in_use()}
  if protocol := named(settings.training.protocol):
    keys |= {f'test/{extra.key}' for extra in protocol.extra}
    keys |= {f'protocol/{measure.label}' for measure in protocol.metrics}
  return keys


def check_columns(table: Any, keys: Collection[str]) -> None:
  """Refuses a column that none of the runs can fill.

  Args:
    table: The results table.
    keys: Those of results.json that runs of the table have or will have.

  Raises:
    InputError: There is no such key; names a similar one and all.
  """
  metrics = [c.metric for c in (*table.columns, *table.extra_columns)]
  metrics += [table.choice.metric] if table.choice else []
  for metric in metrics:
    if metric not in keys and not _GATE.fullmatch(metric):
      raise InputError(
          f'Table {table.title!r}: no run will have {metric!r}.'
          f' {suggest(metric, keys)}'
      )

"""A config -> what its seesaw laboratory compares, for `experiments.seesaw`."""

from collections.abc import Mapping
import contextlib
from typing import Any

from esmm_jax.entry import shipped
from esmm_jax.sweeps import seesaw, seesaw_flags
from esmm_jax.sweeps.points import Point
from esmm_jax.types import InputError

from esmm_jax.experiments import load

# Keys that the laboratory sets itself -> what to set instead; '' where there is
# nothing.
_SET_HERE = {
    'seed': '--seeds',
    'init_seed': '--seeds',
    'evals_per_epoch': '--evals',
    'balancing.name': '--methods',
    'balancing.of': '--methods',
    'init_from': '',
    'refit_of': '',
    'common_ctr': '',
}
_AUC = '/auc'
# Data set -> variant of a config file that has its keys.
_VARIANTS = {
    'synthetic_funnel': '',
    'kuairand': 'kuairand',
    'ali_ccp': 'ali_ccp',
    'tabular': 'tabular',
}
# What is of the networks' own, or of the objective. The single-task models have
# the widths of the path of a task.
_OWN = (
    *('estimator', 'estimator_options', 'loss_weights', 'sampling'),
    *('balancing', 'model', 'run'),
)
_COMMON = (
    *('embed_dim', 'activation', 'dropout', 'norm', 'initializer', 'dtype'),
    *('cross_layers', 'cross_rank', 'interaction'),
)


def check_keys(keys: Mapping[str, Any]) -> None:
  """Refuses keys that the laboratory sets, or that not all arms can have.

  Args:
    keys: Flat keys that a person has set.

  Raises:
    InputError: Names the flag to set instead.
  """
  for key in keys:
    if key in _SET_HERE:
      instead = _SET_HERE[key]
      hint = f'; set {instead}' if instead else ', which not all arms can have'
      why = 'is set by the laboratory' if instead else 'names another run'
      raise InputError(f'--config.{key} {why}{hint}.')


def design(
    config: Any,
    spec: str,
    keys: Mapping[str, Any],
    options: Mapping[str, Any],
    data_dir: str | None,
) -> seesaw.Design:
  """Makes the design of a laboratory.

  Args:
    config: A ConfigDict, with the keys set.
    spec: Its file and variant.
    keys: Flat keys that a person has set.
    options: `tasks`, `scores`, `ratios`, `methods`, `single`, `seeds` and
      `evals`, as their flags have them.
    data_dir: Folder of prepared data; None: the default one.

  Raises:
    InputError: The config cannot be, or its tasks make no seesaw.
  """
  from esmm_jax.training import objective, parts
  from esmm_jax.training.program import check_before_preparing
  from esmm_jax.training.settings import Settings

  settings = Settings.read(config)
  section = config.dataset.to_dict()
  builder = parts.data_builder(section, data_dir)
  check_before_preparing([settings], builder)
  schema = parts.schema(
      builder, settings.dataset.fields, settings.dataset.tasks
  )
  estimator = parts.estimator(settings.objective, schema.tasks)
  weights = objective.weights(settings, estimator)
  terms = seesaw_flags.pair(weights, schema.tasks, options['tasks'])
  keys_of_metrics = parts.metric_keys(settings.objective, schema)
  every = [k[: -len(_AUC)] for k in keys_of_metrics if k.endswith(_AUC)]
  scores = seesaw_flags.score_spaces(
      terms, schema.tasks, every, options['scores']
  )
  epochs = settings.training.num_epochs
  evals = max(
      settings.training.evals_per_epoch, -(-options['evals'] // epochs)
  )
  base = {'config': spec, **_of_run(keys), 'evals_per_epoch': evals}
  names = method_names()
  return seesaw.Design(
      base,
      single(config, spec.partition(':')[2], options['single'])
      | {'evals_per_epoch': evals},
      terms,
      (weights[terms[0]], weights[terms[1]]),
      scores,
      tuple(s for s in every if s not in scores),
      seesaw_flags.ratios(options['ratios']),
      options['seeds'],
      seesaw_flags.arms(options['methods'], names),
  )


def method_names() -> list[str]:
  """Lists the methods whose weights can be replayed."""
  from esmm_jax.balancing import BALANCERS

  return [n for n in BALANCERS if n not in ('static', 'replay')]


def single(config: Any, variant: str = '', spec: str = '') -> Point:
  """Makes the point of the single-task models for the data of a config.

  A network for each task and nothing shared, conversions trained on clicked
  rows; all else is as in the config. Each network is as wide as the path of a
  task there: shared layers or experts, then the tower.

  Args:
    config: A ConfigDict.
    variant: Of its file; that of the single-task models too, if it has one of
      that name for the same data set.
    spec: File and variant of the config of a single-task model; '': that of
      `configs` for the same data set.

  Raises:
    InputError: The data set is of a plugin, and there is no `spec`.
  """
  from esmm_jax.workdir.folder import flatten

  name = config.dataset.name
  if not spec and name not in _VARIANTS:
    raise InputError(
        f'dataset.name={name!r}: no single-task config of that data set is'
        ' known; give --single=FILE:variant.'
    )
  spec = spec or _single_spec(name, variant)
  then, now = (flatten(t.to_dict()) for t in (_config(spec), config))
  point: Point = {'config': spec}
  for key, value in now.items():
    section, _, rest = key.partition('.')
    if section in _OWN and not (section == 'model' and rest in _COMMON):
      continue
    if key in then and value != then[key] and not _is_machine(key):
      point[key] = value
  point['model.tower_units'] = _path(config.model)
  return {k: v for k, v in point.items() if k not in _SET_HERE}


def _config(spec: str) -> Any:
  """Loads the config that --single names."""
  try:
    return load.config(spec)
  except InputError as e:
    raise InputError(str(e).replace('--config=', '--single=', 1)) from e


def _single_spec(dataset: str, variant: str) -> str:
  """Returns the single-task config of a data set, of a variant if it can."""
  file = _config_file('single_task')
  with contextlib.suppress(InputError):
    if load.config(f'{file}:{variant}').dataset.name == dataset:
      return f'{file}:{variant}'
  variant = _VARIANTS[dataset]
  return f'{file}:{variant}' if variant else file


def _path(model: Mapping[str, Any]) -> tuple[int, ...]:
  """Returns the widths that lie between the embedding and a task's output."""
  before = model.get('shared_units') or model.get('expert_units') or ()
  levels = model.get('levels') or 1
  return (*tuple(before) * levels, *(model.get('tower_units') or ()))


def _config_file(name: str) -> str:
  """Returns a file of `configs`, as every machine finds it."""
  return shipped.portable(name)


def _of_run(keys: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the keys that are part of a run: not those of the machine."""
  return {k: v for k, v in keys.items() if not _is_machine(k)}


def _is_machine(key: str) -> bool:
  from esmm_jax.workdir.identity import RAW_DATA_KEYS

  return key.startswith('run.') or key in RAW_DATA_KEYS


def machine_keys(config: Any) -> dict[str, Any]:
  """Returns the flat keys of a config that are of the machine."""
  from esmm_jax.workdir.folder import flatten

  flat = flatten(config.to_dict())
  return {k: v for k, v in flat.items() if _is_machine(k) and v is not None}

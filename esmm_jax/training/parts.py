"""The parts of a run by the names that its config gives them."""

from collections.abc import Callable, Mapping, Sequence
import copy
import dataclasses
import inspect
import os
from typing import Any

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.balancing.binding import Balancer
from esmm_jax.data import DATASETS
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular import frame_files
from esmm_jax.estimators import ESTIMATORS, sampling
from esmm_jax.estimators.contract import bind, Bound, clashes
from esmm_jax.metrics import by_space
from esmm_jax.metrics.weights import RowWeights
from esmm_jax.models import Architecture, MODELS
from esmm_jax.options import refuse_unknown
from esmm_jax.parallel import processes
from esmm_jax.plugins.loading import in_use
from esmm_jax.pretrained import aligned, options as vectors
from esmm_jax.schema import Schema
from esmm_jax.storage import cache
from esmm_jax.tasks import Head, Tasks
from esmm_jax.training import objective
from esmm_jax.training.settings import ObjectiveOptions, Settings
from esmm_jax.types import InputError, suggest

DEFAULT_DATA_DIR = os.path.join('~', '.cache', 'esmm_jax')
# Keys of the section `dataset` that choose from the data set, in every config.
_CHOICES = ('train_split', 'valid_split', 'test_split', 'fields', 'tasks')
_LINEN_FIELDS = ('parent', 'name', 'schema', 'heads')


def named(registry: Mapping[str, Any], name: str, what: str) -> Any:
  """Looks a name up; `what` is its config key.

  Raises:
    InputError: The name is unknown, or that of a plugin which the config does
      not name; names the nearest.
  """
  if name in registry:
    return in_use(registry, name, what)
  raise InputError(
      f'{what} is {name!r}, which is not known. {suggest(name, registry)} To'
      ' use your own, name its module in the key plugins.'
  )


def call(function: Any, options: Mapping[str, Any], what: str, **more) -> Any:
  """Calls a function with the options that are set.

  An option of None keeps the function's own default.

  Raises:
    InputError: The function does not take an option.
  """
  parameters = inspect.signature(function).parameters
  chosen = {k: v for k, v in options.items() if v is not None}
  takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
  choices = {*parameters, *(chosen if takes_any else ())} - more.keys()
  owner = function.__qualname__.split('.')[0]
  refuse_unknown(chosen, sorted(choices), what, owner)
  return function(**chosen, **more)


def dataset(
    options: Mapping[str, Any],
    data_dir: str | None,
    check: Callable[[ColumnarBuilder], None] = lambda builder: None,
) -> ColumnarBuilder:
  """Prepares the data set of the section `dataset`, unless it is prepared.

  Args:
    options: The section.
    data_dir: Where prepared data lives; None takes the default.
    check: Gets the data set before it is prepared, which may take long.
  """
  with processes.first_alone('data'):
    builder = compared(data_builder(options, data_dir))
    check(builder)
    return builder if builder.info.splits else builder.prepare()


def compared(builder: ColumnarBuilder) -> ColumnarBuilder:
  """Compares a data set that is prepared with its checksums; returns it.

  Raises:
    InputError: A file of it is damaged, so nothing of it may be read.
  """
  return builder.prepare() if builder.info.splits else builder


def data_builder(
    options: Mapping[str, Any], data_dir: str | None
) -> ColumnarBuilder:
  """Makes the data set of the section `dataset`, without preparing it."""
  options = {k: v for k, v in options.items() if k not in _CHOICES}
  cls = named(DATASETS, options.pop('name'), 'dataset.name')
  data_dir = cache.here(data_dir or DEFAULT_DATA_DIR)
  return call(cls.from_options, options, 'dataset', data_dir=data_dir)


def with_log(
    configs: Sequence[Any], log: Any, data_dir: str | None
) -> list[Any]:
  """Returns copies of configs whose data set is a log in memory.

  Args:
    configs: As `configs/*.py` make them for `tabular`, with one section
      `dataset`.
    log: See `Tabular.from_frame`.
    data_dir: Where prepared data lives, and the file of the log.

  Raises:
    InputError: One is a config of another data set, or see there.
  """
  configs = [copy.deepcopy(config) for config in configs]
  for config in configs:
    if config.dataset.name != 'tabular':
      raise InputError(
          f'a log in memory is of dataset.name=tabular, not'
          f' {config.dataset.name!r}; make the config with'
          " get_config('tabular')."
      )
  data_dir = cache.here(data_dir or DEFAULT_DATA_DIR)
  options = {
      key: value
      for key, value in configs[0].dataset.items()
      if key not in (*_CHOICES, 'name') and value is not None
  }
  # Once: a stream can be read no second time.
  options = frame_files.saved(log, data_dir, options)
  for config in configs:
    config.dataset.update(options)
  return configs


def schema(
    builder: ColumnarBuilder, fields: Sequence[str], tasks: Sequence[str]
) -> Schema:
  """Selects fields and tasks of the data's schema; () keeps all."""
  chosen = builder.schema
  chosen = chosen.select(fields) if fields else chosen
  return chosen.with_tasks(tasks) if tasks else chosen


def eval_splits(dataset: Any, builder: ColumnarBuilder) -> dict[str, str]:
  """Returns `valid` and `test` -> the split, of those that there are.

  Data without a validation split has none under its default name; any other
  name is one that must exist.

  Args:
    dataset: The settings of the section `dataset`, with `valid_split` and
      `test_split`.
    builder: The data set, prepared or not.
  """
  splits = {'valid': dataset.valid_split, 'test': dataset.test_split}
  if dataset.valid_split == 'valid' and 'valid' not in builder.split_names:
    splits.pop('valid')
  return {name: split for name, split in splits.items() if split}


def check_splits(
    splits: Mapping[str, str], builder: ColumnarBuilder
) -> None:
  """Refuses splits that the data set does not have.

  Args:
    splits: `train`, `valid`, `test` -> `train[:10%]`, say.
    builder: The data set, prepared or not.

  Raises:
    InputError: There is no such split.
  """
  for key, split in splits.items():
    for part in split.split('+'):
      name = part.partition('[')[0].strip()
      if name not in (*builder.split_names, 'all'):
        raise InputError(
            f'dataset.{key}_split is {split!r}: {builder.name} has no split'
            f' {name!r}; there are {sorted(builder.split_names)}, and parts of'
            ' them like "train[:10%]".'
        )


def model(
    options: Mapping[str, Any],
    name: str,
    schema: Schema,
    heads: Sequence[Head] = (),
) -> Architecture:
  """Makes the Linen module.

  Args:
    options: Its own options.
    name: One of `MODELS`.
    schema: The fields that it reads, and the tasks.
    heads: Outputs that the estimator needs beside the tasks.

  Raises:
    InputError: The name or an option is unknown, or a head is like no task or
      has the name of one.
  """
  cls = named(MODELS, name, 'model.name')
  options = vectors.others(options)
  choices = [
      f.name for f in dataclasses.fields(cls) if f.name not in _LINEN_FIELDS
  ]
  refuse_unknown(options, choices, 'model', cls.__name__)
  tasks = [t.name for t in schema.tasks]
  for head in heads:
    if head.like not in tasks or head.name in tasks:
      raise InputError(
          f'the estimator needs an output {head.name!r} like that of the task'
          f' {head.like!r}; the tasks are {tasks}.'
      )
  return cls(schema=schema, heads=tuple(heads), **options)


def estimator(objective: ObjectiveOptions, tasks: Tasks) -> Bound:
  """Binds the options of an objective, and the tasks, to its estimator.

  Raises:
    InputError: There is no such estimator, or see `bind`.
  """
  name = objective.estimator
  chosen = named(ESTIMATORS, name, 'estimator')
  return bind(name, chosen, objective.options, tasks)


def balancer(settings: Sequence[Settings], chosen: Bound) -> Balancer | None:
  """Binds the method of balancing to the terms of the estimator.

  Args:
    settings: One for each replica.
    chosen: Their estimator.

  Raises:
    InputError: There is no such method, or see `binding.bind`.
  """
  section = settings[0].balancing
  method = named(BALANCERS, section.name, 'balancing.name')
  weights = [objective.weights(s, chosen) for s in settings]
  terms = [k for k in chosen.weights if any(w[k] for w in weights)]
  return binding.bind(section, method, terms)


def metric_keys(objective: ObjectiveOptions, schema: Schema) -> list[str]:
  """Lists the metrics that a run has of a split: see `by_space`."""
  weights = RowWeights.of(estimator(objective, schema.tasks))
  groups = bool(schema.group)
  return by_space.metric_keys(schema.tasks, groups, schema.truth, weights)


def check_tasks(
    settings: Sequence[Settings], builder: ColumnarBuilder
) -> None:
  """Refuses what the tasks of the data rule out, before it is prepared.

  Raises:
    InputError: An objective or a model cannot have these tasks.
  """
  common, described = settings[0], builder.schema
  if common.dataset.tasks:
    described = described.with_tasks(common.dataset.tasks)
  name = common.objective.estimator
  for s in settings:
    chosen = estimator(s.objective, described.tasks)
    objective.weights(s, chosen)
    if s.objective.sampling != sampling.NONE:
      objective.check_sampled(name, chosen, described.tasks)
    if s.training.common_ctr and not {'click', 'conversion'} <= set(
        described.labels
    ):
      raise InputError(
          'common_ctr needs a click and a conversion, but the labels are'
          f' {list(described.labels)}; leave it empty.'
      )
  # A weight is a label of the batches, and so is what a step draws.
  sampled = any(s.objective.sampling != sampling.NONE for s in settings)
  drawn = sampling.COLUMNS if sampled or chosen.needs_uniform else ()
  labels = [*described.labels, described.weight]
  clashes.check_columns(name, chosen.needs, labels, described.truth, drawn)
  balancer(settings, chosen)
  fields = schema(builder, common.dataset.fields, ())
  aligned.check(common.model.options, fields, builder)
  model(
      common.model.options,
      common.model.name,
      described,
      chosen.needs.heads,
  )

"""From names and options, as a config has them, to the parts of a run."""

from collections.abc import Mapping, Sequence
import dataclasses
import functools
import inspect
import math
import os
from typing import Any, NamedTuple

from esmm_jax.balancing import static as balancing
from esmm_jax.data import DATASETS
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.estimators import Estimator, ESTIMATORS, funnel
from esmm_jax.estimators import sampling
from esmm_jax.models import Architecture, MODELS
from esmm_jax.optim import network as optim
from esmm_jax.optim import tables as table_optim
from esmm_jax.parallel import processes
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.tasks import Tasks
from esmm_jax.training import feeding, memory, non_finite
from esmm_jax.training import ranges
from esmm_jax.training.state import Hyper, MICRO_BATCH, Plan
from esmm_jax.types import InputError, suggest
import jax
import jax.numpy as jnp
import optax

DEFAULT_DATA_DIR = os.path.join('~', '.cache', 'esmm_jax')
_LINEN_FIELDS = ('parent', 'name', 'schema')


def named(registry: Mapping[str, Any], name: str, what: str) -> Any:
  """registry[name], or an error that suggests a near name."""
  if name in registry:
    return registry[name]
  raise InputError(
      f'{what} is {name!r}, which is not known. {suggest(name, registry)}'
  )


def refuse_unknown(
    options: Mapping[str, Any], known: Sequence[str], what: str, owner: str
) -> None:
  """Refuses options that `owner`, a config's section `what`, does not have."""
  for key in options:
    if key not in known:
      raise InputError(
          f'{what}.{key} is set, but {owner} has no such option.'
          f' {suggest(key, known)}'
      )


def call(function: Any, options: Mapping[str, Any], what: str, **more) -> Any:
  """Calls with the options that are set, and refuses those it does not take.

  An option of None keeps the function's own default.
  """
  parameters = inspect.signature(function).parameters
  given = {k: v for k, v in options.items() if v is not None}
  if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    known = [p for p in parameters if p not in more]
    owner = function.__qualname__.split('.')[0]
    refuse_unknown(given, known, what, owner)
  return function(**given, **more)


def dataset(
    options: Mapping[str, Any], data_dir: str | None
) -> ColumnarBuilder:
  """The prepared data set of a config's `dataset` section."""
  with processes.first_alone('data'):
    return data_builder(options, data_dir).prepare()


def data_builder(
    options: Mapping[str, Any], data_dir: str | None
) -> ColumnarBuilder:
  """The same, prepared only if it was before."""
  options = dict(options)
  for key in ('train_split', 'valid_split', 'test_split', 'fields', 'tasks'):
    options.pop(key, None)
  cls = named(DATASETS, options.pop('name'), 'dataset.name')
  data_dir = os.path.expanduser(data_dir or DEFAULT_DATA_DIR)
  return call(cls.from_options, options, 'dataset', data_dir=data_dir)


def schema(
    builder: ColumnarBuilder, fields: Sequence[str], tasks: Sequence[str]
) -> Schema:
  """The schema of the data, with the fields and tasks named; none: all."""
  chosen = builder.schema
  chosen = chosen.select(fields) if fields else chosen
  return chosen.with_tasks(tasks) if tasks else chosen


def model(options: Mapping[str, Any], schema: Schema) -> Architecture:
  """The Linen module of a config's `model` section; embed_dim is not its."""
  options = dict(options)
  options.pop('embed_dim', None)
  cls = named(MODELS, options.pop('name'), 'model.name')
  known = [
      f.name for f in dataclasses.fields(cls) if f.name not in _LINEN_FIELDS
  ]
  refuse_unknown(options, known, 'model', cls.__name__)
  return cls(schema=schema, **options)


def estimator(
    name: str, options: Mapping[str, Any], tasks: Tasks
) -> tuple[Estimator, dict[str, float]]:
  """The estimator with its options and the tasks bound.

  Returns:
    The estimator, and the options that it takes as arrays: name -> value.
  """
  found = named(ESTIMATORS, name, 'estimator')
  given = {k: v for k, v in options.items() if v is not None}
  parameters = inspect.signature(found.terms).parameters
  known = [p for p in list(parameters)[3:] if p != 'tasks']
  refuse_unknown(given, known, 'estimator_options', name)
  traced = {
      k: float(given.pop(k, parameters[k].default)) for k in found.traced
  }
  for option, value in traced.items():
    if not 0 < value < math.inf:
      raise InputError(f'estimator_options.{option} is {value}, not > 0.')
  terms = functools.partial(found.terms, tasks=tasks, **given)
  return found._replace(terms=terms), traced


class Program(NamedTuple):
  """A run's parts, built from its config.

  Attributes:
    builder: The prepared data set.
    schema: The fields that the model reads.
    estimator: The objective.
    hyper: What differs between the replicas.
    layout: Devices.
    batches: The training batches.
    total_steps: Steps of the whole run.
    plan: What a step does.
    resident: Whether the training set is kept in device memory.
  """

  builder: ColumnarBuilder
  schema: Schema
  estimator: Estimator
  hyper: Hyper
  layout: Layout
  batches: Batches
  total_steps: int
  plan: Plan
  resident: bool


def program(configs: Sequence[Any], data_dir: str | None) -> Program:
  """Builds what configs name.

  Args:
    configs: One for each replica; they may differ in what `Hyper` holds only
      (`replicas.replica_groups` says which keys those are).
    data_dir: Where prepared data lives; None: the default.

  Raises:
    InputError: A name, an option or a combination is not possible.
  """
  config = configs[0]
  for c in configs:
    ranges.check(c)
  sampled = any(is_sampled(c) for c in configs)
  # Before the data, which may take long to prepare.
  named(ESTIMATORS, config.estimator, 'estimator')
  named(MODELS, config.model.name, 'model.name')
  net_tx = optim.optimizer(config.optimizer)
  table_optim.table_optimizer(config, 1)  # Its names are known.
  dense = config.table_update == 'dense'
  if dense and config.embedding_l2:
    raise InputError(
        'embedding_l2 is on the rows that a batch touches; it needs'
        " table_update='lazy'."
    )
  if config.weight_decay:
    net_tx = optax.chain(
        net_tx, optax.add_decayed_weights(config.weight_decay, optim.is_kernel)
    )
  layout = Layout(config.mesh)
  layout.check_replicas(len(configs))
  feeding.check_choice(config.device_resident, layout)
  if dense and layout.num_rows > 1:
    raise InputError(
        f'mesh.rows is {layout.num_rows}; that divides tables of which a batch'
        " touches some rows; it needs table_update='lazy'."
    )
  layout.check_batch_size(config.batch_size, 'batch_size')
  layout.check_batch_size(config.eval_batch_size, 'eval_batch_size')
  data = dataset(config.dataset, data_dir)
  fields = schema(data, config.dataset.fields, config.dataset.tasks)
  objective, _ = estimator(
      config.estimator, config.estimator_options, fields.tasks
  )
  if sampled:
    _check_sampled(config.estimator, objective, fields.tasks)
  module = model(config.model, fields)
  split = config.dataset.train_split
  row_tx = table_optim.table_optimizer(config, module.num_tables)
  batches = Batches(
      data.as_data_source(split),
      fields,
      config.batch_size,
      seed=config.seed,
      group_run=config.group_run,
      compacted=not dense,
      truth=data.truth_source(split),
      truth_labels=objective.truth_labels,
  )
  memory.check(
      config,
      fields.num_rows,
      module.num_tables,
      len(configs),
      batches.capacity,
  )
  total_steps = config.num_epochs * batches.steps_per_epoch
  plan = Plan(
      model=module,
      terms=objective.terms,
      row_tx=row_tx,
      net_tx=net_tx,
      outputs=functools.partial(
          funnel.outputs, tasks=fields.tasks, reading=objective.reading
      ),
      schedule=optim.schedule(config.schedule, total_steps),
      embedding_l2=config.embedding_l2,
      tower_l2=config.tower_l2,
      clip_norm=config.clip_norm,
      micro_batches=_micro_batches(config, layout, module),
      dense=dense,
      draws=sampled or objective.draws,
      sampled=sampled,
      one_by_one=jax.default_backend() == 'cpu' and layout.num_replicas == 1,
      skip_ceiling=non_finite.skip_ceiling(config),
  )
  hyper = _hyper(configs, objective, fields.tasks, sampled)
  resident = feeding.is_resident(config.device_resident, batches, layout)
  return Program(
      data,
      fields,
      objective,
      hyper,
      layout,
      batches,
      total_steps,
      plan,
      resident,
  )


def is_sampled(config: Any) -> bool:
  """Whether a config's `sampling` section changes anything."""
  return sampling.Sampling(**config.sampling) != sampling.NONE


def _check_sampled(name: str, objective: Estimator, tasks: Tasks) -> None:
  """Refuses sampling where it would do nothing.

  Raises:
    InputError: The estimator has no CVR loss, or thins its rows itself.
  """
  if 'cvr_clicked' not in objective.weights(tasks):
    raise InputError(
        'sampling is of the rows of the loss cvr_clicked, which'
        f' estimator={name!r} does not have for these tasks.'
    )
  if objective.draws:
    raise InputError(
        f'estimator={name!r} samples the clicked rows itself; leave sampling'
        ' at its default.'
    )


def _hyper(
    configs: Sequence[Any], objective: Estimator, tasks: Tasks, sampled: bool
) -> Hyper:
  """What differs between replicas, stacked."""

  def stacked(rows: Sequence[Mapping[str, float]]) -> dict[str, jax.Array]:
    return {k: jnp.asarray([r[k] for r in rows], jnp.float32) for k in rows[0]}

  defaults = objective.weights(tasks)
  options = [
      estimator(c.estimator, c.estimator_options, tasks)[1] for c in configs
  ]
  return Hyper(
      jnp.asarray([c.learning_rate for c in configs], jnp.float32),
      stacked(
          [balancing.loss_weights(c.loss_weights, defaults) for c in configs]
      ),
      stacked([dict(c.sampling) for c in configs]) if sampled else {},
      stacked(options),
  )


def _micro_batches(config: Any, layout: Layout, module: Architecture) -> int:
  """Parts of a batch; where not asked for, MICRO_BATCH examples on a CPU.

  With groups one part, because each part would embed all groups of the batch.
  """
  parts, size = config.micro_batches, config.batch_size
  normalised = module.style.batch_statistics
  if parts == 0:
    grouped = bool(module.schema.group_part.num_slots)
    several = layout.num_devices > 1
    whole = normalised or several or size % MICRO_BATCH or grouped
    on_cpu = jax.default_backend() == 'cpu'
    return size // MICRO_BATCH if on_cpu and not whole else 1
  if parts < 0 or size % parts:
    raise InputError(
        f'micro_batches is {parts}; it must divide batch_size {size}.'
    )
  if parts > 1 and (normalised or layout.num_devices > 1):
    raise InputError(
        f'micro_batches is {parts}; with batch norm or Dice, whose statistics'
        ' are of the whole batch, or with several devices, it must be 1.'
    )
  return parts

"""The program of a run: its parts, built from the settings."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
from typing import Any, NamedTuple

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.estimators import ESTIMATORS, funnel, sampling
from esmm_jax.estimators.contract import Bound
from esmm_jax.metrics import choosing
from esmm_jax.models import Architecture, MODELS
from esmm_jax.optim import network as optim
from esmm_jax.optim.tables import table_optimizer
from esmm_jax.parallel.layout import Layout
from esmm_jax.schema import Schema
from esmm_jax.tasks import Tasks
from esmm_jax.training import memory, objective, parts, resident
from esmm_jax.training.frozen.run import refused
from esmm_jax.training.selection import Selection
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import TracedHyperparameters, MICRO_BATCH, StepSpec
from esmm_jax.types import InputError
from esmm_jax.warm_start import refit_steps
import jax
import jax.numpy as jnp


class Program(NamedTuple):
  """The parts of a run.

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
    frozen: What the manifest notes of the frozen run; None without one.
    replayed: For each replica the run that it replays, or None.
  """

  builder: ColumnarBuilder
  schema: Schema
  estimator: Bound
  hyper: TracedHyperparameters
  layout: Layout
  batches: Batches
  total_steps: int
  plan: StepSpec
  resident: bool
  frozen: Mapping[str, Any] | None = None
  replayed: Sequence[Any] = ()


def program(
    settings: Sequence[Settings],
    data_dir: str | None,
    frozen: Callable[..., Mapping[str, Any]] = refused,
) -> Program:
  """Builds the parts that settings name.

  Args:
    settings: One for each replica; they may differ in what
      `TracedHyperparameters` holds only (`sweeps.replicas` has the rule).
    data_dir: Where prepared data lives; None takes the default.
    frozen: As `frozen.columns.labels`, of the frozen run.

  Raises:
    InputError: A name, an option or a combination is not possible.
  """
  common = settings[0]  # Replicas share the rest.
  layout = _check_before_data(settings)
  builder = parts.dataset(
      common.dataset.section,
      data_dir,
      functools.partial(check_before_preparing, settings),
  )
  schema = parts.schema(builder, common.dataset.fields, common.dataset.tasks)
  objectives = [s.objective for s in settings]
  estimator = parts.estimator(common.objective, schema.tasks)
  sampled = any(o.sampling != sampling.NONE for o in objectives)
  if sampled:
    objective.check_sampled(common.objective.estimator, estimator, schema.tasks)
  model = parts.model(
      common.model.options, common.model.name, schema, estimator.needs.heads
  )
  batches = _batches(common, builder, schema, estimator, frozen)
  memory.check(
      memory.Request(
          schema.num_rows,
          model.num_tables,
          len(settings),
          batches.capacity,
          common.model.embed_dim,
          common.table,
          common.optimizer,
          common.run.mesh,
          any(s.selection.keeps for s in settings),
          model.first_order,
      ),
      common.run.memory_limit_gb,
  )
  length = _length(common, builder, batches)
  plan = _plan(common, schema, estimator, model, layout, length, sampled)
  plan = plan._replace(balancer=parts.balancer(settings, estimator))
  is_resident = resident.is_resident(
      common.run.device_resident, batches, layout
  )
  return Program(
      builder,
      schema,
      estimator,
      _hyper(settings, schema.tasks, sampled),
      layout,
      batches,
      length.total,
      plan,
      is_resident,
  )


def _check_before_data(settings: Sequence[Settings]) -> Layout:
  """Refuses what it can before the data is prepared, which may take long.

  Returns:
    The devices.

  Raises:
    InputError: A name is unknown, or devices cannot share the work evenly.
  """
  common = settings[0]
  if len(settings) > 1 and any(s.refit for s in settings):
    raise InputError(
        'refit_of: a refit is trained alone, not beside others (replicas).'
    )
  parts.named(ESTIMATORS, common.objective.estimator, 'estimator')
  parts.named(MODELS, common.model.name, 'model.name')
  parts.named(BALANCERS, common.balancing.name, 'balancing.name')
  table_optimizer(common.table, common.optimizer, 1)
  layout = Layout(common.run.mesh)
  layout.check_replicas(len(settings))
  resident.check_choice(common.run.device_resident, layout)
  layout.check_batch_size(common.training.batch_size, 'batch_size')
  layout.check_batch_size(common.run.eval_batch_size, 'eval_batch_size')
  return layout


def check_before_preparing(
    settings: Sequence[Settings], builder: ColumnarBuilder
) -> None:
  """Refuses settings that do not agree with the data set, prepared or not.

  Raises:
    InputError: A field, task, split, objective, model or selection metric
      cannot be.
  """
  parts.check_tasks(settings, builder)
  for s in settings:
    dataset = s.dataset
    refit_steps.check_held_out(dataset)
    schema = parts.schema(builder, dataset.fields, dataset.tasks)
    splits = parts.eval_splits(dataset, builder)
    parts.check_splits({'train': dataset.train_split, **splits}, builder)
    keys = parts.metric_keys(s.objective, schema)
    choosing.check_metric(s.selection.metric, keys)
    Selection(s.selection, 'valid' in splits, schema.tasks)


def _batches(
    settings: Settings,
    builder: ColumnarBuilder,
    schema: Schema,
    estimator: Bound,
    frozen: Callable[..., Mapping[str, Any]],
) -> Batches:
  """Opens the training split."""
  split = settings.dataset.train_split
  return Batches(
      builder.as_data_source(split),
      schema,
      settings.training.batch_size,
      seed=settings.training.seed,
      group_run=settings.training.group_run,
      truth=builder.truth_source(split),
      truth_labels=estimator.needs.truth_labels,
      more_labels=frozen(builder, split, schema, estimator.needs.frozen),
  )


def _length(
    settings: Settings, builder: ColumnarBuilder, batches: Batches
) -> refit_steps.Length:
  """Counts the steps of a run."""
  training = settings.training
  return refit_steps.length(
      settings.refit,
      training.num_epochs,
      settings.schedule.warmup_steps,
      batches.steps_per_epoch,
      lambda split: -(
          -len(builder.as_data_source(split)) // training.batch_size
      ),
  )


def _plan(
    settings: Settings,
    schema: Schema,
    estimator: Bound,
    model: Architecture,
    layout: Layout,
    length: refit_steps.Length,
    sampled: bool,
) -> StepSpec:
  """Fixes what a step does."""
  training, table = settings.training, settings.table
  return StepSpec(
      model=model,
      terms=estimator.terms,
      row_tx=table_optimizer(table, settings.optimizer, model.num_tables),
      net_tx=optim.network_optimizer(
          settings.optimizer, training.weight_decay
      ),
      outputs=functools.partial(
          funnel.outputs,
          tasks=schema.tasks,
          output_interpretation=estimator.output_interpretation,
      ),
      schedule=optim.schedule(
          dataclasses.replace(settings.schedule, warmup_steps=length.warmup),
          length.schedule,
      ),
      embedding_l2=table.embedding_l2,
      tower_l2=training.tower_l2,
      clip_norm=training.clip_norm,
      micro_batches=_micro_batches(settings, layout, model),
      rescale=estimator.rescale,
      sees_step=estimator.sees_step,
      needs_uniform=sampled or estimator.needs_uniform,
      sampled=sampled,
      # A CPU gains nothing from larger products, and the arrays of one replica
      # fit its cache; an accelerator wants all replicas in one product.
      map_replicas_sequentially=(
          jax.default_backend() == 'cpu' and layout.num_replicas == 1
      ),
      skip_ceiling=training.skip_ceiling,
  )


def _hyper(
    settings: Sequence[Settings], tasks: Tasks, sampled: bool
) -> TracedHyperparameters:
  """Stacks what differs between replicas."""

  def stacked(rows: Sequence[Mapping[str, float]]) -> dict[str, jax.Array]:
    return {k: jnp.asarray([r[k] for r in rows], jnp.float32) for k in rows[0]}

  objectives = [s.objective for s in settings]
  bound = [parts.estimator(o, tasks) for o in objectives]
  rates = [s.training.learning_rate for s in settings]
  return TracedHyperparameters(
      jnp.asarray(rates, jnp.float32),
      stacked([objective.weights(s, b) for s, b in zip(settings, bound)]),
      stacked([o.sampling._asdict() for o in objectives]) if sampled else {},
      stacked([b.traced for b in bound]),
      stacked([binding.traced_options(s.balancing) for s in settings]),
  )


def _micro_batches(
    settings: Settings, layout: Layout, model: Architecture
) -> int:
  """Parts of a batch; where not asked for, MICRO_BATCH examples on a CPU.

  With groups one part, because each part would embed all groups of the batch.
  """
  num, size = settings.run.micro_batches, settings.training.batch_size
  normalised = model.layer_options.batch_statistics
  if num == 0:
    grouped = bool(model.schema.group_part.num_slots)
    several = layout.num_devices > 1
    whole = normalised or several or size % MICRO_BATCH or grouped
    on_cpu = jax.default_backend() == 'cpu'
    return size // MICRO_BATCH if on_cpu and not whole else 1
  if size % num:
    raise InputError(
        f'micro_batches is {num}; it must divide batch_size {size}.'
    )
  if num > 1 and (normalised or layout.num_devices > 1):
    raise InputError(
        f'micro_batches is {num}; with batch norm or Dice, whose statistics'
        ' are of the whole batch, or with several devices, it must be 1.'
    )
  return num

"""The settings of a run: its config as typed sections, read once.

`train_and_evaluate` reads them; below it no function takes a whole config.
Each section checks its own values where it is defined: the optimizers' in
`optim`, the mesh's in `parallel`, the rest here.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any, Self

from esmm_jax import options
from esmm_jax.balancing.options import BalancingOptions
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import estimator as contract
from esmm_jax.estimators.sampling import Sampling
from esmm_jax.optim.network import OptimizerOptions, ScheduleOptions
from esmm_jax.optim.tables import TableOptions
from esmm_jax.options import COUNT, number, one_of, Range, Section
from esmm_jax.parallel.layout import MeshOptions
from esmm_jax.plugins import loading as plugins
from esmm_jax.training.selection import SelectionOptions
from esmm_jax.types import InputError, suggest
from esmm_jax.warm_start.options import InitOptions, RefitOptions
from esmm_jax.workdir.folder import with_run_section

_BATCH = Range(1, 2**24)
_MODEL_RANGES: Mapping[str, Range] = {
    'embed_dim': Range(1, 4096),
    'dropout': options.BELOW_ONE,
    'gate_dropout': options.BELOW_ONE,
    'cross_layers': Range(0, options.LAYERS),
    'cross_rank': Range(0, options.WIDTH.high),
    'levels': Range(1, options.LAYERS),
    'num_experts': Range(0, 1024),
    'num_task_experts': Range(0, 1024),
    'num_shared_experts': Range(0, 1024),
}


@dataclasses.dataclass(frozen=True)
class TrainingOptions(Section):
  """Keys at the top of the config: how long, on what batches, how fast.

  Attributes:
    seed: Of the data order, initialisation and dropout.
    init_seed: Of initialisation and dropout alone; None takes `seed`.
    num_epochs: Passes over the training split.
    batch_size: Examples of a step.
    group_run: Rows of one session (or user) that stay together when shuffled.
    learning_rate: Times the direction of a step.
    evals_per_epoch: Evaluations and checkpoints an epoch, at most one a step.
    tower_l2: Times the kernel, added to the gradient of the towers' kernels.
    weight_decay: Decoupled, on the kernels of the network.
    clip_norm: Largest norm of the whole gradient; 0 does not clip.
    non_finite: 'stop' ends a run at a loss or gradient that is not finite,
      'skip' leaves the step out.
    non_finite_ceiling: Most steps that are skipped.
    common_ctr: Folder of a run, from this one's, whose pCTR makes
      `ctcvr_common` of this run's pCVR; '.' is this run.
    protocol: A published set-up of Ali-CCP; '' for none.
  """

  seed: int = number(0, options.SEED)
  init_seed: int | None = number(None, options.SEED)
  num_epochs: int = number(1, COUNT)
  batch_size: int = number(4096, _BATCH)
  group_run: int = number(1, COUNT)
  learning_rate: float = number(1e-3, options.POSITIVE)
  evals_per_epoch: int = number(4, COUNT)
  tower_l2: float = number(0.0, options.NOT_NEGATIVE)
  weight_decay: float = number(0.0, options.NOT_NEGATIVE)
  clip_norm: float = number(0.0, options.NOT_NEGATIVE)
  non_finite: str = one_of('stop', 'skip', default='stop')
  non_finite_ceiling: int = number(100, COUNT)
  common_ctr: str = ''
  protocol: str = ''

  @property
  def skip_ceiling(self) -> int:
    """Steps that may be skipped; 0 skips none."""
    return self.non_finite_ceiling if self.non_finite == 'skip' else 0

  @property
  def first_seed(self) -> int:
    """Seed of initialisation and dropout."""
    return self.seed if self.init_seed is None else self.init_seed


@dataclasses.dataclass(frozen=True)
class RunOptions(Section, prefix='run'):
  """The section `run`: the machine's part, which decides no metric.

  It is no part of a run's identity: a run resumes with other values, on
  another machine say. Sums may then be added in another order, and `train/...`
  are means since the last report, which `log_every` places.

  Attributes:
    mesh: Devices along each axis.
    device_resident: Whether the training set is kept in device memory: 'on',
      'off', or 'auto', on one accelerator where it takes a quarter of it at
      most. Of several devices each keeps its share, if it is 'on'.
    micro_batches: Parts that a batch is worked through in, with the gradient
      of the whole; 0 chooses by the size, on a CPU.
    memory_limit_gb: Memory for the table and its state; 0 asks the system.
    log_every: Steps between two lines of the training loss.
    eval_batch_size: Examples that are predicted at once.
    save_predictions: Whether predictions of the test split are written.
  """

  mesh: MeshOptions = MeshOptions()
  device_resident: str = one_of('auto', 'on', 'off', default='auto')
  micro_batches: int = number(0, Range(0, 2**24))
  memory_limit_gb: float = number(0.0, options.NOT_NEGATIVE)
  log_every: int = number(50, COUNT)
  eval_batch_size: int = number(8192, _BATCH)
  save_predictions: bool = False

  @classmethod
  def read(cls, values: Mapping[str, Any]) -> Self:
    mesh = MeshOptions.read(values.get('mesh', {}))
    return super().read({**values, 'mesh': mesh})


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """The section `model`.

  Attributes:
    name: One of `MODELS`.
    embed_dim: Numbers of an embedding.
    options: The model's own.
  """

  name: str
  embed_dim: int
  options: Mapping[str, Any]

  @classmethod
  def read(cls, section: Mapping[str, Any]) -> Self:
    """Reads the section; the model refuses options that it does not have."""
    section = {k: v for k, v in section.items() if v is not None}
    for name, value in section.items():
      if name in _MODEL_RANGES:
        options.check_number(f'model.{name}', value, _MODEL_RANGES[name])
      elif name.endswith('_units'):
        options.check_units(f'model.{name}', value)
    name, dim = (_required(section, k, 'model') for k in ('name', 'embed_dim'))
    rest = {k: v for k, v in section.items() if k not in ('name', 'embed_dim')}
    return cls(name, dim, rest)


@dataclasses.dataclass(frozen=True)
class DatasetOptions:
  """The section `dataset`.

  Attributes:
    section: All of it, as the data set reads it.
    train_split: Rows that are trained on.
    valid_split: Rows that select; '' for none.
    test_split: Rows that are evaluated once; '' for none.
    fields: Fields that the model reads; () reads all.
    tasks: Tasks that are trained; () trains all.
  """

  section: Mapping[str, Any]
  train_split: str
  valid_split: str
  test_split: str
  fields: tuple[str, ...]
  tasks: tuple[str, ...]

  @classmethod
  def read(cls, section: Mapping[str, Any]) -> Self:
    """Reads the section; the data set refuses options that it does not have."""
    names = [f.name for f in dataclasses.fields(cls)][1:]
    return cls(section, *(_required(section, n, 'dataset') for n in names))


@dataclasses.dataclass(frozen=True)
class ObjectiveOptions:
  """The estimator, and what may differ between replicas of it.

  Attributes:
    estimator: One of `ESTIMATORS`.
    options: The section `estimator_options`, without what is unset.
    loss_weights: The section `loss_weights`, without what is unset.
    sampling: The section `sampling`.
  """

  estimator: str
  options: Mapping[str, Any]
  loss_weights: Mapping[str, float]
  sampling: Sampling

  @classmethod
  def read(cls, config: Mapping[str, Any]) -> Self:
    """Reads the sections of the objective."""
    estimator = _required(config, 'estimator', 'the config')
    values = _set(config.get('estimator_options', {}))
    if estimator in ESTIMATORS:
      contract.check(values, ESTIMATORS[estimator].terms, estimator)
    weights = _set(config.get('loss_weights', {}))
    for name, value in weights.items():
      options.check_number(f'loss_weights.{name}', value, options.NOT_NEGATIVE)
    rates = config.get('sampling', {})
    options.refuse_unknown(rates, Sampling._fields, 'sampling', 'a config')
    sampling = Sampling(**rates)
    sampling.check()
    return cls(estimator, values, weights, sampling)


@dataclasses.dataclass(frozen=True)
class Settings:
  """All settings of a run, by section."""

  training: TrainingOptions
  objective: ObjectiveOptions
  balancing: BalancingOptions
  model: ModelOptions
  dataset: DatasetOptions
  optimizer: OptimizerOptions
  schedule: ScheduleOptions
  table: TableOptions
  selection: SelectionOptions
  run: RunOptions
  init: InitOptions
  refit: RefitOptions

  @classmethod
  def read(cls, config: Any) -> Self:
    """Reads a config, and checks every value of it.

    Args:
      config: A ConfigDict or nested mappings. Keys of the section `run` may
        stand at the top of it, as they did before there was one.

    Raises:
      InputError: A key is unknown, or a value is not allowed.
    """
    tree = config.to_dict() if hasattr(config, 'to_dict') else config
    plugins.use(tree)
    config = with_run_section(tree)
    top = {
        s: s.read({n: config.pop(n) for n in s.names() if n in config})
        for s in (TrainingOptions, TableOptions, InitOptions, RefitOptions)
    }
    sections = {
        'optimizer': OptimizerOptions,
        'schedule': ScheduleOptions,
        'balancing': BalancingOptions,
        'selection': SelectionOptions,
        'run': RunOptions,
    }
    settings = cls(
        training=top[TrainingOptions],
        table=top[TableOptions],
        init=top[InitOptions],
        refit=top[RefitOptions],
        objective=ObjectiveOptions.read(config),
        model=ModelOptions.read(_required(config, 'model', 'the config')),
        dataset=DatasetOptions.read(_required(config, 'dataset', 'the config')),
        **{n: s.read(config.pop(n, {})) for n, s in sections.items()},
    )
    for key in _READ:
      config.pop(key, None)
    # Of earlier versions: only touched rows are trained now.
    if config.pop('table_update', 'lazy') != 'lazy':
      raise InputError(
          "table_update='dense' is no option of a run any more; leave it out."
      )
    for key in config:
      names = [*TrainingOptions.names(), *sections, *_READ]
      raise InputError(
          f'the config has a key {key!r}, which no part of a run reads.'
          f' {suggest(key, names)}'
      )
    return settings


_OBJECTIVE = ('estimator', 'estimator_options', 'loss_weights', 'sampling')
_READ = ('model', 'dataset', plugins.KEY, *_OBJECTIVE)


def _required(section: Mapping[str, Any], name: str, owner: str) -> Any:
  """Returns a value that has no default.

  Raises:
    InputError: It is absent.
  """
  if name not in section:
    raise InputError(
        f'{owner} has no {name!r}; take one of configs/ as it is, or add it.'
    )
  return section[name]


def _set(section: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the options that are set."""
  return {k: v for k, v in section.items() if v is not None}

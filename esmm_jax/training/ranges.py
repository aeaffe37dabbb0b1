"""What the numbers of a config may be, told before anything is built."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten


class Range(NamedTuple):
  """Numbers that a key may have, both ends included.

  Attributes:
    low: The least.
    high: The greatest.
    open_low: Whether `low` itself is left out.
    open_high: Whether `high` itself is.
  """

  low: float
  high: float
  open_low: bool = False
  open_high: bool = False

  def holds(self, value: float) -> bool:
    """Whether it is one of them; nan never is."""
    above = value > self.low if self.open_low else value >= self.low
    below = value < self.high if self.open_high else value <= self.high
    return above and below

  def __str__(self) -> str:
    left = '(' if self.open_low else '['
    right = ')' if self.open_high else ']'
    return f'{left}{_text(self.low)}, {_text(self.high)}{right}'


def _text(number: float) -> str:
  return str(number) if isinstance(number, int) else f'{number:g}'


_COUNT = Range(1, 2**31 - 1)
_COUNT_OR_NONE = Range(0, 2**31 - 1)
_SEED = Range(0, 2**32 - 1)  # What a key of JAX is made of.
_BATCH = Range(1, 2**24)
_POSITIVE = Range(0, 1e38, open_low=True)  # What a float32 can hold.
_NOT_NEGATIVE = Range(0, 1e38)
_SHARE = Range(0, 1)
_BELOW_ONE = Range(0, 1, open_high=True)
_UNITS = Range(1, 2**16)
_LAYERS = 64

RANGES: Mapping[str, Range] = {
    'seed': _SEED,
    'init_seed': _SEED,
    'num_epochs': _COUNT,
    'batch_size': _BATCH,
    'eval_batch_size': _BATCH,
    'group_run': _COUNT,
    'micro_batches': Range(0, 2**24),
    'evals_per_epoch': _COUNT,
    'log_every': _COUNT,
    'non_finite_ceiling': _COUNT,
    'mesh.replicas': _COUNT,
    'mesh.data': _COUNT_OR_NONE,
    'mesh.rows': _COUNT,
    'selection.patience': _COUNT_OR_NONE,
    'schedule.warmup_steps': _COUNT_OR_NONE,
    'schedule.end_factor': _SHARE,
    'learning_rate': _POSITIVE,
    'optimizer.b1': _BELOW_ONE,
    'optimizer.b2': _BELOW_ONE,
    'optimizer.momentum': _BELOW_ONE,
    'optimizer.eps': _NOT_NEGATIVE,
    'optimizer.initial_accumulator': _NOT_NEGATIVE,
    'memory_limit_gb': _NOT_NEGATIVE,
    'embed_init_scale': _NOT_NEGATIVE,
    'embedding_l2': _NOT_NEGATIVE,
    'tower_l2': _NOT_NEGATIVE,
    'weight_decay': _NOT_NEGATIVE,
    'clip_norm': _NOT_NEGATIVE,
    'estimator_options.propensity_floor': Range(0, 1, open_low=True),
    'sampling.unclicked_rate': _SHARE,
    'sampling.conversion_copies': Range(1, 1e38),
    'model.embed_dim': Range(1, 4096),
    'model.dropout': _BELOW_ONE,
    'model.gate_dropout': _BELOW_ONE,
    'model.cross_layers': Range(0, _LAYERS),
    'model.cross_rank': Range(0, _UNITS.high),
    'model.levels': Range(1, _LAYERS),
    'model.num_experts': Range(0, 1024),
    'model.num_task_experts': Range(0, 1024),
    'model.num_shared_experts': Range(0, 1024),
}


def check(config: Any) -> None:
  """Refuses a number that no run can have.

  What only some models, estimators or data sets refuse, they refuse
  themselves.

  Args:
    config: A ConfigDict; keys that are not set, or not there, are not looked
      at.

  Raises:
    InputError: A key is out of its range; the first of the config's.
  """
  for key, value in flatten(config.to_dict()).items():
    allowed = RANGES.get(key)
    if key.startswith('loss_weights.'):
      allowed = _NOT_NEGATIVE
    if allowed and value is not None and not allowed.holds(value):
      whole = ' whole number' if isinstance(value, int) else ' number'
      raise InputError(f'{key} is {value}; it must be a{whole} in {allowed}.')
    if key.startswith('model.') and key.endswith('_units'):
      _check_units(key, value)


def _check_units(key: str, units: tuple[Any, ...]) -> None:
  """Refuses layers that cannot be."""
  whole = all(isinstance(n, int) and _UNITS.holds(n) for n in units)
  if not whole or len(units) > _LAYERS:
    raise InputError(
        f'{key} is {units}; it must be at most {_LAYERS} whole numbers in'
        f' {_UNITS}, the width of each layer.'
    )

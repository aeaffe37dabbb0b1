"""Optimizers and learning-rate schedules by name.

A transformation here gives the direction of a step; the train step multiplies
it by the learning rate, of which each replica has its own. Transformations run
on the stacked replicas at once, so they must work element by element, as Adam,
Adagrad, RMSProp and momentum do.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Any

from esmm_jax.options import BELOW_ONE, COUNT_OR_NONE, NOT_NEGATIVE, number
from esmm_jax.options import one_of, Section, SHARE
from esmm_jax.types import Array, InputError
import jax
import jax.numpy as jnp
import optax

OPTIMIZERS = {
    'adam': lambda o: optax.scale_by_adam(b1=o.b1, b2=o.b2, eps=o.eps),
    'adagrad': lambda o: optax.scale_by_rss(
        initial_accumulator_value=o.initial_accumulator, eps=o.eps
    ),
    'sgd': lambda o: (
        optax.trace(decay=o.momentum) if o.momentum else optax.identity()
    ),
}


@dataclasses.dataclass(frozen=True)
class OptimizerOptions(Section, prefix='optimizer'):
  """The config's section `optimizer`.

  Attributes:
    name: adam, adagrad or sgd.
    b1: Adam's decay of the first moment.
    b2: Adam's decay of the second moment.
    eps: Added to the root of Adam and Adagrad.
    initial_accumulator: Adagrad's sum of squares before the first step.
    momentum: SGD's decay of the trace; 0 keeps none.
  """

  name: str = one_of(*OPTIMIZERS, default='adam')
  b1: float = number(0.9, BELOW_ONE)
  b2: float = number(0.999, BELOW_ONE)
  eps: float = number(1e-8, NOT_NEGATIVE)
  initial_accumulator: float = number(0.1, NOT_NEGATIVE)
  momentum: float = number(0.0, BELOW_ONE)


@dataclasses.dataclass(frozen=True)
class ScheduleOptions(Section, prefix='schedule'):
  """The config's section `schedule`: the learning rate by step.

  Attributes:
    name: constant, cosine or exponential; these two begin at 1 and are
      `end_factor` at the last step, the one numbered `total_steps - 1`.
    warmup_steps: Steps of linear rise before it.
    end_factor: Share of the learning rate at the end.
  """

  name: str = one_of('constant', 'cosine', 'exponential', default='constant')
  warmup_steps: int = number(0, COUNT_OR_NONE)
  end_factor: float = number(0.01, SHARE)

  def check(self) -> None:
    if self.name == 'exponential' and not self.end_factor > 0:
      raise InputError('schedule.end_factor must be > 0 for exponential decay.')


def optimizer(options: OptimizerOptions) -> optax.GradientTransformation:
  """Makes the optimizer's transformation; its directions lack the rate."""
  return OPTIMIZERS[options.name](options)


def network_optimizer(
    options: OptimizerOptions, weight_decay: float
) -> optax.GradientTransformation:
  """Makes the network's transformation, with decoupled decay of its kernels.

  The decay is added to the direction, so Adam does not rescale it (AdamW,
  Loshchilov and Hutter, arXiv 1711.05101).

  Args:
    options: The optimizer.
    weight_decay: Times the kernel, added to its direction; 0 for none.
  """
  tx = optimizer(options)
  if not weight_decay:
    return tx
  return optax.chain(tx, optax.add_decayed_weights(weight_decay, is_kernel))


def schedule(
    options: ScheduleOptions, total_steps: int
) -> Callable[[Array], Array]:
  """Makes the factor on the learning rate, a function of the step.

  Args:
    options: The form.
    total_steps: Steps of the whole run.
  """
  warmup, end = options.warmup_steps, options.end_factor
  # Steps are numbered from 0: so many lie between the first and the last.
  rest = max(total_steps - 1 - warmup, 1)
  if options.name == 'constant':
    main = optax.constant_schedule(1.0)
  elif options.name == 'cosine':
    main = optax.cosine_decay_schedule(1.0, rest, alpha=end)
  else:
    main = lambda step: jnp.exp(math.log(end) * jnp.minimum(step / rest, 1.0))
  if not warmup:
    return main
  rise = optax.linear_schedule(1.0 / (warmup + 1), 1.0, warmup)
  return optax.join_schedules([rise, main], [warmup])


def is_kernel(net: Any) -> Any:
  """Marks the weight matrices of a network, for weight decay.

  Args:
    net: Parameters.

  Returns:
    The same tree of bools; biases and the parameters of norms are False.
  """
  return jax.tree_util.tree_map_with_path(
      lambda path, _: path[-1].key == 'kernel', net
  )

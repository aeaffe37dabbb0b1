"""The parameters that several tasks train."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from esmm_jax.training.gradients import inputs, parts, reach
from esmm_jax.training.gradients.parts import Wanted
from esmm_jax.types import Array, Batch, InputError
import jax

TABLES = 'tables'
PARTS = (TABLES, 'trunk', 'gates', 'towers')


class Shared(NamedTuple):
  """The parameters that several tasks train.

  Attributes:
    net: For each leaf of the network its part, or '' for one that a single task
      trains.
    tables: Whether each embedding of an id is shared.
  """

  net: tuple[str, ...]
  tables: tuple[bool, ...]

  @property
  def parts(self) -> tuple[str, ...]:
    """The parts that have shared parameters."""
    names = {*self.net, TABLES if any(self.tables) else ''}
    return tuple(p for p in PARTS if p in names)


def shared(
    wanted: Wanted,
    tasks: Sequence[str],
    net: Any,
    touched: Array,
    stats: Any,
    whole: tuple[Batch, Array | None],
    key: Array,
) -> Shared:
  """Finds the parameters that several tasks train.

  Args:
    wanted: See there.
    tasks: Terms.
    net: Parameters of the network, as the rest for their shapes.
    touched: The touched rows.
    stats: Batch norm statistics.
    whole: The batch and the weights of its rows.
    key: For dropout.

  Raises:
    InputError: There are none.
  """
  at_zero = inputs.zeros(wanted.plan.model, net, stats, touched, whole[0])
  wanted = wanted._replace(at_inputs=True)

  def loss(name: str) -> Callable[..., Array]:
    return lambda net, offsets: parts.loss_fn(
        wanted, name, net, offsets, touched, stats, whole, key
    )[0]

  each = [reach.reached(loss(name), net, at_zero) for name in tasks]
  several = [sum(reached) > 1 for reached in zip(*each)]
  paths = jax.tree_util.tree_leaves_with_path(net)
  of_net = several[: len(paths)]
  names = tuple(
      _part(path) if is_shared else ''
      for (path, _), is_shared in zip(paths, of_net)
  )
  result = Shared(names, tuple(several[len(paths) :]))
  if not result.parts:
    raise InputError(
        f'balancing: no parameter of {type(wanted.plan.model).__name__} is'
        f' trained by two of the terms {list(tasks)}, so there is nothing to'
        ' balance; leave balancing.name unset.'
    )
  return result


def _part(path: Any) -> str:
  """Returns the part of a leaf of the network, by the name of its module."""
  name = path[0].key
  if 'gate' in name.split('_'):
    return 'gates'
  return 'towers' if name.startswith('tower') else 'trunk'

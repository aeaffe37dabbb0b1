"""Axes of the arrays that training carries, declared once for all who cut them.

Sharding (`layout`), slices and merges of replicas (`training.state`,
`training.selection`) and checkpoints (`workdir.checkpoint`) read the same
declaration. It is by name, because the trees are not all of one type: a
`TrainState`, the parameters of the best evaluation, a checkpoint's
`state` and `best`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Axes(NamedTuple):
  """Leading axes of an array; V are rows of the tables, R replicas.

  Attributes:
    shape: How they are written; what belongs to no attribute is SHARED.
    replica: Which is the replicas' axis; None if they share the array.
  """

  shape: str
  replica: int | None


BY_ROW = Axes('[V, R, ...]', 1)
BY_REPLICA = Axes('[R, ...]', 0)
# Small, and read on the host by every process: each device holds all of it.
PER_REPLICA = Axes('[R]', 0)
SKIPPED = Axes('[2, R]', 1)
SHARED = Axes('[...]', None)

# Attribute of `TrainState` -> its axes (tests/parallel/test_axes.py compares).
ATTRIBUTES = {
    'step': SHARED,
    'table': BY_ROW,
    'net': BY_REPLICA,
    'stats': BY_REPLICA,
    'table_opt': BY_ROW,
    'net_opt': BY_REPLICA,
    'keys': PER_REPLICA,
    'sums': PER_REPLICA,
    'steps_since_report': SHARED,
    'bad_step': PER_REPLICA,
    'skipped': SKIPPED,
    'balance': BY_REPLICA,
    'noted': PER_REPLICA,
}


def names(path: Any) -> tuple[str, ...]:
  """Returns a path in a tree as the names and numbers on it."""
  return tuple(jax.tree_util.keystr((k,), simple=True) for k in path)


def axes_of(path: Any, leaf: Any) -> Axes:
  """Returns the axes of a leaf.

  Args:
    path: Where it is in a state, in parameters or in a tree of those.
    leaf: An array or its shape. One with too few axes, such as the step count
      of Adam, is shared.
  """
  # The first name alone: a layer of the network may be called `table` too.
  declared = (ATTRIBUTES[n] for n in names(path) if n in ATTRIBUTES)
  axes = next(declared, SHARED)
  shared = axes.replica is None or leaf.ndim <= axes.replica
  return SHARED if shared else axes


def map_replicas(f: Callable[..., Any], tree: Any, *rest: Any) -> Any:
  """Maps f over the leaves that each replica has a part of.

  Args:
    f: (axis of the replicas, leaf, the leaves of `rest` there) -> leaf.
    tree: A state or parameters; leaves that replicas share stay.
    *rest: Trees of the same structure.
  """

  def leaf(path: Any, x: Any, *others: Any) -> Any:
    axis = axes_of(path, x).replica
    return x if axis is None else f(axis, x, *others)

  return jax.tree.map_with_path(leaf, tree, *rest)

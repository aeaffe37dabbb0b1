"""Which runs of a sweep are trained side by side, as replicas of one program.

The rule: two runs are of one group if their configs agree in every key but

  * init_seed: initialisation and dropout,
  * learning_rate,
  * loss_weights: all of them,
  * sampling: all of it,
  * estimator_options.propensity_floor,
  * selection: metric, mode and patience,
  * save_predictions and common_ctr.

What is left says the data, its order (`seed`), the shapes of all arrays and the
program. A group reads its data once, is compiled once and is evaluated in one
pass. Everything here is plain data: no jax.
"""

from collections.abc import Iterable, Mapping, Sequence
import graphlib
import hashlib
import json
import os
from typing import Any

from esmm_jax.types import InputError

# Keys, and sections by their dot at the end, in which replicas may differ.
FREE = (
    'init_seed',
    'learning_rate',
    'loss_weights.',
    'sampling.',
    'estimator_options.propensity_floor',
    'selection.',
    'save_predictions',
    'common_ctr',
)


def replica_groups(
    configs: Mapping[str, Mapping[str, Any]], limit: int
) -> list[list[str]]:
  """Runs that can be replicas of one program, at most `limit` of them.

  Args:
    configs: Run name -> flat config, dotted key -> value.
    limit: Replicas of a program.

  Returns:
    Groups of names; groups and their members in the order of `configs`.

  Raises:
    InputError: limit is not positive.
  """
  if limit < 1:
    raise InputError(f'--replicas={limit}: it must be at least 1.')
  by_key: dict[str, list[str]] = {}
  for name, config in configs.items():
    fixed = {k: v for k, v in config.items() if not k.startswith(FREE)}
    key = json.dumps(fixed, sort_keys=True, default=str)
    by_key.setdefault(key, []).append(name)
  cut = [
      names[k : k + limit]
      for names in by_key.values()
      for k in range(0, len(names), limit)
  ]
  order = {name: k for k, name in enumerate(configs)}
  return sorted(cut, key=lambda names: order[names[0]])


def bundles(
    groups: Sequence[Sequence[str]],
    configs: Mapping[str, Mapping[str, Any]],
) -> list[list[list[str]]]:
  """Groups that one machine has to run, one after the other.

  A run whose `common_ctr` names another one needs that one's predictions.

  Args:
    groups: As `replica_groups` makes them.
    configs: As for it; `common_ctr` is a folder beside the run's own.

  Returns:
    Bundles of groups, in order; in a bundle those that others need come first.

  Raises:
    InputError: Runs of two groups need each other's.
  """
  place = {name: k for k, names in enumerate(groups) for name in names}
  parent = list(range(len(groups)))

  def root(k: int) -> int:
    while parent[k] != k:
      k = parent[k]
    return k

  needs: dict[int, set[int]] = {k: set() for k in range(len(groups))}
  for name, k in place.items():
    other = place.get(_sibling(name, configs[name].get('common_ctr') or ''))
    if other not in (None, k):  # Inside a group `train_replicas` orders them.
      needs[k].add(other)
      a, b = sorted((root(k), root(other)))
      parent[b] = a
  members: dict[int, list[int]] = {}
  for k in range(len(groups)):
    members.setdefault(root(k), []).append(k)
  try:
    order = list(graphlib.TopologicalSorter(needs).static_order())
  except graphlib.CycleError as e:
    names = ', '.join(groups[k][0] for k in sorted(set(e.args[1])))
    raise InputError(
        f'common_ctr: the groups of {names} need predictions of each other.'
        ' With --replicas=1 each run is a group; runs must not name each other.'
    ) from e
  rank = {k: n for n, k in enumerate(order)}
  return [
      [list(groups[k]) for k in sorted(ks, key=rank.__getitem__)]
      for ks in members.values()
  ]


def group_name(names: Iterable[str]) -> str:
  """A folder name for the group of these runs; 12 hexadecimal digits."""
  text = '\n'.join(names)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _sibling(name: str, folder: str) -> str:
  """The run that a path from the run `name` leads to, if it stands beside."""
  if not folder:
    return ''
  path = os.path.normpath(os.path.join(name, folder))
  return path if path != name else ''

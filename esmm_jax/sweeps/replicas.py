"""Groups the runs of a sweep that train side by side, as replicas.

The rule: two runs are of one group if their configs agree in every key but

  * init_seed: initialisation and dropout,
  * learning_rate,
  * loss_weights: all of them,
  * sampling: all of it,
  * estimator_options: those that the estimator takes as arrays
    (`signatures`), and those of the method of balancing,
  * selection: metric, mode and patience,
  * run.save_predictions and common_ctr,
  * balancing.of: a replay's weights, if those of that run were of the same
    towers and parts.

The other keys decide the data, its order (`seed`), the shapes of all arrays and
the program. Those of the section `run` are no part of a run's identity, but a
program has one value of each. A group reads its data once, is compiled once and
is evaluated in one pass.
"""

from collections.abc import Iterable, Mapping, Sequence
import graphlib
import hashlib
import json
import os
from typing import Any

from esmm_jax.types import InputError

# Keys in which replicas may differ; one that ends in a dot is a whole section.
FREE = (
    'init_seed',
    'learning_rate',
    'loss_weights.',
    'sampling.',
    'selection.',
    'run.save_predictions',
    'common_ctr',
)
_OF = 'balancing.of'
# Keys that name a run whose predictions or weights are read, by its path from
# the run's own folder.
_NAMING = ('common_ctr', 'estimator_options.frozen_run', _OF)


def replica_groups(
    configs: Mapping[str, Mapping[str, Any]], limit: int
) -> list[list[str]]:
  """Groups runs that can be replicas of one program.

  Args:
    configs: Run name -> flat config, dotted key -> value.
    limit: Most replicas of a program.

  Returns:
    Groups of names; groups and their members in the order of `configs`.

  Raises:
    InputError: limit is not positive.
  """
  if limit < 1:
    raise InputError(f'--replicas={limit}: it must be at least 1.')
  by_key: dict[str, list[str]] = {}
  for name, config in configs.items():
    free = _free_options(config)
    fixed = {
        k: v for k, v in config.items() if not _is_free(k) and k not in free
    }
    if config.get(_OF):
      fixed[_OF] = _replayed(name, configs)
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
  """Bundles groups that one machine has to run, one after the other.

  A run whose `common_ctr` names another one needs that one's predictions, and
  so does one whose `estimator_options.frozen_run` does; a replay needs the
  weights of the run that `balancing.of` names.

  Args:
    groups: Groups as `replica_groups` returns them.
    configs: Run name -> flat config; `common_ctr`, `frozen_run` and `of` are
      paths from the run's folder.

  Returns:
    Bundles of groups, in order; in a bundle those that others need come first.

  Raises:
    InputError: Runs of two groups need each other.
  """
  group_of = {name: k for k, names in enumerate(groups) for name in names}
  parent = list(range(len(groups)))

  def root(k: int) -> int:
    while parent[k] != k:
      k = parent[k]
    return k

  needs: dict[int, set[int]] = {k: set() for k in range(len(groups))}
  for name, k in group_of.items():
    others = {group_of.get(n) for n in named_runs(name, configs[name])}
    for other in others - {None, k}:  # Inside a group training orders them.
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
        f'{", ".join(_NAMING)}: the groups of {names} need predictions or'
        ' weights of each other. With --replicas=1 each run is a group; runs'
        ' must not name each other.'
    ) from e
  rank = {k: n for n, k in enumerate(order)}
  return [
      [list(groups[k]) for k in sorted(ks, key=rank.__getitem__)]
      for ks in members.values()
  ]


def group_name(names: Iterable[str]) -> str:
  """Returns a folder name for a group of runs; 12 hexadecimal digits."""
  text = '\n'.join(names)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_free(key: str) -> bool:
  """Returns whether replicas may differ in a flat config key."""
  section, dot, _ = key.partition('.')
  return key in FREE or bool(dot) and f'{section}.' in FREE


def named_runs(name: str, config: Mapping[str, Any]) -> list[str]:
  """Returns the runs of a sweep that have to be finished before one.

  Args:
    name: The run.
    config: Its flat config.

  Returns:
    Their names, if they are of the sweep; those of other folders lead to none.
  """
  folders = [config.get(key) or '' for key in _NAMING]
  return [other for f in folders if (other := _sibling(name, f))]


def waits(
    names: Sequence[str],
    needs: Mapping[str, Sequence[str]],
    later: Iterable[Sequence[str]],
) -> bool:
  """Returns whether a group needs a run that another process is still at.

  Args:
    names: The group.
    needs: Run -> those that have to be finished before it.
    later: Groups that are left for later.
  """
  left = {name for group in later for name in group}
  return any(left & {*needs.get(name, ())} for name in names)


def _free_options(config: Mapping[str, Any]) -> list[str]:
  """Returns the keys of options that replicas may differ in.

  Args:
    config: A flat config.
  """
  from esmm_jax.balancing import BALANCERS, method
  from esmm_jax.estimators import ESTIMATORS
  from esmm_jax.estimators.contract import binding

  free = []
  if (estimator := config.get('estimator', '')) in ESTIMATORS:
    names = binding.traced_options(ESTIMATORS[estimator])
    free += [f'estimator_options.{name}' for name in names]
  if (balancer := config.get('balancing.name') or 'static') in BALANCERS:
    options = method.options(BALANCERS[balancer])
    free += [f'balancing.{k}' for k, option in options.items() if option.traced]
  return free


def _replayed(name: str, configs: Mapping[str, Mapping[str, Any]]) -> list[Any]:
  """Returns what replays of one program have in common.

  Args:
    name: The replay.
    configs: Run name -> flat config, of the whole sweep.

  Returns:
    Towers and parts of the run that it replays, in the end, and through how
    many replays; of a run that is not of the sweep its path.
  """
  from esmm_jax.balancing import BALANCERS

  seen = [name]
  while other := _sibling(seen[-1], configs[seen[-1]].get(_OF) or ''):
    if other not in configs or other in seen:
      return [other, len(seen)]
    seen.append(other)
  config = configs[seen[-1]]
  method = BALANCERS.get(config.get('balancing.name') or 'static')
  towers = config.get('balancing.towers') or (method and method.towers)
  return [towers, config.get('balancing.parts') or 'all', len(seen)]


def _sibling(name: str, folder: str) -> str:
  """Resolves a path relative to the run `name`; '' for none or itself."""
  if not folder:
    return ''
  path = os.path.normpath(os.path.join(name, folder))
  return path if path != name else ''

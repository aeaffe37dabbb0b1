"""Points of a sweep -> configs, grouped as they are trained."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import os
from typing import Any

from esmm_jax.types import InputError

from esmm_jax.experiments import load

Change = Callable[[Mapping[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class Plan:
  """The runs of a sweep.

  Attributes:
    table: The results table that they are for.
    points: Run -> point, of the whole sweep.
    configs: Run -> config, of the whole sweep.
    groups: Runs that are trained side by side, of this shard.
    wrong: Run -> why it has no config, of those that have none.
    needs: Run -> those that have to be finished before it.
  """

  table: Any
  points: Mapping[str, Mapping[str, Any]]
  configs: Mapping[str, Any]
  groups: Sequence[Sequence[str]]
  wrong: Mapping[str, Exception] = dataclasses.field(default_factory=dict)
  needs: Mapping[str, list[str]] = dataclasses.field(default_factory=dict)

  @property
  def names(self) -> list[str]:
    """The runs of this shard."""
    return [name for group in self.groups for name in group]


def make(
    table: Any, workdir: str, limit: int, change: Change, shard: str = '0/1'
) -> Plan:
  """Makes the configs of the points of a results table and groups its runs.

  Args:
    table: The results table.
    workdir: Folder of the sweep.
    limit: Most runs that are trained side by side.
    change: Changes the configs, run -> config, for this machine.
    shard: i/n, every n-th group, from the i-th.

  Raises:
    InputError: No point has a config, or see `change` and `replicas`.
  """
  from esmm_jax.protocols import use as protocols
  from esmm_jax.sweeps import points as sweep_points, replicas
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.warm_start.resolve import resolve
  from esmm_jax.workdir.folder import flatten, with_run_section

  points = sweep_points.runs(table.points)
  configs, wrong = _each(lambda point, _: load.point(point), points)
  change(configs)
  configs, more = _each(
      lambda config, name: resolve(
          protocols.resolve(config), run_folder(workdir, name)
      ),
      configs,
  )
  wrong |= more
  if not configs:
    raise next(iter(wrong.values()))
  flat = {
      name: flatten(with_run_section(c.to_dict()))
      for name, c in configs.items()
  }
  groups = replicas.replica_groups(flat, limit)
  # Bundles are divided, not groups: a run may read another one's predictions.
  bundles = _shard(replicas.bundles(groups, flat), shard)
  groups = [names for bundle in bundles for names in bundle]
  needs = {name: replicas.named_runs(name, flat[name]) for name in flat}
  return Plan(table, points, configs, groups, wrong, needs)


def write_table(
    spec: str, plan: Plan, workdir: str, override: Sequence[str]
) -> None:
  """Writes sweep.json, from which the report reads the results table.

  Args:
    spec: File and variant of the table, or the command that makes one.
    plan: The runs.
    workdir: Folder of the sweep.
    override: KEY=VALUE, which changed the configs of the points.
  """
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps import names, table_json

  about = {'sweep': spec, **table_json.dump(plan.table), **names.about()}
  # With them the table knows the configs of the points.
  about['override'] = list(override)
  write_json(os.path.join(workdir, table_json.NAME), about)


def _each(
    make: Callable[..., Any], values: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, InputError]]:
  """Makes something of each run; returns it, and errors of the other runs."""
  results, errors = {}, {}
  for name, value in values.items():
    try:
      results[name] = make(value, name)
    except InputError as e:
      errors[name] = e
  return results, errors


def _shard(bundles: list[Any], text: str) -> list[Any]:
  index, _, count = text.partition('/')
  if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
    raise InputError(
        f'--shard={text} is not i/n with i from 0 to n - 1, such as 0/4.'
    )
  return bundles[int(index) :: int(count)]

"""Runs the points of a sweep, those not finished.

  python -m experiments.sweep --sweep=configs/tables/architectures.py:smoke \
    --workdir=runs/smoke
  python -m experiments.table --sweep=configs/tables/architectures.py:smoke \
    --workdir=runs/smoke

Each run gets the folder WORKDIR/runs/NAME, named by its point. The same command
again resumes where it stopped, in the middle of a run too. A run whose loss is
not finite or whose input is wrong is noted in WORKDIR/failed/NAME.json, the
others are trained, and the exit code is not 0; the same command tries it again.
Settings that cannot be are found before the first run is trained, and so is a
column that no run can fill, which ends the sweep.

--override=KEY=VALUE, any number of times, changes a key in every config that
has it, and no name. It is for the paths of this machine, as in
--override=dataset.raw_dir=KuaiRand-Pure. Keys of the section `run` may change
too: save_predictions=True makes the predictions of finished runs. Any other
change makes another run, and finished runs refuse it; put it into the table's
file.

Points that share data order and shapes (loss weights, learning rates, initial
keys, sampling rates; the rule is in `esmm_jax/sweeps/replicas.py`) are trained
side by side, as replicas of one program, up to --replicas of them. Until they
are finished their checkpoints are in WORKDIR/groups. Runs of one program, such
as seeds, are compiled once: compiled programs are cached in WORKDIR/compiled.

--shard=i/n, i from 0 to n - 1, runs every n-th group of points, so that n
machines with a common WORKDIR share a sweep; groups that need each other's
predictions count as one. Two processes may have the same shard, or none: each
trains what no other one is at, and waits at the end for what is left.
"""

from collections.abc import Callable, Mapping
import os
import shlex
from typing import Any

from absl import flags
from esmm_jax import streams
from esmm_jax.plugins import flags as plugin_flags
from esmm_jax.types import InputError

from experiments import cli, console, file_flags, load, sweep_checks
from experiments import sweep_runs

cli.define_data_dir()
_SWEEP = file_flags.define_path(
    'sweep', None, 'Table file and variant: configs/tables/NAME.py:smoke.'
)
_WORKDIR = file_flags.define_path('workdir', None, 'Gets the runs.')
_SHARD = flags.DEFINE_string('shard', '0/1', 'i/n: every n-th group, from i.')
_REPLICAS = flags.DEFINE_integer(
    'replicas', 16, 'Most points that are trained side by side; 1: each alone.'
)
_OVERRIDE = flags.DEFINE_multi_string(
    'override', [], 'KEY=VALUE, in every config that has the key; repeatable.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Only lists the runs.')
flags.adopt_module_key_flags(cli)


def main() -> None:
  spec = cli.require('sweep', 'configs/tables/architectures.py:smoke')
  workdir = cli.require('workdir', 'runs/architectures')
  from esmm_jax import ownership

  ownership.check(workdir, ownership.SWEEP)
  plan = _plan(spec, workdir)
  if _DRY_RUN.value:
    streams.only_prints()
    _list(plan, workdir)
    return
  refused = sweep_checks.check(plan, workdir, flags.FLAGS.data_dir)
  ownership.claim(workdir, ownership.SWEEP)
  cli.make_folder('workdir', workdir, 'failed')
  _write_sweep(spec, plan, workdir)
  command = _command(spec, workdir)
  failed = sweep_runs.train(
      plan, workdir, command, flags.FLAGS.data_dir, refused
  )
  num, total = len(plan.names), len(plan.points)
  _fail(failed, num + len(plan.wrong), workdir)
  shard = '' if num == total else f' (shard {_SHARD.value})'
  console.say(
      f'Done: {num} of {total} runs{shard}. The table: python -m'
      f' experiments.table --sweep={spec} --workdir={workdir}'
  )


def _plan(spec: str, workdir: str) -> sweep_runs.Plan:
  """Loads the table file and groups its runs."""
  from esmm_jax.protocols import use as protocols
  from esmm_jax.sweeps import points as sweep_points, replicas
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.warm_start.resolve import resolve
  from esmm_jax.workdir.folder import flatten, with_run_section

  plugin_flags.from_overrides(_OVERRIDE.value)
  table = load.table(spec)
  points = sweep_points.runs(table.points)
  configs, wrong = _each(lambda point, _: load.point(point), points)
  load.override(configs, _OVERRIDE.value)
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
  groups = replicas.replica_groups(flat, _REPLICAS.value)
  # Bundles are divided, not groups: a run may read another one's predictions.
  bundles = _shard(replicas.bundles(groups, flat), _SHARD.value)
  groups = [names for bundle in bundles for names in bundle]
  needs = {name: replicas.named_runs(name, flat[name]) for name in flat}
  return sweep_runs.Plan(table, points, configs, groups, wrong, needs)


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


def _write_sweep(spec: str, plan: sweep_runs.Plan, workdir: str) -> None:
  """Writes sweep.json, from which the report reads the results table."""
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps import table_json

  about = {'sweep': spec, **table_json.dump(plan.table)}
  # With them the table knows the configs of the points.
  about['override'] = _OVERRIDE.value
  write_json(os.path.join(workdir, 'sweep.json'), about)


def _fail(failed: Mapping[str, Exception], total: int, workdir: str) -> None:
  """Raises an error that names the runs that failed, if there are any."""
  if not failed:
    return
  names = '; '.join(f'{n}: {str(e).rstrip(".")}' for n, e in failed.items())
  message = (
      f'{len(failed)} of {total} runs failed: {names}. The others are finished;'
      f' see {os.path.join(workdir, "failed")}.'
  )
  if all(isinstance(e, FloatingPointError) for e in failed.values()):
    raise FloatingPointError(message)
  raise InputError(message)


def _shard(bundles: list[Any], text: str) -> list[Any]:
  index, _, count = text.partition('/')
  if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
    raise InputError(
        f'--shard={text} is not i/n with i from 0 to n - 1, such as 0/4.'
    )
  return bundles[int(index) :: int(count)]


def _list(plan: sweep_runs.Plan, workdir: str) -> None:
  """Prints each run's state, name and point."""
  from esmm_jax.sweeps.saved_runs import find_run, state

  count = 0
  for name in plan.names:
    run = find_run(workdir, name)
    count += run.results is not None
    text = ' '.join(f'{k}={v}' for k, v in plan.points[name].items())
    console.say(f'{state(run):8}  {name}  {text}')
    if run.problem:
      streams.warn(run.problem)
  print(f'{count} of {len(plan.names)} runs are finished.')


def _command(spec: str, workdir: str) -> str:
  """Returns this sweep's command, without paths of this machine."""
  overrides = [text.partition('=') for text in _OVERRIDE.value]
  return shlex.join([
      *'python -m experiments.sweep'.split(),
      f'--sweep={cli.local(spec)}',
      f'--workdir={cli.local(workdir)}',
      *(f'--override={key}={cli.local(value)}' for key, _, value in overrides),
  ])


if __name__ == '__main__':
  cli.run(main)

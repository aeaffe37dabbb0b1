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

import shlex
from typing import Any

from absl import flags
from esmm_jax import streams
from esmm_jax.engines import slot_choice
from esmm_jax.entry import commands
from esmm_jax.plugins import flags as plugin_flags

from esmm_jax.experiments import cli, console, file_flags, load
from esmm_jax.experiments.sweeping import checks, failures, plans, runs
from esmm_jax.experiments.sweeping import several

cli.define_data_dir()
file_flags.define_engine(
    'prepares data, and trains groups of runs (see --slots)',
    'Processes that prepare a log of your own; the data are the same to the'
    ' byte. Of --engine=ray the groups that are trained at once, too. Default:'
    ' what there are cores for, and resources.',
)
file_flags.define_tracking()
_SWEEP = file_flags.define_path(
    'sweep',
    None,
    'Table and variant: a name, as architectures:smoke, or a file.',
)
_WORKDIR = file_flags.define_path('workdir', None, 'Gets the runs.')
_SHARD = flags.DEFINE_string('shard', '0/1', 'i/n: every n-th group, from i.')
_REPLICAS = flags.DEFINE_integer(
    'replicas', 16, 'Most points that are trained side by side; 1: each alone.'
)
_SLOTS = flags.DEFINE_integer(
    'slots',
    None,
    'Groups that are trained at once on this machine, each by a process that'
    ' has a GPU, or a share of the cores. Default: 1.',
    lower_bound=1,
    upper_bound=1024,
)
_RESOURCES = flags.DEFINE_string(
    'resources',
    '',
    'Of --engine=ray: what each group needs, as GPU=1,CPU=4. Default: GPU=1'
    ' where there are any, else CPU=1.',
)
_OVERRIDE = flags.DEFINE_multi_string(
    'override', [], 'KEY=VALUE, in every config that has the key; repeatable.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Only lists the runs.')
flags.adopt_module_key_flags(cli)


def main() -> None:
  spec = cli.require('sweep', 'configs/tables/architectures.py:smoke')
  workdir = cli.require('workdir', 'runs/architectures')
  from esmm_jax.sweeps import names

  with names.as_in(workdir), file_flags.tracking(workdir):
    _run(spec, workdir)


def _run(spec: str, workdir: str) -> None:
  """Trains the runs of a sweep."""
  from esmm_jax import ownership
  from esmm_jax.workdir.mirrors import choice as mirrors

  mirrors.refuse_remote(workdir)
  _ask().check()
  ownership.check(workdir, ownership.SWEEP)
  plan = _plan(spec, workdir)
  if _DRY_RUN.value:
    streams.only_prints()
    _list(plan, workdir)
    return
  refused = checks.check(plan, workdir, flags.FLAGS.data_dir)
  ownership.claim(workdir, ownership.SWEEP)
  cli.make_folder('workdir', workdir, 'failed')
  plans.write_table(spec, plan, workdir, _OVERRIDE.value)
  command = _command(spec, workdir)
  failed = _train(plan, workdir, command, refused)
  num, total = len(plan.names), len(plan.points)
  failures.require_none(failed, num + len(plan.wrong), workdir)
  shard = '' if num == total else f' (shard {_SHARD.value})'
  console.say(
      f'Done: {num} of {total} runs{shard}. The table:'
      f' {commands.command("table")} --sweep={spec} --workdir={workdir}'
  )


def _train(plan: plans.Plan, workdir: str, command: str, refused: Any) -> Any:
  """Trains the runs here, or in slots; returns run -> its error."""
  data_dir, ask = flags.FLAGS.data_dir, _ask()
  if not ask.several:
    with file_flags.engine():
      return runs.train(plan, workdir, command, data_dir, refused)
  work, failed = runs.begin(plan, workdir, command, data_dir, refused)
  with file_flags.engine():
    work = several.prepare(work, failed)
  return several.train(work, failed, ask)


def _ask() -> slot_choice.Ask:
  """Returns what the flags say of slots."""
  values = flags.FLAGS
  return slot_choice.Ask(
      values.engine,
      _SLOTS.value,
      values.workers,
      _RESOURCES.value,
      values.ray_address,
  )


def _plan(spec: str, workdir: str) -> plans.Plan:
  """Loads the table file and groups its runs."""
  texts = _OVERRIDE.value
  plugin_flags.from_overrides(texts)
  change = lambda configs: load.override(configs, texts)
  table = load.table(spec)
  return plans.make(table, workdir, _REPLICAS.value, change, _SHARD.value)


def _list(plan: plans.Plan, workdir: str) -> None:
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
      *commands.command('sweep').split(),
      f'--sweep={commands.local(spec)}',
      f'--workdir={commands.local(workdir)}',
      *(
          f'--override={key}={commands.local(value)}'
          for key, _, value in overrides
      ),
  ])


if __name__ == '__main__':
  cli.run(main)

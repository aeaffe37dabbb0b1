"""Trains and evaluates one run.

  python -m experiments.train --config=configs/esmm.py:smoke --workdir=runs/s

--config=FILE[:variant] names the config, --config.key=value changes a key of
it. --init_from=RUN begins with the parameters of a finished run, on today's log
say; --refit_of=RUN trains a finished run anew on its rows of training and of
validation, for the steps that it selected, with its config: only --config and
the keys of the machine are set (docs/after_the_first_run.md). The run's folder
gets config.json, metrics.jsonl, results.json, checkpoints/ and tensorboard/.
The same command again resumes where it stopped. --engine=ray or --engine=local
with --num_processes=N trains with N processes (docs/cluster.md). --track=mlflow
or --track=wandb has a tracker follow the run (docs/tracking.md).
"""

import os
import shlex
import sys
import traceback
from typing import Any

from absl import flags
from esmm_jax import paths, streams, system_errors
from esmm_jax.engines.together import child
from esmm_jax.entry import commands
from esmm_jax.types import InputError
from esmm_jax.workdir import stopping

from esmm_jax.experiments import cli, console, file_flags, load

cli.define_config()
cli.define_data_dir()
file_flags.define_engine()
file_flags.define_compilation_cache()
file_flags.define_tracking()
_WORKDIR = file_flags.define_path(
    'workdir', None, 'Folder of the run; the same command again resumes it.'
)
_INIT_FROM = file_flags.define_path(
    'init_from', None, 'Folder of a finished run whose parameters and moments'
    ' this one begins with; the same as --config.init_from.'
)
_REFIT_OF = file_flags.define_path(
    'refit_of', None, 'Folder of a finished run that is trained anew, on its'
    ' rows of training and validation; the same as --config.refit_of.'
)
_MIRROR = flags.DEFINE_string(
    'mirror', '', 'URL, as s3://bucket/runs/esmm, to which the run is copied at'
    ' each checkpoint. An empty --workdir is filled from it.'
)
_COORDINATOR = flags.DEFINE_string(
    'coordinator', '', 'To train with several processes: HOST:PORT of the first'
    " one, or 'auto' on a cluster that sets it (docs/scale.md)."
)
_NUM_PROCESSES = flags.DEFINE_integer(
    'num_processes',
    None,
    'Processes that train the run: with --coordinator this is one of them, with'
    ' --engine set it starts all of them.',
    lower_bound=1,
)
_PROCESS_ID = flags.DEFINE_integer(
    'process_id', None, 'Number of this process, from 0.', lower_bound=0
)
_PEER_TIMEOUT = flags.DEFINE_float(
    'peer_timeout', 60.0, 'Seconds without a sign of life after which a process'
    ' is given up, and the others end with exit code 6.', lower_bound=1.0
)
_MAX_FAILURES = flags.DEFINE_integer(
    'max_failures', 3, 'Of processes that --engine starts: times that all start'
    ' again at the last checkpoint, when one is lost; -1: always.',
    lower_bound=-1,
)
_RESOURCES = flags.DEFINE_string(
    'resources', '', 'Of processes that --engine=ray starts: needs of each, as'
    ' GPU=1,CPU=4; default: its share of the processors.'
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.workdir.mirrors import choice as mirrors

  config = cli.require('config', 'configs/esmm.py:smoke')
  workdir = cli.require('workdir', 'runs/esmm')
  mirrors.refuse_remote(workdir)
  for flag in (_INIT_FROM, _REFIT_OF):
    _set_run(config, flag.name, flag.value)
  if config.get('refit_of'):
    keys = cli.set_keys()
    if _INIT_FROM.value:
      keys['init_from'] = _INIT_FROM.value
    config = load.refitted(config, workdir, keys)
  starts = _starts_processes()
  if _COORDINATOR.value:
    return _as_one_of_many(config, workdir)
  if starts:
    return _start_processes(config, workdir)
  mirror = mirrors.using(_MIRROR.value)
  with file_flags.kept_programs(), file_flags.engine(), mirror:
    with file_flags.tracking():
      _train(config, workdir)


def _starts_processes() -> bool:
  """Returns whether this process starts those that train.

  Raises:
    InputError: Flags contradict each other.
  """
  engine, num = flags.FLAGS['engine'], _NUM_PROCESSES.value
  if _COORDINATOR.value:
    if engine.value == 'ray' and num is not None:
      raise InputError(
          f'--coordinator={_COORDINATOR.value} is of a process that somebody'
          f' starts, and with --engine=ray and --num_processes={num} Ray starts'
          ' them; leave --coordinator or --engine out.'
      )
  elif _PROCESS_ID.value is not None or (num and not engine.present):
    raise InputError(
        '--num_processes and --process_id need --coordinator; or --engine=ray'
        ' or --engine=local with --num_processes, which starts the processes.'
    )
  starts = not _COORDINATOR.value and (num or 1) > 1
  for flag in (_MAX_FAILURES, _RESOURCES):
    if flags.FLAGS[flag.name].present and not starts:
      raise InputError(
          f'--{flag.name}={flag.value} is of processes that are started by'
          ' --engine=ray or --engine=local and --num_processes of 2 or more.'
      )
  return starts


def _start_processes(config: Any, workdir: str) -> None:
  """Starts the processes that train, and ends with their exit code."""
  from esmm_jax.engines.together import attempts, starting
  from esmm_jax.training.parts import DEFAULT_DATA_DIR

  values, num = flags.FLAGS, _NUM_PROCESSES.value
  request = starting.Request(
      values.engine,
      num,
      _RESOURCES.value,
      values.ray_address,
      values.workers,
      paths.expand(values.data_dir or DEFAULT_DATA_DIR),
  )
  with starting.opened(request) as start:
    _prepare(config, workdir)
    program = starting.program(
        'esmm_jax.experiments.train', cli.typed(), num
    )
    with stopping.asked() as asked:
      code = attempts.run(
          lambda: start(program), num, _MAX_FAILURES.value, asked
      )
      if code:
        sys.exit(code)


def _prepare(config: Any, workdir: str) -> None:
  """Prepares the data; not through JAX, whose devices the processes need."""
  from esmm_jax.plugins import loading as plugins
  from esmm_jax.protocols import use as protocols
  from esmm_jax.training import parts
  from esmm_jax.warm_start.resolve import resolve

  if os.path.exists(os.path.join(workdir, 'results.json')):
    return
  plugins.use(config)
  dataset = resolve(protocols.resolve(config), workdir).dataset
  builder = parts.data_builder(dataset, flags.FLAGS.data_dir)
  if not builder.info.splits:
    with file_flags.engine():
      builder.prepare()


def _set_run(config: Any, key: str, run: str | None) -> None:
  """Sets the key of the config that names another run, as its flag does."""
  if run is None:
    return
  if config.get(key) not in (None, '', run):
    raise cli.UsageError(
        f'--{key}={run} and {key}={config[key]} of the config name two runs;'
        ' set one.'
    )
  load.set_key(config, key, run)


def _as_one_of_many(config: Any, workdir: str) -> None:
  """Trains together with other processes."""
  from esmm_jax.parallel import heartbeats, processes
  from esmm_jax.workdir.mirrors import choice as mirrors

  processes.join(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  try:
    watching = heartbeats.watching(workdir, _PEER_TIMEOUT.value)
    with watching, file_flags.engine(), mirrors.using(_MIRROR.value):
      with file_flags.tracking():
        _train(config, workdir, processes.is_first())
  except cli.EXPECTED:
    raise
  except Exception as e:
    if processes.is_connection_error(e):
      reason = str(e).splitlines()[0]
      processes.lost(f'the connection with another one was lost ({reason}).')
    traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)  # JAX would wait for the others.


def _train(config: Any, workdir: str, first: bool = True) -> None:
  from esmm_jax.training.loop import train_replicas

  is_begun = os.path.exists(os.path.join(workdir, 'config.json'))
  if not is_begun and not config.get('refit_of'):  # Its run was asked.
    _refuse_idle_keys(config)
  before = _written(workdir)
  is_this_run = True
  try:
    (results,) = train_replicas(
        [config], [workdir], flags.FLAGS.data_dir, check_idle=False
    )
    if isinstance(results, FloatingPointError):
      raise results
  except InputError:
    is_this_run = False  # The folder may be another run's.
    raise
  finally:
    is_new = before is None or before != _written(workdir)
    if is_this_run and first and is_new:
      try:
        _note_origin(workdir)
      except OSError as e:  # A by-product, also of what failed before.
        streams.warn(system_errors.line(e))
  if not first:
    return
  if not is_new:
    console.say(f'This run was finished before; {workdir}/results.json has:')
  console.print_results({os.path.basename(os.path.normpath(workdir)): results})
  folder = shlex.quote(workdir)
  console.say(f'Next: {commands.command("report")} --workdir={folder}')


def _written(workdir: str) -> tuple[int, int] | None:
  """Returns what is other once results.json is written; None without it."""
  try:
    stat = os.stat(os.path.join(workdir, 'results.json'))
    return stat.st_ino, stat.st_mtime_ns
  except OSError:
    return None


def _refuse_idle_keys(config: Any) -> None:
  """Refuses a key that was set, here or in the file, and has no effect."""
  from esmm_jax import no_effect
  from esmm_jax.protocols import use as protocols
  from esmm_jax.workdir import folder

  file = load.config(flags.FLAGS['config'].config_filename)
  flat, of_file = (
      folder.flatten(folder.record(tree))
      for tree in (protocols.resolve(config), file)
  )
  no_effect.check(flat, of_file)


def _note_origin(workdir: str) -> None:
  """Notes the command, commit, device and data of a run, for its report."""
  from esmm_jax.json_files import read_json
  from esmm_jax.workdir import provenance

  manifest = read_json(os.path.join(workdir, 'manifest.json'))
  if manifest is None:
    return
  typed = child.command() or cli.typed()
  entry = provenance.origin(cli.command(typed))
  provenance.note_origin(workdir, {**entry, 'data': manifest['data']})


if __name__ == '__main__':
  cli.run(main)

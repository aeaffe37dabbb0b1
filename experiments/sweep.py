"""Runs the points of a sweep, those not finished.

  python -m experiments.sweep --sweep=configs/tables/architectures.py:smoke \
    --workdir=runs/smoke
  python -m experiments.table --sweep=configs/tables/architectures.py:smoke \
    --workdir=runs/smoke

Each run gets the folder WORKDIR/runs/NAME, named by its point. The same command
again goes on where it stopped, in the middle of a run too. A run whose loss is
not finite or whose input is wrong is noted in WORKDIR/failed/NAME.json, the
others go on, and the exit code is not 0; the same command tries it again.

--override=KEY=VALUE, any number of times, changes a key in every config that
has it, and no name. It says where data lies on this machine:
--override=dataset.raw_dir=KuaiRand-Pure. Any other change makes another run,
and finished runs refuse it; put it into the table's file.

Points that share data order and shapes (loss weights, learning rates, initial
keys, sampling rates; the rule is in `esmm_jax/sweeps/replicas.py`) are trained
side by
side, as replicas of one program, up to --replicas of them. Until they are
finished their checkpoints lie in WORKDIR/groups. Runs of one program, seeds
say, are compiled once: compiled programs are kept in WORKDIR/compiled.

--shard=i/n, i from 0 to n - 1, runs every n-th group of points, so that n
machines with a common WORKDIR share a sweep; groups that need each other's
predictions count as one. Two processes must not have the same shard.
"""

from collections.abc import Mapping, Sequence
import contextlib
import gc
import io
import os
import shlex
import sys
import time
from typing import Any

from absl import flags

from experiments import cli, load

cli.define_data_dir()
_SWEEP = flags.DEFINE_string(
    'sweep', None, 'Table file and variant: configs/tables/NAME.py:smoke.'
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Gets the runs.')
_SHARD = flags.DEFINE_string('shard', '0/1', 'i/n: every n-th group, from i.')
_REPLICAS = flags.DEFINE_integer(
    'replicas', 16, 'Most points that are trained side by side; 1: each alone.'
)
_OVERRIDE = flags.DEFINE_multi_string(
    'override', [], 'KEY=VALUE, in every config that has the key; repeatable.'
)
_DRY_RUN = flags.DEFINE_bool('dry_run', False, 'Lists the runs and stops.')
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.json_files import write_json
  from esmm_jax.workdir import provenance
  from esmm_jax.sweeps import points as sweep, replicas
  from esmm_jax.protocols import use as protocols
  from esmm_jax.sweeps.results import run_folder
  from esmm_jax.types import InputError
  from esmm_jax.workdir.folder import flatten

  spec = cli.require('sweep', 'configs/tables/architectures.py:smoke')
  table = load.table(spec)
  points = sweep.runs(table.points)
  configs = {name: load.point(point) for name, point in points.items()}
  load.override(configs, _OVERRIDE.value)
  configs = {name: protocols.resolve(c) for name, c in configs.items()}
  flat = {name: flatten(c.to_dict()) for name, c in configs.items()}
  groups = replicas.replica_groups(flat, _REPLICAS.value)
  groups = _shard(replicas.bundles(groups, flat), _SHARD.value)
  groups = [names for bundle in groups for names in bundle]
  mine = [name for names in groups for name in names]
  workdir = cli.require('workdir', 'runs/architectures')
  if _DRY_RUN.value:
    _list(mine, points, workdir)
    return
  try:
    os.makedirs(os.path.join(workdir, 'failed'), exist_ok=True)
  except OSError as e:
    raise InputError(
        f'--workdir={workdir}: {e.strerror}. Name a folder that can be written.'
    ) from e
  named = [{'name': sweep.run_name(p), 'point': p} for p in table.points]
  write_json(
      os.path.join(workdir, 'sweep.json'),
      {'sweep': spec, 'title': table.title, 'points': named},
  )
  origin = {
      'command': _command(spec, workdir),
      'commit': provenance.commit(),
      'device': provenance.device(),
  }
  _keep_compiled(os.path.join(workdir, 'compiled'))
  to_do, failed = set(), {}
  for name in mine:
    try:
      if not load.finished(configs[name], run_folder(workdir, name)):
        to_do.add(name)
    except InputError as e:
      failed[name] = e
      _note(workdir, name, e, points[name])
  overall = _Overall(len(mine), len(mine) - len(to_do))
  with contextlib.closing(overall):
    for group in groups:
      names = [name for name in group if name in to_do]
      if not names:
        continue
      overall.begin(names)
      with overall.quiet():
        ends = _train(names, configs, workdir, origin)
      for name in names:
        if ends[name]:
          failed[name] = ends[name]
        _note(workdir, name, ends[name], points[name])
      overall.end(ends)
  _clear(os.path.join(workdir, 'groups'))
  _fail(failed, len(mine), workdir)
  shard = '' if len(mine) == len(points) else f' (shard {_SHARD.value})'
  print(
      f'Done: {len(mine)} of {len(points)} runs{shard}. The table: python -m'
      f' experiments.table --sweep={spec} --workdir={workdir}'
  )


def _keep_compiled(folder: str) -> None:
  """Lets JAX read compiled programs from a folder, and write them there."""
  import jax

  jax.config.update('jax_compilation_cache_dir', os.path.abspath(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def _train(
    names: list[str],
    configs: Mapping[str, Any],
    workdir: str,
    origin: Mapping[str, str],
) -> dict[str, Exception | None]:
  """Runs as replicas; frees what JAX holds of them.

  Returns:
    Run -> why it failed, or None.
  """
  from esmm_jax.training import parts
  from esmm_jax.workdir import provenance
  from esmm_jax.sweeps import replicas
  from esmm_jax.json_files import read_json, write_json
  from esmm_jax.sweeps.results import run_folder
  from esmm_jax.training.loop import train_replicas
  from esmm_jax.types import InputError
  import jax

  data_dir = flags.FLAGS.data_dir
  home = None
  if len(names) > 1:
    home = os.path.join(workdir, 'groups', replicas.group_name(names))
  folders = [run_folder(workdir, name) for name in names]
  mine = [configs[name] for name in names]
  try:
    data = provenance.data(parts.dataset(mine[0].dataset, data_dir))
    for folder in folders:
      path = os.path.join(folder, 'origin.json')
      entries = read_json(path) or []
      entry = {**origin, 'data': data}
      if not entries or entries[-1] != entry:
        os.makedirs(folder, exist_ok=True)
        write_json(path, [*entries, entry])
    ends = train_replicas(mine, folders, data_dir, home)
    return {
        name: end if isinstance(end, Exception) else None
        for name, end in zip(names, ends)
    }
  except InputError as e:
    if home and not os.path.isdir(home):
      # Not trained yet: which of them is it?
      alone = [_train([name], configs, workdir, origin) for name in names]
      return {name: end for one in alone for name, end in one.items()}
    return dict.fromkeys(names, e)
  finally:
    jax.clear_caches()
    gc.collect()


def _clear(folder: str) -> None:
  """Removes a folder that is empty."""
  with contextlib.suppress(OSError):
    os.rmdir(folder)


class _Overall:
  """The bar of the whole sweep, or a line a run where there is no terminal."""

  def __init__(self, total: int, finished: int):
    from tqdm import tqdm

    self._terminal = sys.stderr.isatty()
    self._bar = tqdm(
        total=total,
        initial=finished,
        desc='sweep',
        unit='run',
        # All runs so far say how long the rest takes.
        smoothing=0,
        disable=not self._terminal,
        dynamic_ncols=True,
    )
    self._total, self._finished, self._done = total, finished, 0
    self._start = self._begun = time.monotonic()

  def begin(self, names: Sequence[str]) -> None:
    self._begun = time.monotonic()
    more = f' and {len(names) - 1} beside it' if len(names) > 1 else ''
    self._bar.set_postfix_str(names[0] + more)

  @contextlib.contextmanager
  def quiet(self):
    """Without a terminal, what a run prints is left out."""
    if self._terminal:
      yield
    else:
      with contextlib.redirect_stdout(io.StringIO()):
        yield

  def end(self, ends: Mapping[str, Exception | None]) -> None:
    """Counts the runs of a group and prints their lines."""
    from tqdm import tqdm

    now = time.monotonic()
    took = tqdm.format_interval(now - self._begun)
    first = self._finished + self._done + 1
    self._done += len(ends)
    elapsed = now - self._start
    rest = self._total - self._finished - self._done
    left = tqdm.format_interval(elapsed / self._done * rest)
    elapsed = tqdm.format_interval(elapsed)
    beside = f' ({len(ends)} side by side)' if len(ends) > 1 else ''
    for place, (name, error) in enumerate(ends.items(), first):
      what = f'failed after {took}: {error}' if error else took
      line = f'[{place}/{self._total}] {name}: {what}{beside}'
      if self._terminal:
        self._bar.update()
        self._bar.write(line)
      else:
        print(f'{line} (sweep {elapsed}, about {left} left)', flush=True)

  def close(self) -> None:
    self._bar.close()


def _note(
    workdir: str, name: str, error: Exception | None, point: Mapping[str, Any]
) -> None:
  """Writes why a run failed, or takes away what was written before."""
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps.results import failure_file

  path = failure_file(workdir, name)
  if error is not None:
    kind, message = type(error).__name__, str(error)
    write_json(path, {'error': kind, 'message': message, 'point': point})
  elif os.path.exists(path):
    os.remove(path)


def _fail(failed: Mapping[str, Exception], total: int, workdir: str) -> None:
  """Ends with the names of the runs that failed, if there are any."""
  from esmm_jax.types import InputError

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
  from esmm_jax.types import InputError

  index, _, count = text.partition('/')
  if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
    raise InputError(
        f'--shard={text} is not i/n with i from 0 to n - 1; 0/4, say.'
    )
  return bundles[int(index) :: int(count)]


def _list(
    names: list[str], points: Mapping[str, Mapping[str, Any]], workdir: str
) -> None:
  """Prints each run's state, name and point."""
  from esmm_jax.sweeps.results import find_run, state

  count = 0
  for name in names:
    run = find_run(workdir, name)
    count += run.results is not None
    text = ' '.join(f'{k}={v}' for k, v in points[name].items())
    print(f'{state(run):8}  {name}  {text}')
  print(f'{count} of {len(names)} runs are finished.')


def _command(spec: str, workdir: str) -> str:
  """This sweep's command, without what is only of this machine."""
  overrides = [text.partition('=') for text in _OVERRIDE.value]
  return shlex.join([
      *'python -m experiments.sweep'.split(),
      f'--sweep={_local(spec)}',
      f'--workdir={_local(workdir)}',
      *(f'--override={key}={_local(value)}' for key, _, value in overrides),
  ])


def _local(path: str) -> str:
  return os.path.basename(os.path.normpath(path)) if '/' == path[:1] else path


if __name__ == '__main__':
  cli.run(main)

"""Training of the runs of a sweep, for `experiments.sweep`."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import gc
import os
import time
from typing import Any

from esmm_jax import streams

from experiments import load


@dataclasses.dataclass(frozen=True)
class Plan:
  """The runs of a sweep.

  Attributes:
    table: The results table that they are for.
    points: Run -> point, of the whole sweep.
    configs: Run -> config, of the whole sweep.
    groups: Runs that are trained side by side, of this shard.
  """

  table: Any
  points: Mapping[str, Mapping[str, Any]]
  configs: Mapping[str, Any]
  groups: Sequence[Sequence[str]]

  @property
  def names(self) -> list[str]:
    """The runs of this shard."""
    return [name for group in self.groups for name in group]


def train(
    plan: Plan,
    workdir: str,
    command: str,
    data_dir: str | None,
    refused: Mapping[str, Exception],
) -> dict[str, Exception]:
  """Trains the runs that are not finished, group by group.

  Args:
    plan: The runs.
    workdir: Folder of the sweep.
    command: Noted in each run's origin.json.
    data_dir: Folder of prepared data; None: the default one.
    refused: Run -> why it cannot begin, of those that cannot.

  Returns:
    Run -> its error, of those that failed.
  """
  from esmm_jax.workdir import provenance

  origin = provenance.origin(command)
  _cache_compiled(os.path.join(workdir, 'compiled'))
  to_do, failed = _unfinished(plan, workdir, refused)
  num = len(plan.names)
  overall = _Overall(num, num - len(to_do))
  with contextlib.closing(overall):
    for names in _side_by_side(plan, to_do, workdir):
      overall.begin(names)
      with overall.quiet():
        ends = _train(names, plan.configs, workdir, origin, data_dir)
      for name in names:
        if ends[name]:
          failed[name] = ends[name]
        _note(workdir, name, ends[name], plan.points[name])
      overall.end(ends)
  with contextlib.suppress(OSError):  # It is not empty.
    os.rmdir(os.path.join(workdir, 'groups'))
  return failed


def _unfinished(
    plan: Plan, workdir: str, refused: Mapping[str, Exception]
) -> tuple[set[str], dict[str, Exception]]:
  """Returns the runs to train, and the errors of those that cannot be."""
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.types import InputError

  to_do, failed = set(), {}
  for name in plan.names:
    try:
      if name in refused:
        raise refused[name]
      if not load.finished(plan.configs[name], run_folder(workdir, name)):
        to_do.add(name)
    except InputError as e:
      failed[name] = e
      _note(workdir, name, e, plan.points[name])
      streams.warn(f'{name} is not trained: {e}')
  return to_do, failed


def _side_by_side(
    plan: Plan, to_do: set[str], workdir: str
) -> Iterator[list[str]]:
  """Yields the runs that are trained together.

  A run with results lacks only its predictions. It resumes from its own last
  checkpoint, which the checkpoint of a group would not know, so it is alone.
  Where that checkpoint is damaged, all of its group are trained again: alone
  its sums would be added in another order.
  """
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.workdir import ends

  for group in plan.groups:
    names = [name for name in group if name in to_do]
    results = {n: ends.read_results(run_folder(workdir, n)) for n in names}
    trained = [name for name in names if results[name] is not None]
    lost = [
        name
        for name in trained
        if 1 < results[name].get('replicas', 1) == len(group)
        and not ends.is_sound(run_folder(workdir, name), results[name])
    ]
    if lost:
      streams.warn(
          f'The last checkpoint of {", ".join(lost)} is damaged; the'
          f' {len(group)} runs that were trained side by side are trained again.'
      )
      yield list(group)
      continue
    yield from ([name] for name in trained)
    if rest := [name for name in names if name not in trained]:
      yield rest


def _cache_compiled(folder: str) -> None:
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
    data_dir: str | None,
) -> dict[str, Exception | None]:
  """Trains runs as replicas and frees the memory that JAX holds of them.

  Returns:
    Run -> its error, or None.
  """
  from esmm_jax import ownership
  from esmm_jax.training import parts
  from esmm_jax.workdir import provenance
  from esmm_jax.sweeps import replicas
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.training.loop import train_replicas
  from esmm_jax.types import InputError
  import jax

  home = None
  if len(names) > 1:
    home = os.path.join(workdir, 'groups', replicas.group_name(names))
  folders = [run_folder(workdir, name) for name in names]
  trees = [configs[name] for name in names]
  try:
    data = provenance.data(parts.dataset(trees[0].dataset, data_dir))
    for folder in folders:
      ownership.claim(folder, ownership.RUN, 'run')
      provenance.note_origin(folder, {**origin, 'data': data})
    ends = train_replicas(trees, folders, data_dir, home)
    return {
        name: end if isinstance(end, Exception) else None
        for name, end in zip(names, ends)
    }
  except InputError as e:
    if home and not os.path.isdir(home):
      # Training has not begun: one of them is refused, the others need not be.
      alone = [
          _train([name], configs, workdir, origin, data_dir) for name in names
      ]
      return {name: end for one in alone for name, end in one.items()}
    return dict.fromkeys(names, e)
  finally:
    jax.clear_caches()
    gc.collect()


class _Overall:
  """Shows the whole sweep's progress: a bar, or a line a run in a log file."""

  def __init__(self, total: int, finished: int):
    self._terminal = streams.terminal()
    self._bar = streams.bar(
        total=total,
        initial=finished,
        desc='sweep',
        unit='run',
        # The rest is estimated from all runs so far.
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
    """Without a terminal, suppresses the lines of a run but its warnings."""
    with streams.quiet(not self._terminal):
      yield

  def end(self, ends: Mapping[str, Exception | None]) -> None:
    """Counts the runs of a group and prints their lines."""
    from esmm_jax.printable import in_one_line
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
    for number, (name, error) in enumerate(ends.items(), first):
      end = f'failed after {took}: {error}' if error else took
      line = in_one_line(f'[{number}/{self._total}] {name}: {end}{beside}')
      if self._terminal:
        self._bar.update()
        streams.say(line)
      else:
        streams.say(f'{line} (sweep {elapsed}, about {left} left)')

  def close(self) -> None:
    self._bar.close()


def _note(
    workdir: str, name: str, error: Exception | None, point: Mapping[str, Any]
) -> None:
  """Writes the error of a run, or removes that of an earlier try."""
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps.saved_runs import failure_file

  path = failure_file(workdir, name)
  if error is not None:
    kind, message = type(error).__name__, str(error)
    write_json(path, {'error': kind, 'message': message, 'point': point})
  elif os.path.exists(path):
    os.remove(path)

"""Training of the runs of a sweep, group by group."""

from collections.abc import Collection, Iterator, Mapping, Sequence
import contextlib
import gc
import os
import traceback
from typing import Any, NamedTuple

from esmm_jax import streams

from esmm_jax.experiments import load
from esmm_jax.experiments.sweeping import failures
from esmm_jax.experiments.sweeping.plans import Plan


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
  from esmm_jax.sweeps import groups, replicas
  from esmm_jax.sweeps.progress import Progress
  from esmm_jax.workdir import provenance

  origin = provenance.origin(command)
  _cache_compiled(os.path.join(workdir, 'compiled'))
  to_do, failed = _unfinished(plan, workdir, {**refused, **plan.wrong})
  num = len(plan.names) + len(plan.wrong)
  overall = Progress(num, num - len(to_do))
  waiting = list(_side_by_side(plan, to_do, workdir))
  work = _Work(plan, workdir, origin, data_dir, overall, to_do)
  with contextlib.closing(overall):
    while waiting:
      later = []
      for names in waiting:
        waits = replicas.waits(names, plan.needs, later)
        ends, busy = ({}, names) if waits else _train_free(work, names)
        for name, end in ends.items():
          failed |= {name: end} if end else {}
          failures.note(workdir, name, end, plan.points[name])
        later += [busy] if busy else []
      if later == waiting:  # Other processes are at all that is left.
        overall.wait(later)
      waiting = later
  groups.remove_finished(workdir)
  return failed


class _Work(NamedTuple):
  """The work of a call of `train`.

  Attributes:
    plan: Has the configs.
    workdir: Folder of the sweep.
    origin: Noted in each run's origin.json.
    data_dir: Folder of prepared data; None: the default one.
    overall: The `Progress`.
    to_do: The runs that were not finished when it began.
  """

  plan: Plan
  workdir: str
  origin: Mapping[str, str]
  data_dir: str | None
  overall: Any
  to_do: Collection[str]


def _train_free(
    work: _Work, names: list[str]
) -> tuple[dict[str, Exception | None], list[str]]:
  """Trains runs side by side, unless another process is at them.

  Returns:
    Run -> its error or None, of those that have ended here; the runs that
    another process is at.
  """
  from esmm_jax import locks
  from esmm_jax.sweeps import groups

  if groups.in_use(work.workdir, names):
    return {}, names
  ends = _ended_elsewhere(work, [n for n in names if n in work.to_do])
  rest = [name for name in names if name not in ends]
  work.overall.count(len(ends))
  if not set(rest) & set(work.to_do):
    return ends, []
  work.overall.begin(rest)
  with work.overall.quiet():
    trained = _train(
        rest, work.plan.configs, work.workdir, work.origin, work.data_dir
    )
  busy = [n for n in rest if isinstance(trained[n], locks.InUse)]
  trained = {n: end for n, end in trained.items() if n not in busy}
  work.overall.end(trained)
  return ends | trained, busy


def _ended_elsewhere(
    work: _Work, names: Sequence[str]
) -> dict[str, Exception | None]:
  """Returns the runs that another process has ended since this one began."""
  from esmm_jax.sweeps.saved_runs import failed_since, run_folder
  from esmm_jax.types import InputError

  ends: dict[str, Exception | None] = {}
  for name in names:
    try:
      if load.finished(work.plan.configs[name], run_folder(work.workdir, name)):
        ends[name] = None
      if why := failed_since(work.workdir, name, work.overall.since):
        ends[name] = InputError(why)
    except InputError as e:
      ends[name] = e
  return ends


def _unfinished(
    plan: Plan, workdir: str, refused: Mapping[str, Exception]
) -> tuple[set[str], dict[str, Exception]]:
  """Returns the runs to train, and the errors of those that cannot be."""
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.types import InputError

  to_do, failed = set(), {}
  for name in (*plan.names, *plan.wrong):
    try:
      if name in refused:
        raise refused[name]
      if not load.finished(plan.configs[name], run_folder(workdir, name)):
        to_do.add(name)
    except InputError as e:
      failed[name] = e
      failures.note(workdir, name, e, plan.points[name])
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
  from esmm_jax.workdir import soundness

  for group in plan.groups:
    names = [name for name in group if name in to_do]
    results = {n: soundness.read_results(run_folder(workdir, n)) for n in names}
    trained = [name for name in names if results[name] is not None]
    lost = _damaged(group, workdir) if trained else []
    if lost:
      streams.warn(
          f'The last checkpoint of {", ".join(lost)} is damaged; the'
          f' {len(group)} runs that were trained side by side are trained'
          ' again.'
      )
      yield list(group)
      continue
    yield from ([name] for name in trained)
    if rest := [name for name in names if name not in trained]:
      yield rest


def _damaged(group: Sequence[str], workdir: str) -> list[str]:
  """Returns the replicas of a finished group without a sound checkpoint."""
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.workdir import soundness

  folders = {name: run_folder(workdir, name) for name in group}
  results = {n: soundness.read_results(folder) for n, folder in folders.items()}
  return [
      name
      for name, values in results.items()
      if values is not None
      and 1 < values.get('replicas', 1) == len(group)
      and not soundness.is_sound(folders[name], values)
  ]


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
  from esmm_jax import locks, ownership
  from esmm_jax.plugins import loading as plugins
  from esmm_jax.training import parts
  from esmm_jax.workdir import provenance
  from esmm_jax.sweeps import groups
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.training.loop import train_replicas
  from esmm_jax.types import InputError
  import jax

  home = groups.note(workdir, names) if len(names) > 1 else None
  folders = [run_folder(workdir, name) for name in names]
  trees = [configs[name] for name in names]
  try:
    plugins.use(trees[0])
    data = provenance.data(parts.dataset(trees[0].dataset, data_dir))
    for folder in folders:
      ownership.claim(folder, ownership.RUN, 'run')
      provenance.note_origin(folder, {**origin, 'data': data})
    # `checks` has compared the idle keys with the other runs.
    ends = train_replicas(trees, folders, data_dir, home, check_idle=False)
    errors = [end if isinstance(end, Exception) else None for end in ends]
    return dict(zip(names, errors))
  except locks.InUse as e:
    return dict.fromkeys(names, e)
  except InputError as e:
    if home and not os.path.isdir(home):
      # Training has not begun: one of them is refused, the others need not be.
      alone = [
          _train([name], configs, workdir, origin, data_dir) for name in names
      ]
      return {name: end for one in alone for name, end in one.items()}
    return dict.fromkeys(names, e)
  except Exception as e:  # The other runs need not fail for it.
    streams.progress(traceback.format_exc())
    return dict.fromkeys(names, e)
  finally:
    jax.clear_caches()
    gc.collect()

"""Training of the runs of a sweep, group by group."""

from collections.abc import Collection, Mapping, Sequence
import contextlib
import gc
import os
import traceback
from typing import Any, NamedTuple

from esmm_jax import streams

from esmm_jax.experiments import load
from esmm_jax.experiments.sweeping import failures, together
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
  from esmm_jax.workdir import provenance, stopping

  stopping.check()
  origin = provenance.origin(command)
  cache_compiled(workdir)
  work, failed = begin(plan, workdir, command, data_dir, refused)
  waiting = list(together.side_by_side(plan, work.to_do, workdir))
  with contextlib.closing(work.overall):
    while waiting:
      later = []
      for names in waiting:
        waits = replicas.waits(names, plan.needs, later)
        ends, busy = ({}, names) if waits else _train_free(work, origin, names)
        note(work, failed, ends)
        later += [busy] if busy else []
      if later == waiting:  # Other processes are at all that is left.
        work.overall.wait(later)
      waiting = later
  groups.remove_finished(workdir)
  return failed


class Work(NamedTuple):
  """The work of a call of `train`.

  Attributes:
    plan: Has the configs.
    workdir: Folder of the sweep.
    command: Noted in each run's origin.json.
    data_dir: Folder of prepared data; None: the default one.
    overall: The `Progress`.
    to_do: The runs that were not finished when it began.
  """

  plan: Plan
  workdir: str
  command: str
  data_dir: str | None
  overall: Any
  to_do: Collection[str]


def begin(
    plan: Plan,
    workdir: str,
    command: str,
    data_dir: str | None,
    refused: Mapping[str, Exception],
) -> tuple[Work, dict[str, Exception]]:
  """Looks what there is to do; the arguments are those of `train`.

  Returns:
    The work, and the errors of the runs that cannot begin.
  """
  from esmm_jax.sweeps.progress import Progress

  to_do, failed = _unfinished(plan, workdir, {**refused, **plan.wrong})
  num = len(plan.names) + len(plan.wrong)
  overall = Progress(num, num - len(to_do))
  return Work(plan, workdir, command, data_dir, overall, to_do), failed


class Look(NamedTuple):
  """A look at a group, before it is trained.

  Attributes:
    ends: Run -> its error or None, of those that others have ended.
    rest: Runs to train; [] if there are none, or others are at them.
    busy: True if another process is at them.
  """

  ends: dict[str, Exception | None]
  rest: list[str]
  busy: bool = False


def look(work: Work, names: list[str]) -> Look:
  """Looks whether a group is free; counts what others have ended."""
  from esmm_jax.sweeps import groups
  from esmm_jax.workdir import stopping

  stopping.check()
  if groups.in_use(work.workdir, names):
    return Look({}, [], True)
  ends = _ended_elsewhere(work, [n for n in names if n in work.to_do])
  rest = [name for name in names if name not in ends]
  work.overall.count(len(ends))
  return Look(ends, rest if set(rest) & set(work.to_do) else [])


def note(
    work: Work,
    failed: dict[str, Exception],
    ends: Mapping[str, Exception | None],
) -> None:
  """Notes runs that have ended; puts their errors into `failed`."""
  for name, end in ends.items():
    failed |= {name: end} if end else {}
    failures.note(work.workdir, name, end, work.plan.points[name])


def _train_free(
    work: Work, origin: Mapping[str, str], names: list[str]
) -> tuple[dict[str, Exception | None], list[str]]:
  """Trains runs side by side, unless another process is at them.

  Returns:
    Run -> its error or None, of those that have ended here; the runs that
    another process is at.
  """
  from esmm_jax import locks

  looked = look(work, names)
  if not looked.rest:
    return looked.ends, names if looked.busy else []
  rest = looked.rest
  work.overall.begin(rest)
  configs = {name: work.plan.configs[name] for name in rest}
  with work.overall.quiet():
    trained = train_group(configs, work.workdir, origin, work.data_dir)
  busy = [n for n in rest if isinstance(trained[n], locks.InUse)]
  trained = {n: end for n, end in trained.items() if n not in busy}
  work.overall.end(trained)
  return looked.ends | trained, busy


def _ended_elsewhere(
    work: Work, names: Sequence[str]
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


def cache_compiled(workdir: str) -> None:
  """Lets JAX read compiled programs from a sweep's folder, and write there."""
  import jax

  folder = os.path.join(workdir, 'compiled')
  jax.config.update('jax_compilation_cache_dir', os.path.abspath(folder))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)


def train_group(
    configs: Mapping[str, Any],
    workdir: str,
    origin: Mapping[str, str],
    data_dir: str | None,
) -> dict[str, Exception | None]:
  """Trains runs as replicas and frees the memory that JAX holds of them.

  Args:
    configs: Run -> its config.
    workdir: Folder of the sweep.
    origin: Noted in each run's origin.json.
    data_dir: Folder of prepared data; None: the default one.

  Returns:
    Run -> its error, or None.
  """
  from esmm_jax import locks, ownership
  from esmm_jax.plugins import loading as plugins
  from esmm_jax.training import parts
  from esmm_jax.workdir import provenance, stopping
  from esmm_jax.sweeps import groups
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.training.loop import train_replicas
  from esmm_jax.types import InputError
  import jax

  names, trees = list(configs), list(configs.values())
  home = groups.note(workdir, names) if len(names) > 1 else None
  folders = [run_folder(workdir, name) for name in names]
  try:
    plugins.use(trees[0])
    data = provenance.data(parts.dataset(trees[0].dataset, data_dir))
    for folder in folders:
      ownership.claim(folder, ownership.RUN, 'run')
      provenance.note_origin(folder, {**origin, 'data': data})
    # `checks` has compared the idle keys with the other runs.
    ends = train_replicas(
        trees, folders, data_dir, home, check_idle=False, tells=False
    )
    errors = [end if isinstance(end, Exception) else None for end in ends]
    return dict(zip(names, errors))
  except locks.InUse as e:
    return dict.fromkeys(names, e)
  except InputError as e:
    stopping.check()
    if home and not os.path.isdir(home):
      # Training has not begun: one of them is refused, the others need not be.
      alone = [
          train_group({name: tree}, workdir, origin, data_dir)
          for name, tree in configs.items()
      ]
      return {name: end for one in alone for name, end in one.items()}
    return dict.fromkeys(names, e)
  except Exception as e:  # The other runs need not fail for it.
    stopping.check()  # It may come of what a signal has cut off.
    streams.progress(traceback.format_exc())
    return dict.fromkeys(names, e)
  finally:
    jax.clear_caches()
    gc.collect()

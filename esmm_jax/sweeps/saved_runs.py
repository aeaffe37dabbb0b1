"""Reads the folders of a sweep's runs, finished or not.

A run that is damaged, or is not the one of its point, counts as not finished.

A run's folder is WORKDIR/runs/NAME with what training writes, and `origin.json`
with command, commit, device and data of each start. The reason of a failure
lies outside of it, in WORKDIR/failed, as the folder may not exist yet.
"""

from collections.abc import Mapping, Sequence
import math
import os
from typing import Any, NamedTuple

from esmm_jax import histories
from esmm_jax.json_files import read_json, to_json
from esmm_jax.plugins import loading as plugins
from esmm_jax.sweeps.points import settings
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, manifest, verify
from esmm_jax.workdir.folder import differences, flatten, with_run_section
from esmm_jax.workdir.identity import say_once

# Keys that `refit_of` sets, whatever the point of a sweep says.
OF_REFIT = (
    *('dataset.train_split', 'dataset.valid_split', 'dataset.fit_on'),
    *('selection.metric', 'selection.mode', 'selection.patience'),
)
_REMEDY = 'Train again.'


class SavedRun(NamedTuple):
  """The content of a run's folder.

  Attributes:
    name: Name of the folder.
    results: results.json, or None if the run is not finished.
    config: config.json, or None if it has not begun.
    origin: The entries of origin.json, one for each start under other
      circumstances; empty where there is none.
    failure: Type of the error that ended it, or ''.
    data: Hash of the data that it was trained on; '' where it is not known.
    problem: Why a finished run does not count, for people; or ''.
    unknown: True for a finished run that does not say what it began with.
  """

  name: str
  results: dict[str, Any] | None
  config: dict[str, Any] | None
  origin: tuple[dict[str, Any], ...] = ()
  failure: str = ''
  data: str = ''
  problem: str = ''
  unknown: bool = False

  @property
  def history(self) -> str:
    """The protocol of its histories, see `histories`; '' without any."""
    return histories.of_run(self.results, self.config)

  def value(self, metric: str) -> float:
    """Returns a number of results.json; nan if it is absent or null."""
    value = (self.results or {}).get(metric)
    return math.nan if value is None else float(value)

  def known(self, metric: str) -> float | None:
    """Returns the same, but None of a run that is not finished or lacks it."""
    has_it = metric in (self.results or {})
    return self.value(metric) if has_it else None


def read_run(workdir: str, with_origin: bool = True) -> SavedRun:
  """Reads a run's folder, which need not exist.

  Args:
    workdir: The folder.
    with_origin: Reads origin.json too.

  Raises:
    InputError: A file in it is damaged, or is not of this run.
  """
  config = read_json(os.path.join(workdir, 'config.json'), _REMEDY)
  if not isinstance(config, dict | None):
    raise InputError(
        f'{workdir}/config.json is damaged: it is no JSON object. {_REMEDY}'
    )
  plugins.try_to_load(config, workdir)
  results, began = end_note.read_results(workdir), {}
  ended_well = results is not None and config is not None
  if ended_well:
    # A results table says it of all its runs at once.
    began = verify.run(workdir, config, says=False)
  return SavedRun(
      os.path.basename(os.path.normpath(workdir)),
      results,
      config,
      _origin(os.path.join(workdir, 'origin.json')) if with_origin else (),
      data=manifest.data_hash(began.get('data', '')),
      unknown=ended_well and not began,
  )


def _origin(path: str) -> tuple[dict[str, Any], ...]:
  """Reads origin.json; () if it is damaged: no number depends on it."""
  entries = _by_product(path)
  if not isinstance(entries, list):
    return ()
  return tuple(
      {key: str(value) for key, value in entry.items()}
      for entry in entries
      if isinstance(entry, dict)
  )


def _by_product(path: str) -> Any:
  """Reads a JSON file that no number depends on; says if it is damaged."""
  try:
    return read_json(path, '') or {}
  except InputError as e:
    say_once(f'{str(e).rstrip()} What it told is lost, and no number with it.')
    return None


def run_folder(workdir: str, name: str) -> str:
  """Returns the path of a sweep's run."""
  return os.path.join(workdir, 'runs', name)


def failure_file(workdir: str, name: str) -> str:
  """Returns the path of the file that says why a sweep's run failed."""
  return os.path.join(workdir, 'failed', f'{name}.json')


def failed_since(workdir: str, name: str, since: float) -> str:
  """Returns why a run failed; '' if it has not after a time.

  Args:
    workdir: Folder of the sweep.
    name: Of the run.
    since: Seconds since 1970.

  Raises:
    InputError: The note of the failure is damaged.
  """
  path = failure_file(workdir, name)
  try:
    if os.stat(path).st_mtime <= since:
      return ''
  except OSError:  # Another process may remove it at any time.
    return ''
  note = read_json(path)  # Somebody may have put another value there.
  return str(note.get('message') if isinstance(note, dict) else path)


def find_run(
    workdir: str, name: str, point: Mapping[str, Any] | None = None
) -> SavedRun:
  """Reads a run of a sweep, with its failure if it is not finished.

  Args:
    workdir: Folder of the sweep.
    name: Of the run.
    point: Its point; None: it is not compared.

  Returns:
    The run; one that is damaged, or of another point, as not finished, with its
    `problem`.
  """
  folder = run_folder(workdir, name)
  try:
    run = read_run(folder)
    if run.results is not None:
      if point:
        changed = _overridden(workdir, run)
        named = {k: v for k, v in settings(point).items() if k not in changed}
        _require_point(run, folder, named)
      return run
    failed = _by_product(failure_file(workdir, name))
    error = failed.get('error', '') if isinstance(failed, dict) else 'failed'
    return run._replace(failure=str(error))
  except InputError as e:
    return SavedRun(name, None, None, problem=str(e))


def _overridden(workdir: str, run: SavedRun) -> set[str]:
  """Returns the keys of points that --override changed."""
  sweep = _by_product(os.path.join(workdir, 'sweep.json'))
  if isinstance(sweep, dict) and isinstance(sweep.get('override'), list):
    texts = list(map(str, sweep['override']))
  else:  # Of an earlier version, or lost: the commands of the run tell it.
    words = ' '.join(o.get('command', '') for o in run.origin).split()
    flag = '--override='
    texts = [w.strip('\'"').removeprefix(flag) for w in words if flag in w]
  return {text.partition('=')[0].strip() for text in texts}


def _require_point(
    run: SavedRun, folder: str, point: Mapping[str, Any]
) -> None:
  """Refuses a run that is not the one of its point, such as a copied folder.

  Raises:
    InputError: Names the keys that differ.
  """
  if run.config is None:
    raise InputError(f'{folder} has results.json and no config.json.')
  saved = flatten(with_run_section(run.config))
  other = ('config', *(OF_REFIT if point.get('refit_of') else ()))
  wanted = {
      key: to_json(value)
      for key, value in point.items()
      # Keys of the machine are no part of a run: they may have changed.
      if key in saved and key not in other and not key.startswith('run.')
  }
  if differing := differences({k: saved[k] for k in wanted}, wanted):
    raise InputError(other_point(folder, differing))


def other_point(folder: str, differing: Sequence[str]) -> str:
  """Says that a folder is not the run of its point.

  Args:
    folder: Of the run.
    differing: As `folder.differences` returns them, the run's own first.
  """
  more = f'; and {len(differing) - 5} more' if len(differing) > 5 else ''
  return (
      f'{folder} is not the run of its point: {"; ".join(differing[:5])}{more},'
      ' in the sweep. Its folder was copied, or a file of the sweep was changed'
      ' since; train it again.'
  )


def state(run: SavedRun) -> str:
  """Returns the progress of a run: to do, begun, failed, damaged, finished."""
  if run.problem:
    return 'damaged'
  if run.results is not None:
    return 'finished'
  if run.failure:
    return 'failed'
  return 'to do' if run.config is None else 'begun'

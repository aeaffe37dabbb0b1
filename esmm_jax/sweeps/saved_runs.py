"""Reads the folders of a sweep's runs, finished or not.

A run's folder is WORKDIR/runs/NAME with what training writes, and `origin.json`
with command, commit, device and data of each start. The reason of a failure
lies outside of it, in WORKDIR/failed, as the folder may not exist yet.
"""

import math
import os
from typing import Any, NamedTuple

from esmm_jax.json_files import read_json


class SavedRun(NamedTuple):
  """The content of a run's folder.

  Attributes:
    name: Name of the folder.
    results: results.json, or None if the run is not finished.
    config: config.json, or None if it has not begun.
    origin: The entries of origin.json, one for each start under other
      circumstances; empty where there is none.
    failure: Type of the error that ended it, or ''.
  """

  name: str
  results: dict[str, Any] | None
  config: dict[str, Any] | None
  origin: tuple[dict[str, Any], ...] = ()
  failure: str = ''

  def value(self, metric: str) -> float:
    """Returns a number of results.json; nan if it is absent or null."""
    value = (self.results or {}).get(metric)
    return math.nan if value is None else float(value)

  def known(self, metric: str) -> float | None:
    """Returns the same, but None of a run that is not finished or lacks it."""
    has_it = metric in (self.results or {})
    return self.value(metric) if has_it else None


def read_run(workdir: str) -> SavedRun:
  """Reads a run's folder, which need not exist.

  Raises:
    InputError: A file in it is not JSON.
  """
  return SavedRun(
      os.path.basename(os.path.normpath(workdir)),
      read_json(os.path.join(workdir, 'results.json')),
      read_json(os.path.join(workdir, 'config.json')),
      tuple(read_json(os.path.join(workdir, 'origin.json')) or ()),
  )


def run_folder(workdir: str, name: str) -> str:
  """Returns the path of a sweep's run."""
  return os.path.join(workdir, 'runs', name)


def failure_file(workdir: str, name: str) -> str:
  """Returns the path of the file that says why a sweep's run failed."""
  return os.path.join(workdir, 'failed', f'{name}.json')


def find_run(workdir: str, name: str) -> SavedRun:
  """Reads a run of a sweep, with its failure if it is not finished."""
  run = read_run(run_folder(workdir, name))
  if run.results is not None:
    return run
  failed = read_json(failure_file(workdir, name)) or {}
  return run._replace(failure=failed.get('error', ''))


def state(run: SavedRun) -> str:
  """Returns the progress of a run: to do, begun, failed or finished."""
  if run.results is not None:
    return 'finished'
  if run.failure:
    return 'failed'
  return 'to do' if run.config is None else 'begun'

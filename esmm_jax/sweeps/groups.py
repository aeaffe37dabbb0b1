"""Folders of the groups of a sweep whose runs are trained side by side.

    DIR/groups/HASH/         checkpoints until the group is finished
    DIR/groups/HASH.json     its runs

A sweep that goes on with other groups (--replicas, other points) never opens
the checkpoints of the earlier ones again. They stay as long as one of their
runs is unfinished, since the earlier command would resume it.
"""

from collections.abc import Iterable
import contextlib
import os

from esmm_jax import locks, ownership
from esmm_jax.json_files import read_json, write_json
from esmm_jax.sweeps import replicas
from esmm_jax.sweeps.saved_runs import find_run, run_folder
from esmm_jax.types import InputError

_FOLDER = 'groups'


def note(workdir: str, names: Iterable[str]) -> str:
  """Notes the runs of a group that begins; returns its folder, not yet made.

  Args:
    workdir: Folder of the sweep.
    names: The runs.
  """
  names = list(names)
  folder = os.path.join(workdir, _FOLDER, replicas.group_name(names))
  os.makedirs(os.path.dirname(folder), exist_ok=True)
  write_json(f'{folder}.json', names)
  return folder


def in_use(workdir: str, names: Iterable[str]) -> str:
  """Says that another process has locked one of some runs; '' if none has."""
  for name in names:
    folder = run_folder(workdir, name)
    try:
      if os.path.exists(os.path.join(folder, locks.NAME)):
        with locks.held(folder, 'runs'):
          pass
    except locks.InUse as e:
      return str(e)
    except InputError:  # Training says what is wrong with that folder.
      pass
  return ''


def remove_finished(workdir: str) -> None:
  """Removes the folders of groups whose runs are all finished.

  Those that another process uses stay, and folders that are not ours.

  Args:
    workdir: Folder of the sweep.
  """
  groups = os.path.join(workdir, _FOLDER)
  names = os.listdir(groups) if os.path.isdir(groups) else []
  for name in names:
    folder, ending = os.path.splitext(os.path.join(groups, name))
    with contextlib.suppress(InputError, OSError):
      if ending == '.json' and _is_finished(workdir, f'{folder}.json'):
        if os.path.isdir(folder):
          with locks.held(folder):
            ownership.remove(folder, ownership.GROUP)
        os.remove(f'{folder}.json')
  with contextlib.suppress(OSError):  # It is not empty.
    os.rmdir(groups)


def _is_finished(workdir: str, path: str) -> bool:
  """Returns whether all runs that a note names have results."""
  runs = read_json(path)
  return isinstance(runs, list) and all(
      isinstance(run, str) and find_run(workdir, run).results is not None
      for run in runs
  )

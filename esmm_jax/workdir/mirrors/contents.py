"""The files of a run that a mirror has."""

from collections.abc import Iterator
import os
import shutil

from esmm_jax import checksums, locks, whole_files
from esmm_jax.ownership import MARKER
from esmm_jax.storage.snapshots import Files
from esmm_jax.workdir import end_note

CHECKPOINTS = 'checkpoints'
PROCESSES = '.processes'  # Signs of life of the processes of a job.


def collect(workdir: str, frozen: str) -> tuple[Files, dict[str, str]]:
  """Lists the files of a run as they are now.

  Args:
    workdir: The run's folder.
    frozen: Folder for copies of the files that are still written to.

  Returns:
    The files; path -> the file to copy.
  """
  files: Files = {}
  sources: dict[str, str] = {}
  checkpoints = os.path.join(workdir, CHECKPOINTS)
  for step in _sealed(checkpoints):  # Nothing changes what has a seal.
    path = os.path.join(checkpoints, str(step))
    for name, (size, digest) in checksums.read_seal(path).items():
      files[f'{CHECKPOINTS}/{step}/{name}'] = int(size), str(digest)
      sources[f'{CHECKPOINTS}/{step}/{name}'] = os.path.join(path, name)
  for path in _others(workdir):
    to = os.path.join(frozen, path)
    whole_files.make_folders(os.path.dirname(to))
    shutil.copyfile(os.path.join(workdir, path), to)
    files[path] = os.path.getsize(to), checksums.sha256(to)
    sources[path] = to
  return files, sources


def progress(workdir: str) -> tuple[int, bool]:
  """Returns how far a run is.

  Args:
    workdir: Its folder.

  Returns:
    The step of its last complete checkpoint, -1 without one; whether it is
    finished.
  """
  steps = _sealed(os.path.join(workdir, CHECKPOINTS))
  results = os.path.join(workdir, end_note.RESULTS)
  return max(steps, default=-1), os.path.exists(results)


def is_empty(workdir: str) -> bool:
  """Returns whether nothing is in a workdir but what a job writes at once."""
  try:
    names = os.listdir(workdir)
  except FileNotFoundError:
    return True
  at_once = (MARKER, locks.NAME, PROCESSES)
  return all(n in at_once or whole_files.is_stray(n) for n in names)


def _others(workdir: str) -> Iterator[str]:
  """Yields the paths of the files that are not of a checkpoint."""
  for root, folders, names in os.walk(workdir):
    at = os.path.relpath(root, workdir)
    if at == CHECKPOINTS:  # The seals are all that is left there.
      folders.clear()
      names = [n for n in names if checksums.is_seal(n)]
    folders[:] = [
        f for f in folders if f != PROCESSES and not whole_files.is_stray(f)
    ]
    for name in names:
      if name != locks.NAME and not whole_files.is_stray(name):
        yield os.path.normpath(os.path.join(at, name))


def _sealed(checkpoints: str) -> list[int]:
  """Returns the steps of the complete checkpoints in a folder."""
  try:
    names = os.listdir(checkpoints)
  except FileNotFoundError:
    return []
  return [
      int(n)
      for n in names
      if n.isdecimal() and checksums.is_sealed(os.path.join(checkpoints, n))
  ]

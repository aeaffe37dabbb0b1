"""Removes the folders of data sets whose preparation was killed.

TFDS builds in a folder `incomplete.*_VERSION` beside the final one and removes
it after an exception, but not after a kill. A note in the folder names the
process that builds in it; once that process is gone, the next one removes the
folder.
"""

import glob
import json
import os
import shutil
import socket

from esmm_jax.json_files import parse_json

_NOTE = 'process.json'


def mark(folder: str) -> None:
  """Notes that this process builds in the folder."""
  note = {'pid': os.getpid(), 'host': socket.gethostname()}
  with open(os.path.join(folder, _NOTE), 'w', encoding='utf-8') as f:
    json.dump(note, f)


def unmark(folder: str) -> None:
  """Removes the note; the folder is complete."""
  os.remove(os.path.join(folder, _NOTE))


def remove(final: str) -> list[str]:
  """Removes the folders of killed processes of this machine.

  Args:
    final: The folder of the complete data set.

  Returns:
    The folders removed.
  """
  parent, version = os.path.split(final)
  removed = []
  for folder in glob.glob(
      os.path.join(glob.escape(parent), f'incomplete.*_{version}')
  ):
    try:
      with open(os.path.join(folder, _NOTE), encoding='utf-8') as f:
        note = parse_json(f.read())
    except (OSError, ValueError):
      continue  # Just created, or of another program.
    if note['host'] == socket.gethostname() and not _alive(note['pid']):
      shutil.rmtree(folder)
      removed.append(folder)
  return removed


def _alive(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except PermissionError:
    return True
  return True

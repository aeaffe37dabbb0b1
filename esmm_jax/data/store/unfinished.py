"""Folders of data sets whose preparation was killed.

TFDS builds in a folder `incomplete.*_VERSION` beside the final one and removes
it after an exception, but not after a kill. A note in it says which process is
at work, so that the next one can tell what nobody works on any more.
"""

import glob
import json
import os
import shutil
import socket

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
  """Removes what killed processes of this machine left.

  Args:
    final: Where the data set is when it is complete.

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
        note = json.load(f)
    except (OSError, ValueError):
      continue  # Just made, or of another program.
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

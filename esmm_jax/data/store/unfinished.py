"""Prepares a data set in one process at a time, and clears up after a kill.

Data is prepared in a folder `.VERSION.*.partial` beside the final one
(`whole_files.new_folder`), under the lock `.VERSION.lock` beside both. So who
holds the lock knows that such folders are of killed processes, whatever machine
or container they ran in. Another process that wants the same data set waits,
and then takes what is there.

Earlier versions prepared in `incomplete.*_VERSION`, without a lock. Such a
folder is removed once nothing in it was changed for a day.
"""

from collections.abc import Iterator
import contextlib
import glob
import os
import shutil
import time

from esmm_jax import locks, whole_files

_EARLIER_NOTE = 'process.json'  # Earlier versions wrote it into their folders.
_DAY = 24 * 60 * 60  # Seconds.


@contextlib.contextmanager
def alone(final: str) -> Iterator[None]:
  """Lets one process at a time prepare a data set; removes what is left over.

  Args:
    final: The folder of the complete data set.

  Raises:
    InputError: The lock cannot be written.
  """
  parent, version = os.path.split(final)
  os.makedirs(parent, exist_ok=True)
  lock = os.path.join(parent, f'.{version}.lock')
  with locks.waiting(lock, f'{final} to be prepared') as is_locked:
    if is_locked:  # Otherwise a folder may be of a process that lives.
      remove(final)
    yield


def remove(final: str) -> list[str]:
  """Removes the folders of killed processes; the lock must be held.

  Args:
    final: See `alone`.

  Returns:
    The folders removed.
  """
  removed = []
  for folder in leftovers(final):
    shutil.rmtree(folder, ignore_errors=True)
    removed.append(folder)
  return removed


def leftovers(final: str) -> list[str]:
  """Returns the folders of killed processes, if no process is preparing."""
  parent, version = map(glob.escape, os.path.split(final))
  ours = os.path.join(parent, f'.{version}.*{whole_files.SUFFIX}')
  earlier = os.path.join(parent, f'incomplete.*_{version}')
  folders = [f for f in glob.glob(ours) if os.path.isdir(f)]
  return folders + [f for f in glob.glob(earlier) if _is_stale(f)]


def _is_stale(folder: str) -> bool:
  """Returns True for a folder of an earlier version that is not in work."""
  if not os.path.exists(os.path.join(folder, _EARLIER_NOTE)):
    return False  # Of another program.
  newest = 0.0
  for root, _, names in os.walk(folder):
    for path in [root, *(os.path.join(root, name) for name in names)]:
      with contextlib.suppress(OSError):
        newest = max(newest, os.stat(path).st_mtime)
  return newest + _DAY < time.time()

"""Prepared data on a store, of which a folder of this machine is a copy.

The copy has what describes the data, and of the columns those files that were
read; `storage.cache` has its place. It is compared with the list on the store
whenever a data set is opened, so it is never of other data than is there.
"""

from collections.abc import Collection, Iterable
import os
import shutil

from esmm_jax import locks, whole_files
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.ownership import MARKER
from esmm_jax.storage import cache, snapshots
from esmm_jax.storage.snapshots import Files, Snapshot
from esmm_jax.types import InputError

KIND = 'data set'
COLUMN = '.npy'  # Ending of the files that are copied when they are read.


def pull(folder: str) -> None:
  """Makes a copy what the store has, but for its columns.

  Args:
    folder: Of the data set. Nothing is done if it is no copy.

  Raises:
    InputError: The store cannot be read, or is damaged.
  """
  url = cache.origin(folder)
  if not url:
    return
  whole_files.make_folders(os.path.dirname(folder))
  with locks.waiting(_lock(folder), f'{folder} to be copied'):
    there_now = snapshots.read(url, KIND)
    copied = _copied(folder)
    if there_now is None:
      # What was prepared here and did not get there yet is copied there.
      if copied is not None and not _is_whole(folder, copied):
        shutil.rmtree(folder)
      return
    if copied is not None and copied == there_now.files:
      return
    if os.path.isdir(folder):
      shutil.rmtree(folder)
    with whole_files.new_folder(folder) as temporary:
      described = [p for p in there_now.files if not p.endswith(COLUMN)]
      snapshots.fetch(there_now, described, temporary)
      content = {'files': there_now.files, 'sha256': there_now.sha256}
      write_json(
          os.path.join(temporary, MARKER), {'kind': KIND, **content}, indent=1
      )


def push(folder: str) -> None:
  """Copies prepared data to the store of which its folder is a copy.

  Args:
    folder: Of the data set. Nothing is done if it is no copy, or if the store
      has the data.

  Raises:
    InputError: The store cannot be written, or got other data meanwhile.
  """
  url = cache.origin(folder)
  if not url or snapshots.read(url, KIND) is not None:
    return
  files = _copied(folder) or {}
  snapshot = Snapshot(url, files, {'kind': KIND})
  file_of = lambda path: os.path.join(folder, path)
  if snapshots.write(snapshot, file_of, new=True):
    return
  other = snapshots.read(url, KIND)
  if other is None or other.files != files:
    raise InputError(
        f'{url}: another process has put other data there meanwhile. The same'
        ' command uses that; for data of your own use another --data_dir.'
    )


def fetch(folder: str, files: Files, folders: Collection[str]) -> None:
  """Copies the columns of some shards that are not here yet.

  Args:
    folder: Of the data set. Nothing is done if it is no copy.
    files: All of its files.
    folders: The shards, as paths that begin with `folder`.

  Raises:
    InputError: The store cannot be read, has other data by now, or a file there
      is not as it was written.
  """
  wanted = {os.path.relpath(f, folder) for f in folders}
  paths = [p for p in files if os.path.dirname(p) in wanted]
  if not _missing(folder, paths):
    return
  url = cache.origin(folder)
  if not url:
    return
  with locks.waiting(_lock(folder), f'{folder} to be copied'):
    snapshot = snapshots.read(url, KIND)
    if snapshot is None or snapshot.files != files:
      raise InputError(
          f'{url} was removed or replaced since it was opened. Run the same'
          ' command.'
      )
    snapshots.fetch(snapshot, _missing(folder, paths), folder)


def is_copy(folder: str) -> bool:
  """Returns whether a folder is a copy of what is on a store."""
  return bool(cache.origin(folder))


def shown(folder: str) -> str:
  """Returns the name of a data set for people: its URL, or its folder."""
  return cache.origin(folder) or folder


def _lock(folder: str) -> str:
  parent, name = os.path.split(folder)
  return os.path.join(parent, f'.{name}.copy.lock')


def _copied(folder: str) -> Files | None:
  """Returns the files that a copy is of; None if there is none."""
  try:
    with open(os.path.join(folder, MARKER), encoding='utf-8') as f:
      files = parse_json(f.read())['files']
    return {p: (int(n), str(d)) for p, (n, d) in files.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None


def _is_whole(folder: str, files: Files) -> bool:
  return not _missing(folder, files)


def _missing(folder: str, paths: Iterable[str]) -> list[str]:
  return [p for p in paths if not os.path.exists(os.path.join(folder, p))]

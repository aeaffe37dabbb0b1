"""A folder on a store that is whole or not there.

    URL/.esmm_jax.json     the list: path -> [bytes, sha256]; written last
    URL/files/SHA256       what a file holds

An object has the name of its content, so no writer ever changes what another
one has written, and what is there need not be copied again. A list without
`store` is one that lies beside the files themselves, under their own names: a
folder of prepared data as it is on a disk, copied by another program.
"""

from collections.abc import Callable, Iterable, Mapping
import concurrent.futures
import json
import os
import posixpath
from typing import Any, NamedTuple

from esmm_jax import streams, whole_files
from esmm_jax.checksums import hash_json
from esmm_jax.json_files import parse_json
from esmm_jax.ownership import MARKER
from esmm_jax.storage import remote
from esmm_jax.types import InputError

_STORE = 'files'
_THREADS = 8

# Path -> (bytes, sha256).
Files = dict[str, tuple[int, str]]


class Snapshot(NamedTuple):
  """The list of a folder on a store.

  Attributes:
    url: The folder.
    files: Its files.
    about: The other keys of the list: `kind` and so on.
  """

  url: str
  files: Files
  about: dict[str, Any]

  @property
  def sha256(self) -> str:
    """The hash of the names and contents of all files."""
    return hash_json(self.files)

  def object(self, path: str) -> str:
    """Returns the URL of what a file holds."""
    if self.about.get('store') != _STORE:
      return remote.join(self.url, path)
    return remote.join(self.url, _STORE, self.files[path][1])


def read(url: str, kind: str) -> Snapshot | None:
  """Reads the list of a folder; None if there is none, so no whole folder.

  Args:
    url: The folder.
    kind: What it is to hold.

  Raises:
    InputError: The list is damaged, or of another kind, or cannot be read.
  """
  where = remote.join(url, MARKER)
  data = remote.read(where)
  if data is None:
    return None
  try:
    content = parse_json(data.decode())
    files = {p: (int(n), str(d)) for p, (n, d) in content['files'].items()}
    if hash_json(files) != content['sha256']:
      raise ValueError('its checksum is another one')
    if any(map(_leads_away, files)):
      raise ValueError('a path leads out of the folder')
    held = content['kind']
  except (ValueError, KeyError, TypeError, AttributeError) as e:
    raise InputError(
        f'{where} is damaged ({e}). Remove the folder there, and make it anew.'
    ) from e
  if held != kind:
    raise InputError(
        f'{url} holds a {held}, not a {kind}. Name another URL.'
    )
  about = {k: v for k, v in content.items() if k not in ('files', 'sha256')}
  return Snapshot(url, files, about)


def write(
    snapshot: Snapshot,
    file_of: Callable[[str], str],
    stored: Iterable[str] = (),
    new: bool = False,
) -> bool:
  """Copies files to a store, then the list.

  Args:
    snapshot: What is to be there.
    file_of: Path in it -> the file of this machine.
    stored: The sha256 of contents that are in the store already.
    new: Writes no list where there is one: somebody was faster.

  Returns:
    False if there was a list, with `new`.

  Raises:
    InputError: The store cannot be written; then no list is.
  """
  snapshot = snapshot._replace(about={**snapshot.about, 'store': _STORE})
  stored = set(stored)
  todo = {  # One file for each content.
      digest: path
      for path, (_, digest) in snapshot.files.items()
      if digest not in stored
  }
  sizes = {p: snapshot.files[p][0] for p in todo.values()}
  copy = lambda p: remote.upload(file_of(p), snapshot.object(p), p)
  _each(f'Copying to {snapshot.url}', copy, sizes)
  content = snapshot.about | {
      'files': snapshot.files, 'sha256': snapshot.sha256
  }
  data = json.dumps(content, indent=1).encode()
  return remote.write(remote.join(snapshot.url, MARKER), data, new)


def fetch(snapshot: Snapshot, paths: Iterable[str], folder: str) -> None:
  """Copies files of a folder on a store to one of this machine.

  Args:
    snapshot: The list.
    paths: The files.
    folder: Gets them, under the same paths.

  Raises:
    InputError: A file is missing there, or not as it was written.
  """

  def copy(path: str) -> None:
    to = os.path.join(folder, path)
    whole_files.make_folders(os.path.dirname(to))
    remote.download(snapshot.object(path), to, *snapshot.files[path], path)

  sizes = {path: snapshot.files[path][0] for path in paths}
  _each(f'Copying from {snapshot.url}', copy, sizes)


def _each(
    what: str, copy: Callable[[str], None], sizes: Mapping[str, int]
) -> None:
  """Copies files, some at a time; the first error ends it."""
  with streams.bar(
      total=sum(sizes.values()),
      desc=what,
      unit='B',
      unit_scale=True,
      disable=None,
      delay=2,
  ) as bar, concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    tasks = {pool.submit(copy, path): path for path in sizes}
    try:
      for task in concurrent.futures.as_completed(tasks):
        task.result()
        bar.update(sizes[tasks[task]])
    except BaseException:
      pool.shutdown(wait=False, cancel_futures=True)
      raise


def _leads_away(path: str) -> bool:
  """Returns whether a path is not one inside a folder."""
  normal = posixpath.normpath(path)
  return (
      path != normal
      or normal.startswith(('/', '..'))
      or '\\' in path
      or ':' in path.partition('/')[0]
  )

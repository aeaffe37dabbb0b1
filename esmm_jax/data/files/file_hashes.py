"""Hashes of raw files, which tell whether a file holds what it held before.

To read gigabytes before each run would take minutes, so a note has the size,
the times, the inode and the hash of the files that were read. A file that has
all of them still is not read again. The time of modification can be set at will
(`touch -d`, `cp -p`); that of the last change of the inode (ctime), which local
file systems and NFS keep, cannot.

A file that was changed less than two seconds before it was read is not noted:
it may be changed once more at what the file system takes for the same time.
"""

from collections.abc import Mapping
import contextlib
import hashlib
import os
import time
from typing import Any

from esmm_jax import paths, streams
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.storage import faults
from esmm_jax.types import InputError

NOTE = 'raw_files.json'
SMALL = 1 << 28  # Bytes of a remote file that is read to be compared.
# What file systems of fsspec call a text that changes with the content.
_TAGS = ('ETag', 'etag', 'md5Hash', 'content_md5', 'crc32c', 'checksum')
_MODIFIED = ('LastModified', 'last_modified', 'updated', 'mtime', 'modified')
_STEP_NS = 2_000_000_000  # Of the coarsest file system, FAT.
_PIECE = 1 << 20

Stamp = list[int]


def stamp(path: str) -> Stamp:
  """Returns size, the two times in ns, inode and device of a local file."""
  s = os.stat(path)
  return [s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev]


def is_remote(path: str) -> bool:
  """True for a path with a protocol of fsspec, as `row_files` writes them."""
  return '://' in path


def size(path: str) -> int:
  """Returns the bytes of a local or remote file."""
  if not is_remote(path):
    return os.path.getsize(path)
  return int(_info(path)[2]['size'])


def state(path: str) -> str:
  """Describes the state of a file, which differs once it was changed.

  Cheap: no content is read. A copy of the file has another state.

  Args:
    path: Local, or with a protocol of fsspec.
  """
  if is_remote(path):
    info = _info(path)[2]
    known = [f', {k} {info[k]}' for k in (*_TAGS, *_MODIFIED) if info.get(k)]
    return f'{info["size"]} bytes{"".join(known[:1])}'
  num, modified, changed, inode, _ = stamp(path)
  return f'{num} bytes, inode {inode}, times {modified} and {changed} ns'


class Hashes:
  """Facts of files, and the note of those that need not be read again."""

  def __init__(self, data_path: str):
    """Reads the note; one that is absent or damaged is empty.

    Args:
      data_path: Folder of prepared data; the note lies beside it, so that the
        folder itself may be read-only or moved.
    """
    folder = os.path.dirname(os.path.abspath(data_path))
    self._path = os.path.join(folder, NOTE)
    self._noted = _read(self._path)
    self._read: dict[str, Stamp] = {}
    self._remote: dict[str, dict[str, Any]] = {}
    self._is_changed = False

  def facts(self, path: str) -> dict[str, Any]:
    """Describes what a file holds.

    Args:
      path: Local, or with a protocol of fsspec.

    Returns:
      `bytes`, and what tells its content: `sha256`; of a remote file `tag`, the
      checksum or ETag of its file system, if there is one; of a remote file of
      more than `SMALL` bytes without one `modified`, its time, where known.

    Raises:
      InputError: It is changed while it is read.
    """
    if is_remote(path):
      self._remote[path] = _remote_facts(path)
      return self._remote[path]
    before = stamp(path)
    entry = self._noted.get(os.path.abspath(path))
    if entry and entry[:-1] == before:
      digest = entry[-1]
    else:
      digest = self._hash(path)
    self._read[path] = before
    return {'bytes': before[0], 'sha256': digest}

  def holds(self, path: str, facts: Mapping[str, Any]) -> bool:
    """Tells whether a file of the same size has the content of `facts`.

    Args:
      path: The file.
      facts: As `facts` returned them.
    """
    if is_remote(path):
      return _remote_facts(path, facts) == facts
    if self.facts(path)['sha256'] == facts['sha256']:
      return True
    # The note may be damaged, so that it alone condemns no file.
    return self._hash(path) == facts['sha256']

  def add(self, path: str, before: Stamp, began_ns: int, digest: str) -> None:
    """Notes a local file that was read by others.

    Args:
      path: The file.
      before: Its `stamp` before it was read.
      began_ns: `time.time_ns()` at that time.
      digest: The sha256 of the bytes read.

    Raises:
      InputError: The file is no longer what it was before.
    """
    self._read[path] = before
    _refuse_changed(path, before)
    if before[2] + _STEP_NS <= began_ns:
      self._noted[os.path.abspath(path)] = [*before, digest]
      self._is_changed = True

  def refuse_changed(self) -> None:
    """Refuses files that were changed since they were hashed.

    Raises:
      InputError: Names the first one.
    """
    for path, before in self._read.items():
      _refuse_changed(path, before)
    for path, facts in self._remote.items():
      if not self.holds(path, facts):
        raise _changed(path)

  def save(self) -> None:
    """Writes the note, where its folder can be written to."""
    if self._is_changed:
      with contextlib.suppress(OSError):
        write_json(self._path, {'files': _read(self._path) | self._noted}, 1)
        self._is_changed = False

  def _hash(self, path: str) -> str:
    began, before = time.time_ns(), stamp(path)
    whole = hashlib.sha256()
    with open(path, 'rb') as f, streams.bar(
        total=before[0],
        desc=f'Comparing {os.path.basename(path)}',
        unit='B',
        unit_scale=True,
        disable=None,
        delay=2,
    ) as bar:
      while piece := f.read(_PIECE):
        whole.update(piece)
        bar.update(len(piece))
    self.add(path, before, began, whole.hexdigest())
    return whole.hexdigest()


def _refuse_changed(path: str, before: Stamp) -> None:
  if not os.path.exists(path) or stamp(path) != before:
    raise _changed(path)


def _changed(path: str) -> InputError:
  return InputError(
      f'{path} was changed while it was read. Wait until it is complete, then'
      ' run the same command.'
  )


def _info(path: str) -> tuple[Any, str, dict[str, Any]]:
  """Returns the file system of a remote file, its name there, and its facts.

  Raises:
    InputError: It is not there, or the store does not say.
  """
  fs, name = paths.file_system(path)

  def ask() -> dict[str, Any]:
    fs.invalidate_cache()  # A listing may be of an earlier state.
    return fs.info(name)

  try:
    return fs, name, faults.retried(path, ask)
  except FileNotFoundError as e:
    raise faults.refusal(path, e) from e


def _remote_facts(
    path: str, like: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """Describes a remote file, by the same means as `like` if that is given."""
  fs, name, info = _info(path)
  facts: dict[str, Any] = {'bytes': int(info['size'])}
  values = {
      'tag': next((str(info[k]) for k in _TAGS if info.get(k)), ''),
      'modified': next((str(info[k]) for k in _MODIFIED if info.get(k)), ''),
  }
  if like is not None:
    means = next((k for k in like if k != 'bytes'), '')
  elif values['tag']:
    means = 'tag'
  else:
    means = 'sha256' if facts['bytes'] <= SMALL else 'modified'
  if means == 'sha256':
    with faults.Patient(fs.open(name, 'rb'), path) as f:
      return facts | {means: hashlib.file_digest(f, means).hexdigest()}
  return facts | ({means: values[means]} if values.get(means) else {})


def _read(path: str) -> dict[str, list[Any]]:
  """Returns path -> the stamp and the sha256 as noted; {} if nothing is."""
  try:
    with open(path, encoding='utf-8') as f:
      files = parse_json(f.read())['files']
    return {p: [*map(int, e[:5]), str(e[5])] for p, e in files.items()}
  except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
    return {}

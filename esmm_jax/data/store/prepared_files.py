"""The files of prepared data: what was written is what is read.

Prepared data is gigabytes that many runs read, so a column is hashed when a
process first reads it, and not before; all other files are small and are hashed
when the data set is opened. Neither size nor time of a file stands for what it
holds: a bit that the disk lost changes neither.

Two lists in the folder have the checksums, each enough by itself: the marker
`.esmm_jax.json`, which is written with the columns and has a checksum of its
own, and `sha256.json`, the only one in data sets of earlier versions.
"""

from collections.abc import Iterable
import concurrent.futures
import contextlib
import hashlib
import os

from esmm_jax import system_errors, whole_files
from esmm_jax.checksums import hash_json, sha256
from esmm_jax.cores import cores
from esmm_jax.data.store import remote_data
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.ownership import MARKER
from esmm_jax.types import InputError
from tqdm import tqdm

NOTE = 'sha256.json'
KIND, _COLUMN = remote_data.KIND, remote_data.COLUMN
# What TFDS writes into each data set.
_DESCRIPTIONS = ('dataset_info.json', 'features.json', 'metadata.json')
_THREADS = 8  # At most, and one for each core.

# What this process has hashed: no file is hashed twice that is still the same.
# The time of the last change of an inode cannot be set.
_hashed: dict[tuple[int, ...], str] = {}

# Path in the folder -> [bytes, sha256].
Files = dict[str, tuple[int, str]]


class PreparedFiles:
  """The files in the folder of a complete data set.

  Attributes:
    folder: The folder.
    warnings: A line, if the folder has lost its checksums.
  """

  def __init__(self, folder: str, warnings: Iterable[str] = ()):
    """Compares all files but the columns, and the sizes of the columns.

    Args:
      folder: The folder.
      warnings: Those of an earlier look, after which new checksums were noted.

    Raises:
      InputError: A file is not what it was when the data was prepared.
    """
    self.folder, self.warnings = folder, list(warnings)
    self._is_copy = remote_data.is_copy(folder)
    present = _list_files(folder)
    for name in _DESCRIPTIONS:
      if name not in present:
        raise self._changed(name, 'is missing')
    files = _read_marker(folder) or _read_note(folder)
    if files is None:
      files = _hash_all(folder, present)
      _write_note(folder, files)
      self.warnings.append(
          f'{folder} has no list of checksums ({NOTE}): what is in it now is'
          ' taken for what was prepared.'
      )
    self._files = files
    self._compare(present)

  def _compare(self, present: list[str]) -> None:
    for path in sorted({*self._files, *present}):
      if path not in self._files:
        if path.endswith(_COLUMN):  # It would be read as a column.
          raise self._changed(path, 'is not part of it')
        continue
      size = _size(os.path.join(self.folder, path))
      if size is None and path.endswith(_COLUMN) and self._is_copy:
        continue
      if size is None:
        raise self._changed(path, 'is missing')
      if size != self._files[path][0]:
        raise self._changed(
            path, f'has {size} bytes, not {self._files[path][0]}'
        )
    self._verify([p for p in self._files if not p.endswith(_COLUMN)])

  @property
  def sha256(self) -> str:
    """The hash of the names and contents of all columns, hexadecimal digits."""
    whole = hashlib.sha256()
    for path in sorted(self._files):
      if path.endswith(_COLUMN):
        whole.update(f'{path} {self._files[path][1]}\n'.encode())
    return whole.hexdigest()

  def verify(self, paths: Iterable[str]) -> None:
    """Compares what columns hold with what was written, once a process.

    Args:
      paths: Of files in the folder, which they begin with.

    Raises:
      InputError: Names the first file that holds something else, or that cannot
        be read.
    """
    self._verify([os.path.relpath(path, self.folder) for path in paths])

  def fetch(self, folders: Iterable[str]) -> None:
    """Copies shards from the store of which this folder is a copy.

    Args:
      folders: Of the shards; `remote_data.fetch` has the rest.
    """
    if self._is_copy:
      remote_data.fetch(self.folder, self._files, set(folders))

  def _verify(self, paths: list[str]) -> None:
    """Compares files by their paths in the folder."""
    for path, digest in zip(paths, _hashes(self.folder, paths)):
      if path not in self._files:
        raise self._changed(path, 'is not part of it')
      if digest != self._files[path][1]:
        raise self._changed(path, 'is not as it was written')

  def _changed(self, path: str, what: str) -> InputError:
    return InputError(
        f'The prepared data in {self.folder} has been changed: {path} {what}.'
        ' Delete that folder, and it is prepared again.'
    )


def is_filled(folder: str) -> bool:
  """Returns True if there is anything in a folder that counts.

  Raises:
    InputError: It cannot be read.
  """
  try:
    return not all(map(whole_files.is_stray, os.listdir(folder)))
  except FileNotFoundError:
    return False
  except OSError as e:
    raise unreadable(e, folder) from e


def seal(folder: str) -> None:
  """Writes both lists of checksums into a folder that is complete."""
  files = _hash_all(folder, _list_files(folder))
  _write_note(folder, files)
  content = {'kind': KIND, 'files': files, 'sha256': hash_json(files)}
  write_json(os.path.join(folder, MARKER), content, indent=1)


def undescribed(folder: str, error: Exception) -> InputError:
  """Makes the error of a folder whose description cannot be understood.

  Args:
    folder: Of a data set that has no list of checksums.
    error: What reading the files of TFDS raised.
  """
  names = []
  for name in _DESCRIPTIONS:
    try:
      with open(os.path.join(folder, name), encoding='utf-8') as f:
        parse_json(f.read())
    except (OSError, ValueError):
      names.append(name)
  why = str(error).strip().partition('\n')[0] or type(error).__name__
  return InputError(
      f'{folder}: {" and ".join(names) or " or ".join(_DESCRIPTIONS)} is'
      f' damaged ({why}). Delete that folder, and it is prepared again.'
  )


def unreadable(error: OSError, path: str = '') -> InputError:
  """Makes the error of a file that may be sound, but cannot be read.

  Args:
    error: Of the operating system.
    path: The file, where the error does not name it.
  """
  return system_errors.unreadable(error.filename or path, error)


def _hashes(folder: str, paths: list[str]) -> list[str]:
  """Returns the sha256 of files; reads those that this process has not read."""
  full = [os.path.join(folder, path) for path in paths]
  try:
    states = [_state(path) for path in full]
    todo = {s: p for s, p in zip(states, full) if s not in _hashed}
    bar = tqdm(
        total=sum(s[0] for s in todo),
        desc='Comparing prepared data',
        unit='B',
        unit_scale=True,
        disable=None,
        delay=2,
    )
    workers = min(_THREADS, cores(), max(len(todo), 1))
    with bar, concurrent.futures.ThreadPoolExecutor(workers) as pool:
      for state, digest in zip(todo, pool.map(sha256, todo.values())):
        _hashed[state] = digest
        bar.update(state[0])
  except OSError as e:
    raise unreadable(e) from e
  return [_hashed[state] for state in states]


def _state(path: str) -> tuple[int, ...]:
  """Returns bytes, times, inode and device, which differ after any change."""
  s = os.stat(path)
  return s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev


def _hash_all(folder: str, paths: list[str]) -> Files:
  hashes = _hashes(folder, paths)
  return {
      path: (os.path.getsize(os.path.join(folder, path)), digest)
      for path, digest in zip(paths, hashes)
  }


def _list_files(folder: str) -> list[str]:
  """Returns the paths of the data's files in a folder, sorted.

  Raises:
    InputError: A folder in it cannot be read.
  """

  def refuse(error: OSError) -> None:
    raise unreadable(error) from error

  return sorted(
      os.path.relpath(os.path.join(root, name), folder)
      for root, _, names in os.walk(folder, onerror=refuse)
      for name in names
      # `sha256.json.PID.tmp` too, which earlier versions left.
      if not (
          whole_files.is_stray(name)
          or name == MARKER
          or name.startswith(NOTE)
      )
  )


def _size(path: str) -> int | None:
  """Returns the bytes of a file; None if it does not exist."""
  try:
    return os.path.getsize(path)
  except FileNotFoundError:
    return None
  except OSError as e:
    raise unreadable(e) from e


def _read_marker(folder: str) -> Files | None:
  """Reads the list of the marker; None if there is none, or it is damaged."""
  try:
    with open(os.path.join(folder, MARKER), encoding='utf-8') as f:
      content = parse_json(f.read())
    files = {p: (int(n), str(d)) for p, (n, d) in content['files'].items()}
    return files if hash_json(files) == content['sha256'] else None
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None


def _read_note(folder: str) -> Files | None:
  """Reads the list of sha256.json; None if there is none, or it is damaged."""
  try:
    with open(os.path.join(folder, NOTE), encoding='utf-8') as f:
      files = parse_json(f.read())['files']
    # In its middle the time, by which earlier versions knew a file again.
    return {p: (int(n), str(d)) for p, (n, _, d) in files.items()} or None
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None


def _write_note(folder: str, files: Files) -> None:
  times = {p: os.stat(os.path.join(folder, p)).st_mtime_ns for p in files}
  noted = {p: [n, times[p], digest] for p, (n, digest) in files.items()}
  with contextlib.suppress(OSError):  # The folder may be read-only.
    write_json(os.path.join(folder, NOTE), {'files': noted}, indent=1)

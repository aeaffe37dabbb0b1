"""Finds the raw files of Ali-CCP and streams them, also out of archives."""

from collections.abc import Callable, Iterable, Iterator
import gzip
import io
import os
import tarfile
from typing import Any, BinaryIO
import zlib

from esmm_jax import system_errors
from esmm_jax.data.ali_ccp.fields import SPLITS
from esmm_jax.data.ali_ccp.hashed import Hashed, Record
from esmm_jax.data.files.file_hashes import Hashes
from esmm_jax.paths import expand, refuse_remote
from esmm_jax.types import InputError

_BUFFER = 1 << 20
_UNREADABLE = (EOFError, zlib.error, tarfile.TarError, OSError)
# Types of headers that are about the next one; bytes of all in an archive.
_FACTS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_MOST_FACTS = 1 << 14
KINDS = {'common': 'common_features', 'skeleton': 'sample_skeleton'}


class RawFiles:
  """The files of a folder.

  Attributes:
    paths: Split -> the CSV files `common` and `skeleton`, or `archive`.
    by_name: File name -> path.
    sizes: File name -> bytes on disk.
    total_bytes: Of all of them.
    digests: File name -> `bytes` and `sha256`, once its split has been read.
    records: Hashes that `note` will note.
  """

  def __init__(self, paths: dict[str, dict[str, str]]):
    self.paths = paths
    everything = [p for split in paths.values() for p in split.values()]
    self.by_name = {os.path.basename(p): p for p in everything}
    self.sizes = {name: os.path.getsize(p) for name, p in self.by_name.items()}
    self.total_bytes = sum(self.sizes.values())
    self.digests: dict[str, dict[str, Any]] = {}
    self.records: list[Record] = []

  def open(
      self, split: str, progress: Callable[[int], None]
  ) -> Iterator[tuple[str, str, BinaryIO]]:
    """Opens the two files of a split, one after the other.

    Args:
      split: `train` or `test`.
      progress: Called with the number of bytes just read from disk.

    Yields:
      Kind `common` or `skeleton`, the name for messages, and the bytes, which
      must be read to their end before the next file. In an archive either kind
      may come first.

    Raises:
      InputError: An archive is damaged or lacks one of the files.
    """
    paths = self.paths[split]
    if 'archive' in paths:
      yield from self._open_archive(paths['archive'], split, progress)
      return
    for kind in KINDS:
      path = paths[kind]
      with Hashed(path, progress) as stream:
        yield kind, os.path.basename(path), stream
        self.take([stream.record()])

  def _open_archive(
      self, path: str, split: str, progress: Callable[[int], None]
  ) -> Iterator[tuple[str, str, BinaryIO]]:
    """Opens the members of an archive without unpacking it."""
    archive = os.path.basename(path)
    wanted = {f'{KINDS[k]}_{split}.csv': k for k in KINDS}
    seen = set()
    with Hashed(path, progress) as stream:
      try:
        # Not tarfile's own decompression, which ignores a wrong checksum.
        unpacked = gzip.GzipFile(fileobj=stream)
        with tarfile.open(
            fileobj=unpacked, mode='r|', bufsize=_BUFFER, tarinfo=_Entry
        ) as members:
          for member in members:
            name = os.path.basename(member.name)
            if name not in wanted or not member.isfile():
              continue
            if name in seen:
              raise InputError(f'{path}: {name} is in it twice.')
            seen.add(name)
            text = members.extractfile(member)
            yield wanted[name], f'{archive}/{name}', _Member(text, path)
        while unpacked.read(_BUFFER):  # The checksum is at the end.
          pass
      except InputError:
        raise
      except (*_UNREADABLE, ValueError) as e:  # Of a number that is none.
        raise _damaged(path, e) from e
      missing = sorted(set(wanted) - seen)
      if missing:
        raise InputError(f'{path}: {" and ".join(missing)} is not in it.')
      self.take([stream.record()])

  def take(self, records: Iterable[Record]) -> None:
    """Takes the hashes of files that were read, maybe by another process."""
    for record in records:
      name = os.path.basename(record.path)
      self.digests[name] = {
          'bytes': self.sizes[name],
          'sha256': record.sha256,
      }
      self.records.append(record)

  def note(self, hashes: Hashes) -> None:
    """Notes the files read since the last call, which are not read again.

    Raises:
      InputError: One was changed while it was read.
    """
    for record in self.records:
      hashes.add(*record)
    hashes.save()
    self.records = []


class _Entry(tarfile.TarInfo):
  """An entry of an archive, which is refused where it is none of a data set.

  The time that tarfile takes for a header with further facts grows with the
  square of its bytes, of which a few compressed ones make many.
  """

  def _proc_member(self, tarfile_: tarfile.TarFile) -> tarfile.TarInfo:
    """Reads what follows a header: tarfile's way to change that."""
    if self.type in _FACTS:
      read = getattr(tarfile_, 'facts_read', 0) + self.size
      if read > _MOST_FACTS:
        raise tarfile.ReadError(
            f'its headers hold more than {_MOST_FACTS} bytes beside the files'
        )
      tarfile_.facts_read = read
    return super()._proc_member(tarfile_)


class _Member(io.RawIOBase):
  """A file in an archive, whose errors name the archive."""

  def __init__(self, text: BinaryIO, archive: str):
    self._text, self._archive = text, archive

  def readable(self) -> bool:
    return True

  def readinto(self, buffer) -> int:
    try:
      return self._text.readinto(buffer)
    except _UNREADABLE as e:
      raise _damaged(self._archive, e) from e


def _damaged(path: str, error: Exception) -> InputError:
  system_errors.refuse(path, error)
  return InputError(
      f'{path}: {error}. The archive is damaged or cut off; fetch it again.'
  )


def find_files(raw_dir: str) -> RawFiles:
  """Finds the four CSV files, or an archive for each split.

  CSV files may be in `raw_dir` or in a folder in it; archives are ignored where
  the CSV files are complete. An archive is a .tar.gz or .tgz with `train` or
  `test` in its name.

  Raises:
    InputError: The folder or a file is missing, empty or there twice; or the
      folder is remote.
  """
  if not raw_dir:
    raise InputError(
        'Ali-CCP is not prepared with these options, and raw_dir is not set.'
        ' Set it to the folder of sample_train.tar.gz and sample_test.tar.gz,'
        ' or of the CSV files in them.'
    )
  refuse_remote(raw_dir, 'raw_dir', 'Copy the archives there.')
  raw_dir = expand(raw_dir)
  if not os.path.isdir(raw_dir):
    raise InputError(f'raw_dir {raw_dir}: there is no such folder.')
  present = _files(raw_dir)
  paths: dict[str, dict[str, str]] = {}
  missing = []
  for split in SPLITS:
    csv = {k: _one(present, f'{KINDS[k]}_{split}.csv') for k in KINDS}
    archives = [
        p
        for p in present
        if p.endswith(('.tar.gz', '.tgz')) and split in os.path.basename(p)
    ]
    if all(csv.values()):
      paths[split] = csv
    elif len(archives) == 1:
      paths[split] = {'archive': archives[0]}
    elif archives:
      raise InputError(
          f'{raw_dir}: which archive is of the split {split}?'
          f' {", ".join(map(os.path.basename, archives))}. Leave one.'
      )
    else:
      missing += [f'{KINDS[k]}_{split}.csv' for k in KINDS if not csv[k]]
  if missing:
    names = ', '.join(sorted(os.path.basename(p) for p in present)[:10])
    raise InputError(
        f'{raw_dir}: {", ".join(missing)} not found, and no archive'
        f' sample_SPLIT.tar.gz in their place. There is: {names or "nothing"}.'
    )
  files = RawFiles(paths)
  for name, size in files.sizes.items():
    if not size:
      raise InputError(f'{raw_dir}: {name} is empty.')
  return files


def _files(raw_dir: str) -> list[str]:
  """Returns the files of a folder and of the folders in it, sorted."""
  paths = []
  for entry in os.scandir(raw_dir):
    if entry.is_dir():
      paths += [e.path for e in os.scandir(entry.path) if e.is_file()]
    else:
      paths.append(entry.path)
  return sorted(paths)


def _one(paths: list[str], name: str) -> str:
  """Returns the path with this file name, or ''.

  Raises:
    InputError: There are several.
  """
  matches = [p for p in paths if os.path.basename(p) == name]
  if len(matches) > 1:
    raise InputError(f'{name} is there twice: {" and ".join(matches)}.')
  return matches[0] if matches else ''

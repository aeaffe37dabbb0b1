"""The file of a run's predictions of its test split, checked as it is read.

Its Parquet metadata hold the stamp of the run that made it and the sha256 of
the values of each column. A reader names the run that it reads for.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import hashlib
import json
import os
from typing import Any

from esmm_jax import histories, system_errors
from esmm_jax.types import Array, InputError
from esmm_jax.whole_files import make_folders, replacing
from esmm_jax.workdir import identity
from esmm_jax.workdir.identity import Stamp
import numpy as np
import pyarrow as pa

# Key of the metadata; its value is JSON.
KEY = b'esmm_jax'
REMEDY = 'Delete it; the report makes it again.'
_ROWS = 1_000_000  # Read at a time.


class UnsoundError(InputError):
  """A file of predictions is damaged, or is not of the run."""


def write(
    path: str, columns: Mapping[str, Array], stamp: Stamp, history: str = ''
) -> None:
  """Writes predictions, whole or not at all.

  Args:
    path: Its folder is made.
    columns: Name -> [n].
    stamp: Of the run.
    history: What its histories know, see `histories`; noted unless ''.
  """
  from pyarrow import parquet

  table = pa.table({name: np.asarray(c) for name, c in columns.items()})
  digests = _Digests(table.column_names)
  digests.update(_arrays(table))
  more = histories.noted(history, histories.ABOUT)
  about = metadata(stamp, {'columns': digests.hexdigests(), **more})
  make_folders(os.path.dirname(path))
  with replacing(path) as temporary:
    parquet.write_table(table.replace_schema_metadata(about), temporary)


def metadata(stamp: Stamp, more: Mapping[str, Any]) -> dict[bytes, bytes]:
  """Returns the metadata of a Parquet file of scores.

  Args:
    stamp: Of the run that made them, under `run`.
    more: What else is told, as JSON.
  """
  return {KEY: json.dumps({'run': stamp.to_dict(), **more}).encode()}


def batches(
    path: str, run: Stamp | None = None, names: Sequence[str] | None = None
) -> Iterator[dict[str, np.ndarray]]:
  """Yields the columns of some million rows each.

  The values are compared with their hashes when all are read: what is made of
  them does not count before the last one is taken.

  Args:
    path: The file.
    run: The stamp of the run that they are read for (`end_note.stamp`); None
      compares no runs.
    names: The columns to read; default: all.

  Raises:
    UnsoundError: The file cannot be read, is of another run, or its values are
      not as they were written.
    InputError: It lacks a column.
  """
  from pyarrow import parquet

  with contextlib.ExitStack() as stack:
    with _damaged(path):
      file = stack.enter_context(parquet.ParquetFile(path))
      about = _about(file.schema_arrow.metadata or {})
    if run is not None:
      _require(path, about.get('run'), run)
    there = file.schema_arrow.names
    wanted = there if names is None else names
    if absent := [name for name in wanted if name not in there]:
      raise InputError(
          f'{path} has no column {absent[0]!r}, only {", ".join(there)}.'
          f' {REMEDY}'
      )
    digests = _Digests(wanted)
    if not file.metadata.num_rows:
      digests.update(_arrays(file.schema_arrow.empty_table()))
    parts = file.iter_batches(_ROWS, columns=list(wanted))
    while True:
      with _damaged(path):
        part = next(parts, None)
        arrays = {} if part is None else _arrays(part)
      if part is None:
        break
      digests.update(arrays)
      yield arrays
    if about:
      _compare(path, about['columns'], digests.hexdigests())


def read(
    path: str, names: Sequence[str], run: Stamp | None = None
) -> dict[str, np.ndarray]:
  """Reads columns, [n] each.

  Args and errors are those of `batches`.
  """
  parts = list(batches(path, run, names))
  return {
      name: np.concatenate([part[name] for part in parts])
      if parts
      else np.zeros(0, np.float32)
      for name in names
  }


def stamp_of(path: str) -> Stamp | None:
  """Reads the stamp of a file; None if it has none, as of an earlier version.

  Raises:
    UnsoundError: The file cannot be read.
  """
  from pyarrow import parquet

  with _damaged(path):
    about = _about(parquet.read_schema(path).metadata or {})
    return Stamp.from_dict(about['run']) if about.get('run') else None


class _Digests:
  """The sha256 of columns that are given in parts."""

  def __init__(self, names: Sequence[str]):
    self._digests = {name: hashlib.sha256() for name in names}
    self._begun = False

  def update(self, arrays: Mapping[str, np.ndarray]) -> None:
    """Adds a part of every column."""
    for name, digest in self._digests.items():
      values = arrays[name]
      if not self._begun:  # Once, so that parts may be of any size.
        digest.update(values.dtype.str.encode())
      if values.dtype == object:
        digest.update(''.join(f'{value!r},' for value in values).encode())
      elif len(values):
        digest.update(np.ascontiguousarray(values).data)
    self._begun = True

  def hexdigests(self) -> dict[str, str]:
    """Returns name -> sha256 of all that was added."""
    return {name: d.hexdigest() for name, d in self._digests.items()}


def _arrays(table: Any) -> dict[str, np.ndarray]:
  return {
      name: table.column(name).to_numpy(zero_copy_only=False)
      for name in table.schema.names
  }


def _about(entries: Mapping[bytes, bytes]) -> dict[str, Any]:
  """Returns what a file tells of itself; {} for one of an earlier version."""
  if KEY not in entries:
    return {}
  about = json.loads(entries[KEY])
  if not isinstance(about, dict) or not isinstance(about.get('columns'), dict):
    raise ValueError('its metadata are not as they were written')
  return about


def _require(path: str, value: Any, run: Stamp) -> None:
  try:
    identity.require(path, value, run, REMEDY)
  except InputError as e:
    raise UnsoundError(str(e)) from e


def _compare(
    path: str, then: Mapping[str, str], now: Mapping[str, str]
) -> None:
  for name, digest in now.items():
    if then.get(name) != digest:
      raise UnsoundError(
          f'{path}: the values of column {name!r} are not as they were written.'
          f' {REMEDY}'
      )


@contextlib.contextmanager
def _damaged(path: str) -> Iterator[None]:
  """Turns what a damaged file raises into one line that names it."""
  try:
    yield
  except (OSError, pa.ArrowException, ValueError, TypeError) as e:
    system_errors.refuse(path, e)
    why = ' '.join(str(e).split())
    raise UnsoundError(f'{path} cannot be read ({why}). {REMEDY}') from e

"""Joins the parts of a job of scoring in one file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import json
import os
from typing import Any

from esmm_jax import system_errors, whole_files
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.json_files import read_json, write_json
from esmm_jax.serving import outputs
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa

# Key of a part's counts of missing and unseen values, in its metadata.
COUNTS = b'counts'
# File of the folder of parts that is there once they are joined.
NOTE = 'joined.json'
_WHOLE = 'joined'


def join(
    parts: Sequence[str],
    output: str,
    folder: str,
    counts: Counts,
    metadata: Mapping[bytes, bytes],
) -> int:
  """Joins the parts in one file; adds up their counts.

  Args:
    parts: Their files.
    output: The file.
    folder: Of the parts; the file is written into it first, and renamed.
    counts: Gets those of the parts.
    metadata: Of the output, if it is Parquet.

  Returns:
    The number of rows.

  Raises:
    InputError: There is no part, one is damaged, or their types differ.
  """
  # Not a random name: the file is large, and a killed job's is written over.
  temporary = os.path.join(folder, _WHOLE)
  num = 0
  whole = schema(parts, output, metadata)
  with outputs.opened(temporary, output, whole) as write_table:
    for path in parts:
      table, of_part = read_part(path)
      counts.add_all(of_part)
      write(table, whole, write_table, path)
      num += table.num_rows
  whole_files.synchronise(temporary)
  # If there is a kill before the parts are removed, the same command may
  # replace this file and no other one.
  write_json(os.path.join(folder, NOTE), _state(temporary))
  os.replace(temporary, output)
  whole_files.synchronise(os.path.dirname(output) or '.')
  return num


def schema(
    parts: Sequence[str], output: str, metadata: Mapping[bytes, bytes]
) -> pa.Schema:
  """Returns the schema of all scores: that of the first part.

  Args:
    parts: The files of the parts.
    output: What is to be written, for messages.
    metadata: Of the schema.

  Raises:
    InputError: There is no part.
  """
  if not parts:
    raise InputError(f'There are no rows to score, so no {output} is written.')
  first = parquet.read_schema(parts[0]).remove_metadata()
  return first.with_metadata(metadata)


def write(
    table: pa.Table,
    whole: pa.Schema,
    write_table: Callable[[pa.Table], None],
    path: str,
) -> None:
  """Writes the rows of a part.

  Args:
    table: The part.
    whole: The schema of the output.
    write_table: See `outputs.opened`.
    path: File of the part, for messages.

  Raises:
    InputError: The key cannot be written, or is not of the type of `whole`.
  """
  try:
    write_table(table.replace_schema_metadata(whole.metadata).cast(whole))
  except (pa.ArrowException, ValueError) as e:
    raise InputError(
        f'{path}: the key is not UTF-8 text, or has another type than in the'
        f' first file ({e}). Give all files the same type, or leave --key out.'
    ) from e


def is_joined(output: str, folder: str) -> bool:
  """Returns whether a file is what the parts in a folder were joined in."""
  note = os.path.join(folder, NOTE)
  return read_json(note, 'Delete it.') == _state(output)


def _state(path: str) -> dict[str, int]:
  """Returns what a file keeps when it is renamed, but no other file has."""
  stat = os.stat(path)
  return {
      'inode': stat.st_ino, 'bytes': stat.st_size, 'time': stat.st_mtime_ns
  }


def num_rows(path: str) -> int:
  """Returns the rows of a part.

  Raises:
    InputError: It is damaged.
  """
  with _damaged(path):
    return parquet.read_metadata(path).num_rows


def read_part(path: str) -> tuple[pa.Table, dict[str, Any]]:
  """Returns the rows of a part, and its counts of missing and unseen values.

  Raises:
    InputError: It is damaged.
  """
  with _damaged(path):
    table = parquet.read_table(path, page_checksum_verification=True)
  about = table.schema.metadata or {}
  return table, json.loads(about.get(COUNTS, b'{}'))


@contextlib.contextmanager
def _damaged(path: str) -> Iterator[None]:
  """Names the part, perhaps of a command that was killed some time ago."""
  try:
    yield
  except (OSError, pa.ArrowException) as e:
    system_errors.refuse(path, e)
    why = ' '.join(str(e).split())
    raise InputError(
        f'{path} is damaged ({why}). Delete that file; the same command scores'
        ' its rows again.'
    ) from e

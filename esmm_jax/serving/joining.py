"""Joins the parts of a job of scoring in one file."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import os

from esmm_jax import system_errors, whole_files
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.json_files import read_json, write_json
from esmm_jax.serving import outputs
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa

# Key of a part's counts of missing and unseen values, in its metadata.
COUNTS = b'counts'
_NOTE, _WHOLE = 'joined.json', 'joined'


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
  if not parts:
    raise InputError(f'There are no rows to score, so no {output} is written.')
  schema = parquet.read_schema(parts[0]).remove_metadata()
  # Not a random name: the file is large, and a killed job's is written over.
  temporary = os.path.join(folder, _WHOLE)
  num = 0
  whole = schema.with_metadata(metadata)
  with outputs.opened(temporary, output, whole) as write:
    for path in parts:
      table = _read_part(path)
      about = table.schema.metadata or {}
      counts.add_all(json.loads(about.get(COUNTS, b'{}')))
      try:
        write(table.replace_schema_metadata(metadata).cast(whole))
      except (pa.ArrowException, ValueError) as e:
        raise InputError(
            f'{path}: the key is no text in UTF-8, or of another type than in'
            f' the first file ({e}). Give the files one type, or leave --key'
            ' away.'
        ) from e
      num += table.num_rows
  whole_files.synchronise(temporary)
  # If there is a kill before the parts are removed, the same command may
  # replace this file and no other one.
  write_json(os.path.join(folder, _NOTE), _state(temporary))
  os.replace(temporary, output)
  whole_files.synchronise(os.path.dirname(output) or '.')
  return num


def is_joined(output: str, folder: str) -> bool:
  """Returns whether a file is what the parts in a folder were joined in."""
  note = os.path.join(folder, _NOTE)
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


def _read_part(path: str) -> pa.Table:
  with _damaged(path):
    return parquet.read_table(path, page_checksum_verification=True)


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

"""The file of scores: Parquet or CSV, as the ending of its name says."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import os

from esmm_jax import paths, system_errors
from esmm_jax.storage import cache, remote
from esmm_jax.types import InputError
from pyarrow import csv, parquet
import pyarrow as pa

ENDINGS = ('.parquet', '.pq', '.csv', '.csv.gz')
_CSV = ENDINGS[2:]


def check(path: str, sources: Sequence[str] = ()) -> None:
  """Refuses a file that cannot be an output, before anything is scored.

  Args:
    path: The output.
    sources: The files that are read.

  Raises:
    InputError: It is a folder, one of the sources, or its name has another
      ending; or it is of a file system that is not opened.
  """
  if remote.is_remote(path):
    paths.file_system(path)
  if path.endswith(os.sep) or os.path.isdir(path):
    raise InputError(
        f'--output={path} is a folder; name a file, as in'
        f' {os.path.join(path, "scores.parquet")}, or end the name with / for a'
        ' file of each part.'
    )
  if not path.lower().endswith(ENDINGS):
    raise InputError(
        f'--output={path}: the ending sets the format and must be one of'
        f' {", ".join(ENDINGS)}.'
    )
  for source in sources:
    if _are_same(path, source):
      raise InputError(
          f'--output={path} is {source} of --input, which is never overwritten;'
          ' name another file.'
      )


def _are_same(path: str, source: str) -> bool:
  """Returns whether two paths, or URLs, name one file."""
  if remote.is_remote(path) and remote.is_remote(source):
    (fs, name), (other, other_name) = map(paths.file_system, (path, source))
    return fs.protocol == other.protocol and name == other_name
  if not os.path.exists(path) or not os.path.exists(source):
    return False
  return os.path.samefile(path, source)


def here(path: str) -> str:
  """Returns the file of this machine that an output is written as.

  That of a URL is in a folder of its own, in that of `storage.cache`, and so
  are its parts: the same command resumes on this machine alone.
  """
  if not remote.is_remote(path):
    return path
  return os.path.join(cache.folder(path), path.rpartition('/')[2])


def deliver(local: str, path: str, overwrite: bool) -> None:
  """Copies a complete output to where it is wanted, whole or not at all.

  Args:
    local: As `here` has it; it is removed. Where it is the output itself,
      nothing is done.
    path: The output.
    overwrite: Whether it may be replaced.

  Raises:
    InputError: It cannot be written, or has been written meanwhile.
  """
  if local == path:
    return
  refuse_existing(path, overwrite)
  remote.upload(local, path)
  os.remove(local)


def refuse_existing(path: str, overwrite: bool) -> None:
  """Refuses an output at a URL that exists.

  Raises:
    InputError: It does, and may not be replaced.
  """
  if remote.is_remote(path) and not overwrite:
    if remote.size(path) is not None:
      raise InputError(
          f'--output={path} exists. Name another file, or add --overwrite to'
          ' replace it.'
      )


def check_types(path: str, schema: pa.Schema) -> None:
  """Refuses columns that the output cannot hold.

  Raises:
    InputError: Names the first column that CSV cannot hold: a list, say.
  """
  if not _is_csv(path):
    return
  for field in _plain(schema):
    try:
      csv.write_csv(pa.schema([field]).empty_table(), io.BytesIO())
    except pa.ArrowException as e:
      raise InputError(
          f'--output={path}: a CSV file cannot hold column {field.name!r} of'
          f' type {field.type}; write Parquet, or take another --key.'
      ) from e


@contextlib.contextmanager
def opened(
    temporary: str, path: str, schema: pa.Schema
) -> Iterator[Callable[[pa.Table], None]]:
  """Opens the output for tables that follow each other.

  Args:
    temporary: Name to write under.
    path: The name that it gets, whose ending counts.
    schema: Of the tables.

  Yields:
    Writes a table.
  """
  with system_errors.naming(path, temporary):
    yield from _opened(temporary, path, schema)


def _opened(
    temporary: str, path: str, schema: pa.Schema
) -> Iterator[Callable[[pa.Table], None]]:
  if not _is_csv(path):
    with parquet.ParquetWriter(temporary, schema) as writer:
      yield writer.write_table
    return
  packing = 'gzip' if path.lower().endswith('.gz') else None
  schema = _plain(schema)
  with pa.output_stream(temporary, compression=packing) as f:
    with csv.CSVWriter(f, schema) as writer:
      yield lambda table: writer.write_table(table.cast(schema))


def _plain(schema: pa.Schema) -> pa.Schema:
  """Returns the schema with types of arrow's CSV writer for others of it."""
  fields = []
  for field in schema:
    kind = field.type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
      kind = kind.value_type
    if pa.types.is_string_view(kind):
      kind = pa.string()
    fields.append(field.with_type(kind))
  return pa.schema(fields)


def _is_csv(path: str) -> bool:
  return path.lower().endswith(_CSV)

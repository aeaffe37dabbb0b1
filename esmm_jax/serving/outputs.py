"""The file of scores: Parquet or CSV, as the ending of its name says."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import io
import os

from esmm_jax import system_errors
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
    InputError: It is remote, a folder, one of the sources, or its name has
      another ending.
  """
  if '://' in path:
    raise InputError(
        f'--output={path} is remote; name a file of this machine, and copy it.'
    )
  if os.path.isdir(path):
    raise InputError(
        f'--output={path} is a folder; name a file, as in'
        f' {os.path.join(path, "scores.parquet")}, or end the name with / for a'
        ' file of each part.'
    )
  if not path.lower().endswith(ENDINGS):
    raise InputError(
        f'--output={path}: the ending says what is written; it must be one of'
        f' {", ".join(ENDINGS)}.'
    )
  for source in sources:
    same = os.path.exists(path) and os.path.exists(source)
    if same and os.path.samefile(path, source):
      raise InputError(
          f'--output={path} is {source} of --input, which is never written'
          ' over; name another file.'
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

"""Joins the parts of a job of scoring in one file."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import json
import os

from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.serving import outputs
from esmm_jax.types import InputError
from pyarrow import parquet
import pyarrow as pa

# Key of a part's counts of missing and unseen values, in its metadata.
COUNTS = b'counts'


def join(
    parts: Sequence[str],
    output: str,
    counts: Counts,
    metadata: Mapping[bytes, bytes],
) -> int:
  """Joins the parts in one file; adds up their counts.

  Args:
    parts: Their files.
    output: The file.
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
  temporary = f'{output}.tmp'  # Large: a killed job's is written over.
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
  os.replace(temporary, output)
  return num


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
    why = ' '.join(str(e).split())
    raise InputError(
        f'{path} is damaged ({why}). Delete that file; the same command scores'
        ' its rows again.'
    ) from e

"""Columns that stand in the names of folders, as Hive and Spark write them.

`log/day=2022-04-01/part-0.parquet` has a column `day` of that text in each row.
"""

from collections.abc import Mapping
import re
import urllib.parse

from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
import pyarrow as pa
import pyarrow.compute as pc

_NUMBER = re.compile(r'[+-]?\d+(\.\d+)?')
_NULL = '__HIVE_DEFAULT_PARTITION__'


def partitions(path: str) -> dict[str, str | None]:
  """Returns column -> text, None where it is missing, of a file's folders.

  >>> partitions('log/day=2022-04-01/city=New%20York/part-0.parquet')
  {'day': '2022-04-01', 'city': 'New York'}
  """
  columns = {}
  for folder in path.split('/')[:-1]:
    name, equals, text = folder.partition('=')
    if equals and name:
      value = urllib.parse.unquote(text)
      columns[urllib.parse.unquote(name).strip()] = (
          None if value in (_NULL, '') else value
      )
  return columns


def add(
    table: pa.Table, columns: Mapping[str, str | None], location: Location
) -> pa.Table:
  """Adds columns of the folders' names to rows.

  Args:
    table: The rows.
    columns: Column -> text, those that are wanted.
    location: Of the rows, for messages.

  Raises:
    InputError: The file has that column too, with another value.
  """
  for name, text in columns.items():
    if name in table.column_names:
      _compare(table[name], text, location.column(name))
    else:
      column = pa.repeat(pa.scalar(text, pa.string()), len(table))
      table = table.append_column(name, column)
  return table


def _compare(
    column: pa.ChunkedArray, text: str | None, location: Location
) -> None:
  """Refuses values that are not the text."""
  values = raw_values.arrow(column, location)
  try:
    texts = raw_values.texts(values, location)
    wanted = raw_values.texts(pa.array([text], pa.string()), location)
  except InputError:  # A number with a fraction, say.
    texts, wanted = pc.cast(values, pa.string()), pa.array([text])
  same = pc.fill_null(pc.equal(texts, wanted[0]), False)
  if text is None:
    same = texts.is_null()
  elif _NUMBER.fullmatch(text) and not pa.types.is_string(values.type):
    # `month=03` and 3; the file's own value is read.
    numbers = pc.cast(values, pa.float64(), safe=False)
    same = pc.fill_null(pc.equal(numbers, float(text)), False)
  bad = pc.index(same, False).as_py()
  if bad >= 0:
    raise InputError(
        f'{location.at(bad)}: column {location.name!r} is'
        f' {values[bad].as_py()!r}, but {text!r} in the name of its folder.'
        ' Rename the folder or remove one of the two.'
    )

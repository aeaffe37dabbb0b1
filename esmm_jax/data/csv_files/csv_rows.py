"""Reads CSV files row by row, to find the line at which one is damaged.

pyarrow reads fast but does not tell where it failed; after a failure this slow
pass finds the line.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import csv
import io
import itertools
from typing import Any, NamedTuple

from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.file_kinds import DAMAGED, open_file, separator_of
from esmm_jax.data.csv_files.records import BLOCK

# Characters of a line or a value; pyarrow cannot read a row of so many bytes.
_LONGEST = BLOCK + 1
NOT_UTF8 = 'it is not UTF-8; save the file as UTF-8'


class Damage(NamedTuple):
  """The first damaged place of a file.

  Attributes:
    line: The line at which its row begins, from 1, as an editor counts.
    field: Name of the column.
    problem: A clause without a full stop.
  """

  line: int
  field: str
  problem: str


def read_rows(
    path: str,
    line_breaks: bool = True,
    dialect: Dialect = dialects.DEFAULT,
    span: tuple[int, int] | None = None,
) -> Iterator[tuple[int, list[str]]]:
  """Reads the rows of a file, the header first.

  Args:
    path: The file.
    line_breaks: Whether quoted values may hold line breaks. Empty lines are
      then no rows; otherwise each line is one.
    dialect: The form of the file.
    span: Its bytes [low, high) that are read, whole lines, which are taken into
      memory; the first of them is line 1. None: all.

  Yields:
    The line at which the row begins, from 1, and its fields. Bytes that are not
    UTF-8 become lone surrogates.

  Raises:
    TooLong: A row is.
  """
  # Of values with line breaks; a value in one line cannot be longer either.
  csv.field_size_limit(_LONGEST)
  newline = '' if line_breaks else '\n'
  codec, errors = dialect.codec, 'replace'
  if codec == 'utf-8':
    codec, errors = 'utf-8-sig', 'surrogateescape'
  form = {'delimiter': separator_of(path, dialect), 'quoting': csv.QUOTE_NONE}
  if quote := dialect.quote_mark:
    form |= {'quotechar': quote, 'quoting': csv.QUOTE_MINIMAL}
  with open_file(path) as f, io.TextIOWrapper(
      _bytes_of(f, span), codec, errors=errors, newline=newline
  ) as text:
    lines = _bounded(text)
    if not line_breaks:
      for line, content in enumerate(lines, start=1):
        yield line, next(csv.reader([content.rstrip('\r\n')], **form), [])
      return
    reader, line = csv.reader(lines, **form), 1
    try:
      for fields in reader:
        if fields:
          yield line, fields
        line = reader.line_num + 1
    except csv.Error as e:
      raise (TooLong(line) if 'field limit' in str(e) else e) from e


class TooLong(csv.Error):
  """A row is longer than pyarrow can read.

  Attributes:
    line: The line at which it begins, from 1.
  """

  def __init__(self, line: int):
    super().__init__(f'the row is longer than {BLOCK} bytes')
    self.line = line


def _bytes_of(file: Any, span: tuple[int, int] | None) -> Any:
  """Returns some bytes of an open file as a file."""
  if span is None:
    return file
  file.seek(span[0])
  return io.BytesIO(file.read(span[1] - span[0]))


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
  """Yields the lines of a file.

  A whole file may be one line; it is not read to be refused.

  Raises:
    TooLong: A line is.
  """
  for number in itertools.count(1):
    line = text.readline(_LONGEST)
    if len(line) == _LONGEST and line[-1] not in '\r\n':
      raise TooLong(number)
    if not line:
      return
    yield line


def line_of(path: str, row: int, dialect: Dialect = dialects.DEFAULT) -> int:
  """Returns the line at which a row begins, as an editor counts.

  Args:
    path: The file.
    row: From 0, behind the header; empty lines are no rows.
    dialect: The form of the file.
  """
  row += dialect.has_header
  with contextlib.suppress(*DAMAGED, csv.Error):
    rows = read_rows(path, dialect=dialect)
    for line, _ in itertools.islice(rows, row, None):
      return line
  return row + 1


def find_damage(
    path: str,
    line_breaks: bool = True,
    problem_of: Callable[[str, str], str] = lambda name, text: '',
    dialect: Dialect = dialects.DEFAULT,
    span: tuple[int, int] | None = None,
    header: Sequence[str] = (),
) -> Damage | None:
  """Looks for the first row that cannot be read.

  Args:
    path: The file.
    line_breaks: See `read_rows`.
    problem_of: Gives for the column's name and a text what is wrong with it, ''
      if nothing is.
    dialect: The form of the file.
    span: See `read_rows`.
    header: Names of the columns of a span that begins behind them.

  Returns:
    None where every row looks sound or Python cannot read the file either.
  """
  header = header or dialect.header_names
  try:
    for line, fields in read_rows(path, line_breaks, dialect, span):
      header = header or fields
      if len(fields) != len(header):
        problem = f'the row has {len(fields)} fields, the header {len(header)}'
        return Damage(line, last_field(header, fields), problem)
      if sum(map(len, fields)) > BLOCK:
        problem = f'the row is longer than {BLOCK} bytes'
        return Damage(line, header[-1], problem)
      for name, text in zip(header, fields):
        if any('\udc80' <= c <= '\udcff' for c in text):
          return Damage(line, name, NOT_UTF8)
        if fields is not header and (problem := problem_of(name, text)):
          return Damage(line, name, problem)
  except TooLong as e:
    return Damage(e.line, (header or [''])[-1], str(e))
  except (*DAMAGED, csv.Error):
    return None
  return None


def last_field(header: Sequence[str], fields: Sequence[str]) -> str:
  """Returns the column at which a row of too few or too many fields ends."""
  return header[min(max(len(fields), 1), len(header)) - 1]

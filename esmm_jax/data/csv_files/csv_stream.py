"""CSV files as streams of UTF-8, checked on the way."""

import codecs
from collections.abc import Iterator
import contextlib
import re
from typing import Any

from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.quote_check import QuoteCheck, refuse_zero
from esmm_jax.data.csv_files.records import BLOCK, Grammar, Malformed
from esmm_jax.types import InputError

_BOM = codecs.BOM_UTF8
_STEP = 1 << 16
_EXCEL = re.compile('sep=(.)', re.IGNORECASE | re.DOTALL)
_CERTAIN = 8
_MARKUP = (b'{"', b'[{', b'<!', b'<html', b'<?xml')


class _Transcoder:
  """Reads a file of another encoding as UTF-8."""

  def __init__(self, file: Any, codec: str):
    self._file, self._codec = file, codec
    self._decoder = codecs.getincrementaldecoder(codec)()
    self._rest, self._num, self._is_first = b'', 0, True
    self._error: Malformed | None = None

  def read(self, size: int) -> bytes:
    """Returns `size` bytes, fewer at the end and before a damaged place.

    Raises:
      Malformed: The next bytes are not of that encoding.
    """
    pieces, num = [self._rest], len(self._rest)
    while num < size and self._error is None:
      data = self._file.read(_STEP)
      if self._is_first and not self._codec.startswith('utf'):
        _refuse_utf8(data)
      self._is_first = False
      pieces.append(self._decoded(data))
      num += len(pieces[-1])
      if not data:
        break
    if self._error is not None and not num:
      raise self._error
    joined = b''.join(pieces)
    self._rest = joined[size:]
    return joined[:size]

  def _decoded(self, data: bytes) -> bytes:
    state = self._decoder.getstate()
    text = ''
    try:
      text = self._decoder.decode(data, not data)
    except UnicodeError as e:
      # What comes before is given out first: it may be wrong in another way.
      self._decoder.setstate(state)
      # A mark that UTF-16 lacks has no place.
      start = getattr(e, 'start', 0)
      text = self._decoder.decode(data[: max(start - len(state[0]), 0)])
      at = self._num + len(text.encode())
      problem = f'it is not {self._codec}'
      self._error = Malformed(
          at, at, problem, 'Set {encoding} to what the file is written in.'
      )
    encoded = text.encode(errors='replace')
    self._num += len(encoded)
    return encoded


def _refuse_utf8(data: bytes) -> None:
  """Refuses bytes that are UTF-8 and said to be in another encoding.

  Many encodings read them without an error, as other characters.
  """
  try:
    text = codecs.getincrementaldecoder('utf-8')().decode(data)
  except UnicodeDecodeError:
    return
  # Fewer may be UTF-8 by chance: two characters of GBK are.
  if sum(c > '\x7f' for c in set(text)) >= _CERTAIN:
    advice = 'Set {encoding}=utf-8.'
    raise Malformed(0, 0, 'its characters are UTF-8', advice)


@contextlib.contextmanager
def open_text(path: str, dialect: Dialect) -> Iterator[Any]:
  """Opens a CSV file as bytes of UTF-8, whatever its compression and encoding.

  Bytes of a file that is said to be UTF-8 are not looked at.
  """
  with file_kinds.open_file(path) as f:
    is_utf8 = dialect.codec in ('utf-8', 'utf-8-sig')
    yield f if is_utf8 else _Transcoder(f, dialect.codec)


class CsvStream:
  """The rows of a CSV file, without its header, as a file for pyarrow.

  Attributes:
    header: The columns' names, without blanks around them.
  """

  def __init__(self, file: Any, path: str, dialect: Dialect):
    """Reads the header.

    Args:
      file: Of `open_text`.
      path: Its name, for messages.
      dialect: Its form.

    Raises:
      InputError: There is none, or the first row is no header.
      Malformed: A quote in it is not closed.
    """
    self._file, self._ended = file, False
    self.closed = False
    separator = file_kinds.separator_of(path, dialect)
    grammar = Grammar(separator, dialect)
    data, first, begin = self._first_row(grammar, path)
    if first is None:
      if dialect.has_header:
        raise InputError(
            f'{path} is empty; there is no header. Repair or remove that file.'
        )
      fields, end = [], len(data)
      self.header = dialect.header_names
    else:
      end = first.end if dialect.has_header else begin
      fields = [_decode(f, path, dialect) for f in first.fields]
      _refuse_excel(separator.join(fields), path, dialect)
      self.header = _names(fields, path, dialect)
    self._pending = data[end:]
    self._check = QuoteCheck(grammar, len(self.header), end)

  def _first_row(
      self, grammar: Grammar, path: str
  ) -> tuple[bytes, Any, int]:
    """Returns the first bytes, the first row in them, if any, and its place."""
    data = b''
    while True:
      more = self._file.read(_STEP)
      data += more
      begin = len(_BOM) if data.startswith(_BOM) else 0
      begin = re.compile(rb'[\r\n]*').match(data, begin).end()
      if begin < len(data):
        refuse_zero(data, 0)
        if data.startswith(_MARKUP, begin):
          raise InputError(
              f'{path} begins with {data[begin:begin + 16]!r}; it looks like'
              ' JSON or HTML, not like CSV. Write it as CSV or Parquet.'
          )
        row = grammar.record(data, begin, not more)
        if row is not None:
          return data, row, begin
      if not more:
        return data, None, len(data)
      if len(data) > BLOCK:
        problem = f'the header is longer than {BLOCK} bytes'
        raise Malformed(begin, len(data), problem)

  def read(self, size: int = -1) -> bytes:
    """Returns the next bytes, fewer than `size` only at the end.

    Raises:
      Malformed: A quote in them is where it cannot be.
    """
    size = BLOCK if size is None or size < 0 else size
    pieces, num = [self._pending[:size]], len(self._pending[:size])
    self._pending = self._pending[size:]
    while num < size and not self._ended:
      data = self._file.read(size - num)
      self._ended = not data
      pieces.append(data)
      num += len(data)
    data = b''.join(pieces) if len(pieces) > 1 else pieces[0]
    self._check.feed(data, self._ended and not self._pending)
    return data

  def peek(self) -> bool:
    """Returns whether there is anything left but line breaks."""
    while not self._pending.strip(b'\r\n') and not self._ended:
      data = self._file.read(_STEP)
      self._ended = not data
      self._pending += data
    return bool(self._pending.strip(b'\r\n'))

  def readable(self) -> bool:
    return True

  def seekable(self) -> bool:
    return False

  def writable(self) -> bool:
    return False

  def close(self) -> None:
    """Does nothing; `open_text` closes the file."""


def _decode(field: bytes, path: str, dialect: Dialect) -> str:
  try:
    return field.decode()
  except UnicodeDecodeError as e:
    raise InputError(
        f'{path}, line 1: the first row is not UTF-8; say what it is with'
        f' {dialect.option("encoding")}, gbk or latin-1 say, or save the file'
        ' as UTF-8.'
    ) from e


def _refuse_excel(line: str, path: str, dialect: Dialect) -> None:
  """Refuses a first line that is not the header, but for Excel."""
  if separator := _EXCEL.fullmatch(line):
    option = dialect.option('separator')
    raise InputError(
        f'{path}, line 1: {line!r} is a line for Excel, not the header. Remove'
        f' it and set {option}={separator[1]!r}.'
    )


def _names(fields: list[str], path: str, dialect: Dialect) -> list[str]:
  """Returns the names of the columns of a file with this first row."""
  if dialect.has_header:
    return [f.strip() for f in fields]
  names = dialect.header_names
  if not names:
    return [f'c{k}' for k in range(len(fields))]
  option = dialect.option('header')
  if [f.strip() for f in fields] == names:
    raise InputError(
        f'{path}, line 1: the first row holds the names that {option} lists;'
        f' leave {option} unset, so that it is read as the header.'
    )
  if len(names) != len(fields):
    raise InputError(
        f'{path}, line 1: the row has {len(fields)} fields, {option} lists'
        f' {len(names)} names.'
    )
  return names


@contextlib.contextmanager
def open_csv(path: str, dialect: Dialect) -> Iterator[CsvStream]:
  """Opens a CSV file behind its header.

  Raises:
    InputError: It is damaged; names the lines.
  """
  try:
    with open_text(path, dialect) as f:
      yield CsvStream(f, path, dialect)
  except Malformed as e:
    raise _refusal(path, dialect, e) from e


def _refusal(path: str, dialect: Dialect, error: Malformed) -> InputError:
  begin, end = lines_of(path, dialect, [error.begin, error.end])
  problem = error.problem.replace('{end}', str(end))
  advice = error.advice
  for name in ('quote', 'encoding', 'separator'):
    advice = advice.replace(f'{{{name}}}', dialect.option(name))
  return InputError(f'{path}, line {begin}: {problem}. {advice}')


def lines_of(path: str, dialect: Dialect, offsets: list[int]) -> list[int]:
  """Returns the lines in which bytes of `open_text` are, from 1.

  Args:
    path: The file.
    dialect: Its form.
    offsets: Of the bytes, ascending.
  """
  lines, line, at, last = [], 1, 0, b''
  with open_text(path, dialect) as f:
    for offset in offsets:
      while at < offset:
        try:
          data = f.read(min(_STEP, offset - at))
        except Malformed:  # The byte itself: the rest before it is counted.
          data = b''
        if not data:
          break
        at += len(data)
        line += len(re.findall(rb'\r\n|\n|\r', data))
        line -= last == b'\r' and data.startswith(b'\n')
        last = data[-1:]
      lines.append(line)
  return lines

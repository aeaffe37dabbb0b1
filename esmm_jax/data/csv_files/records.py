"""Rows of CSV files in bytes, with quotes at which rows would be swallowed.

pyarrow takes all that stands between two quotes for one value, line breaks too,
so that a quote which is not closed, or is not meant as one, swallows rows up to
the next quote; the row that comes of it may have the right number of fields.
Here a quote opens only where a field begins, and closes only where a separator
or the end of the line follows. Values with line breaks are read, but not where
their lines might be rows. A quote inside a field that does
not begin with one, as in 5" disk, is a character like others.
"""

import re
from typing import NamedTuple

from esmm_jax.data.csv_files.dialect import Dialect

# Bytes that pyarrow parses at once; it cannot read a longer row.
BLOCK = 1 << 22
_SEPARATORS = {b'\t': '\\t', b';': ';', b'|': '|', b'\x01': '\\x01', b',': ','}
_BREAK = re.compile(rb'\r\n|\n|\r')
_DOUBLE = (
    'Double a quote inside a value and close those that open. If quotes are'
    ' ordinary characters, set {quote}=none.'
)


class Malformed(ValueError):
  """Rows that cannot be told apart.

  Attributes:
    begin: Offset at which the row or the quoted value begins.
    end: Offset of its last byte.
    problem: A clause; `{end}` stands for the line of the last byte.
    advice: A sentence; `{quote}` and so on stand for the options.
  """

  def __init__(self, begin: int, end: int, problem: str, advice: str = _DOUBLE):
    super().__init__(problem)
    self.begin, self.end = begin, end
    self.problem, self.advice = problem, advice

  def shifted(self, offset: int) -> 'Malformed':
    """Returns the same problem so many bytes later."""
    return Malformed(
        self.begin + offset, self.end + offset, self.problem, self.advice
    )


class Record(NamedTuple):
  """A row.

  Attributes:
    begin: Offset of its first byte.
    end: Offset behind its line break.
    fields: Their bytes, without quotes.
  """

  begin: int
  end: int
  fields: list[bytes]


class Grammar:
  """Rows and fields, in bytes of UTF-8.

  Attributes:
    separator: One byte.
    quote: One byte, or b'' where there is none.
  """

  def __init__(self, separator: str, dialect: Dialect):
    self.separator = separator.encode()
    self.quote = dialect.quote_mark.encode()
    s, q = re.escape(self.separator), re.escape(self.quote)
    self._plain = re.compile(rb'[^%b\r\n]*+' % s)
    blank = b'' if self.separator == b' ' else b' '
    blank += b'' if self.separator == b'\t' else b'\t'
    self._late = re.compile(rb'[%b]++%b' % (blank, q or rb'(?!)'))
    if not q:
      return
    self._quoted = re.compile(rb'%b(?:[^%b]|%b%b)*+%b' % (q, q, q, q, q))
    strict = rb'(?:%b(?:[^%b]|%b%b)*+%b(?=[%b\r\n])|[^%b%b\r\n]*+)' % (
        *(q, q, q, q, q), s, s, q)
    self._strict = re.compile(
        rb'%b(?:%b%b)*+(?:\r\n|\n|\r)' % (strict, s, strict))
    # A row without line breaks in it; other fields may hold a quote.
    loose = rb'(?:%b(?:[^%b\r\n]|%b%b)*+%b(?=[%b\r\n])' % (q, q, q, q, q, s)
    loose += rb'|(?![%b]*%b)[^%b\r\n]*+)' % (blank, q, s)
    self._loose = re.compile(rb'%b(?:%b%b)*+(?:\r\n|\n|\r)' % (loose, s, loose))

  def record(self, data: bytes, begin: int, final: bool) -> Record | None:
    """Reads a row.

    Args:
      data: Bytes of a file.
      begin: Position at which the row begins.
      final: Whether the file ends where the data does.

    Returns:
      None if the data ends before the row does.

    Raises:
      Malformed: A quote is where it cannot be.
    """
    fields, at = [], begin
    while True:
      value, at = self._field(data, at, final)
      if at == len(data) and not final:
        return None
      fields.append(value)
      following = data[at : at + 1]
      if following != self.separator:
        break
      at += 1
    if following == b'\r' and at + 1 == len(data) and not final:
      return None
    match = _BREAK.match(data, at)
    return Record(begin, match.end() if match else at, fields)

  def _field(self, data: bytes, at: int, final: bool) -> tuple[bytes, int]:
    """Returns a field and the position behind it, the end if it is cut."""
    if self._late.match(data, at):
      raise Malformed(
          at, at, 'a blank stands between a separator and a quote', 'Remove it,'
          ' or set {quote}=none if quotes are characters like others.'
      )
    if not self.quote or not data.startswith(self.quote, at):
      match = self._plain.match(data, at)
      return match[0], match.end()
    match = self._quoted.match(data, at)
    if match is None:
      if final:
        raise _not_closed(at, len(data) - 1)
      return b'', len(data)
    end = match.end()
    following = data[end : end + 1]
    if following not in (b'', self.separator, b'\r', b'\n'):
      advice = _DOUBLE
      if data[end - 2 : end - 1] == b'\\':
        advice = f'A backslash before a quote is no escape here. {_DOUBLE}'
      if separator := _SEPARATORS.get(following):
        advice = f"If {separator} separates the columns, set {{separator}}"
        advice += f"='{separator}'. {_DOUBLE}"
      raise Malformed(
          at, end - 1, 'a value begins with a quote, which closes in line'
          f' {{end}} before {following.decode(errors="replace")!r}', advice
      )
    value = match[0][1:-1].replace(self.quote * 2, self.quote)
    return value, end

  def check(self, data: bytes, columns: int, final: bool) -> int:
    """Checks rows one by one; returns the position behind the last whole one.

    Args:
      data: Bytes of a file, from the beginning of a row.
      columns: Fields of a row.
      final: Whether the file ends where the data does.

    Raises:
      Malformed: A quote is where it cannot be, or it is not clear where it
        closes.
    """
    at = 0
    while at < len(data):
      if match := self._loose.match(data, at):
        at = match.end()
        continue
      record = self.record(data, at, final)
      if record is None:
        return at
      # It spans lines, or is the last one.
      if (
          _BREAK.search(data, at, record.end - 1)
          and any(b'\n' in f or b'\r' in f for f in record.fields)
          and not self._strict.fullmatch(data[at : record.end] + b'\n')
          and not self._strict.fullmatch(data, at, record.end)
      ):
        raise Malformed(
            at, record.end - 1, 'a row with line breaks between quotes, up to'
            ' line {end}, holds another quote inside a value'
        )
      self.check_lines(record.fields, columns, at, record.end - 1)
      at = record.end
    return at

  def check_lines(
      self, fields: list[bytes], columns: int, begin: int, end: int
  ) -> None:
    """Refuses a row whose lines would each be a row.

    Args:
      fields: Of the row; or of one with a value of line breaks.
      columns: Fields of a row.
      begin: See `Malformed`.
      end: See there.
    """
    for before, value in enumerate(fields):
      if self._is_rows(value, before, columns):
        raise ambiguous(begin, end)

  def _is_rows(self, value: bytes, before: int, columns: int) -> bool:
    """Returns whether a value may be the rest of a row, rows and a beginning.

    Also where the ends do not fit: two lines between them are not by chance as
    long as rows.
    """
    lines = _BREAK.split(value)
    counts = [line.count(self.separator) for line in lines]
    inner = [n for n, line in zip(counts[1:-1], lines[1:-1]) if line]
    fits = counts[0] == columns - 1 - before and counts[-1] == before
    return (
        columns > 1
        and len(lines) > 1
        and (fits or len(inner) > 1)
        and all(n == columns - 1 for n in inner)
    )


def ambiguous(begin: int, end: int) -> Malformed:
  """Makes the error of a value whose lines would each be a row."""
  return Malformed(
      begin, end, (
          'a quoted value spans lines up to line {end}, which have as many'
          ' fields as a row, so its end is ambiguous'),
      'If it is one value, remove its line breaks; if not, close the quote. If'
      ' quotes are ordinary characters, set {quote}=none.',
  )


def _not_closed(begin: int, end: int) -> Malformed:
  return Malformed(
      begin, end, (
          'a value begins with a quote that is not closed up to line {end}, the'
          ' last line')
  )

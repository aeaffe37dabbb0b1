"""Cuts a raw file of Ali-CCP into chunks of whole lines, or a span of it."""

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, NamedTuple

from esmm_jax.types import InputError
import numpy as np

CHUNK_BYTES = 16 << 20
LONGEST_LINE = 16 << 20
_EXCERPT = 60
_STEP = 1 << 12  # Bytes in which the beginning of a line is looked for.
_NEWLINE = 10


class Span(NamedTuple):
  """The lines of a file that end in a range of its bytes.

  Spans that begin at multiples of the bytes of a chunk have the chunks of the
  whole file.

  Attributes:
    low: The first byte.
    high: The byte behind the last one; None: the end of the file, whose last
      line needs no end.
  """

  low: int = 0
  high: int | None = None


WHOLE = Span()


class BadLine(InputError):
  """A line that violates the format.

  Attributes:
    name: Of the file.
  """

  def __init__(self, name: str, line: int, text: str):
    """Makes the error.

    Args:
      name: Of the file.
      line: From 1, of those that were read.
      text: The damage.
    """
    super().__init__(f'{name}, line {line}, {text}')
    self.name, self._line, self._text = name, line, text

  def __reduce__(self) -> tuple[Any, ...]:
    return BadLine, (self.name, self._line, self._text)

  def behind(self, lines: int) -> 'BadLine':
    """Returns the error where so many lines come before those read."""
    return BadLine(self.name, self._line + lines, self._text)


def read(
    stream: BinaryIO,
    name: str,
    size: int,
    progress: Callable[[int], None] | None = None,
    span: Span = WHOLE,
) -> Iterator[tuple[np.ndarray, bool]]:
  """Cuts a stream into chunks of whole lines.

  Args:
    stream: Of a file that begins before the span, if `span` is not all of it.
    name: Of the file, in messages.
    size: Bytes that are read at once.
    progress: Gets the number of bytes just read.
    span: The lines that are read.

  Yields:
    uint8, whole lines of about `size` bytes, and True; False with the file's
    last line if it has no end, which is then added.

  Raises:
    InputError: A line is too long.
  """
  tail, at = b'', span.low
  if at:
    tail = _unfinished(stream, name, at)
    stream.seek(at)
  while True:
    most = size if span.high is None else min(size, span.high - at)
    chunk = bytearray(len(tail) + most + 1)
    chunk[: len(tail)] = tail
    num = stream.readinto(memoryview(chunk)[len(tail) : -1]) or 0
    if progress is not None:
      progress(num)
    at += num
    end = len(tail) + num
    if not num:
      if end and span.high is None:
        chunk[end] = _NEWLINE
        yield np.frombuffer(chunk, np.uint8, end + 1), False
      return
    # Only what was just read can have the newline.
    cut = chunk.rfind(b'\n', len(tail), end) + 1
    tail = bytes(memoryview(chunk)[cut:end])
    if cut:
      yield np.frombuffer(chunk, np.uint8, cut), True
    elif end > LONGEST_LINE:
      _refuse(name, tail)


def _unfinished(stream: BinaryIO, name: str, end: int) -> bytes:
  """Returns what the line that goes on at a byte has before it."""
  text = b''
  while len(text) < end:
    if len(text) > LONGEST_LINE:
      _refuse(name, text)  # As the part before does, which is heard first.
    low = max(0, end - max(_STEP, 2 * len(text)))
    stream.seek(low)
    text = stream.read(end - low)
    if cut := text.rfind(b'\n') + 1:
      return text[cut:]
  return text


def _refuse(name: str, text: bytes) -> None:
  """Refuses the beginning of a line that is too long."""
  begin = excerpt(np.frombuffer(text, np.uint8), 0)
  raise InputError(
      f'{name}: there is no line end in {len(text):,} bytes, which begin with'
      f' {begin}. This is no file of Ali-CCP, or it is damaged.'
  )


def excerpt(chunk: np.ndarray, start: int) -> str:
  """Returns the beginning of a line as a Python literal."""
  text = chunk[start : start + _EXCERPT].tobytes()
  line = text.split(b'\n')[0]
  more = '...' if len(line) == _EXCERPT else ''
  return repr(line)[1:] + more

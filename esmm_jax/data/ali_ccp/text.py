"""Reads a raw file of Ali-CCP, chunk by chunk, into columns of raw ids."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
import concurrent.futures
import contextlib
import dataclasses
from typing import Any, BinaryIO, NamedTuple

from esmm_jax.data.ali_ccp import chunks, kernel
from esmm_jax.data.ali_ccp.chunks import BadLine, CHUNK_BYTES, excerpt, Span
from esmm_jax.data.ali_ccp.chunks import WHOLE
from esmm_jax.data.ali_ccp.layout import code_name, Layout
from esmm_jax.types import InputError, Ragged
import numpy as np

_CUT_OFF = (
    'It is the last line and does not end: the file seems to be cut off; fetch'
    ' it again.'
)
_MEND = (
    "Mend the file, or set bad_lines='drop' to leave such lines out and count"
    ' them.'
)


class Rows(NamedTuple):
  """Lines of a file as columns.

  Attributes:
    line: int64 [n], from 1.
    sample_id: int64 [n], 0 in the common file.
    click: int8 [n], 0 in the common file; so is the next.
    conversion: int8 [n].
    key: uint64 [n], the common_feature_index.
    ids: Field with one value -> int32 [n], -1 where absent.
    weights: The weighted ones of these -> float32 [n], 0 where absent.
    lists: Field with several -> its raw ids and, if it is weighted, float32
      weights, the entries of a row by falling weight, then by id. Those without
      weights stand as in the file.
  """

  line: np.ndarray
  sample_id: np.ndarray
  click: np.ndarray
  conversion: np.ndarray
  key: np.ndarray
  ids: Mapping[str, np.ndarray]
  weights: Mapping[str, np.ndarray]
  lists: Mapping[str, Ragged]


@dataclasses.dataclass
class Counts:
  """Counts over the lines of a file.

  Attributes:
    lines: All lines.
    blank_lines: Empty ones, which are skipped.
    rows: Lines that were read.
    tokens: Triples on them.
    bad_lines: Reason -> lines that violate the format.
    first_bad: Reason -> `line`, its number, and `text`, an excerpt.
    unknown_fields: Name -> triples of a field that the format does not have.
    duplicates: Field with one value -> values beyond the first on a line.
    values_not_one: Field without weights -> values other than 1.
  """

  lines: int = 0
  blank_lines: int = 0
  rows: int = 0
  tokens: int = 0
  bad_lines: dict[str, int] = dataclasses.field(default_factory=dict)
  first_bad: dict[str, Any] = dataclasses.field(default_factory=dict)
  unknown_fields: dict[str, int] = dataclasses.field(default_factory=dict)
  duplicates: dict[str, int] = dataclasses.field(default_factory=dict)
  values_not_one: dict[str, int] = dataclasses.field(default_factory=dict)

  def to_dict(self) -> dict[str, Any]:
    """Returns the counts for a report."""
    return dataclasses.asdict(self)

  def merge(self, other: 'Counts') -> None:
    """Adds the lines that follow."""
    for reason, first in other.first_bad.items():
      line = self.lines + first['line']
      self.first_bad.setdefault(reason, first | {'line': line})
    for name, value in vars(other).items():
      counts = getattr(self, name)
      if isinstance(value, int):
        setattr(self, name, counts + value)
      elif name != 'first_bad':
        for key, number in value.items():
          _add(counts, key, number)


def read_rows(
    stream: BinaryIO,
    name: str,
    layout: Layout,
    counts: Counts,
    *,
    bad_lines: str = 'error',
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
    span: Span = WHOLE,
) -> Iterator[Rows]:
  """Reads a file, or a span of it, in order, some chunks at once in threads.

  Args:
    stream: The bytes of the file.
    name: Name of the file in messages.
    layout: The fields to read.
    counts: Updated as chunks are read.
    bad_lines: `error`, or `drop` to leave out and count lines that violate the
      format.
    threads: Number of threads that parse.
    progress: Called with the number of bytes just read.
    chunk_bytes: Bytes that are parsed at once.
    span: The lines that end in it are read.

  Yields:
    The rows of a chunk; chunks without rows are skipped.

  Raises:
    InputError: A line violates the format and `bad_lines` is `error`, or it is
      longer than any line can be; the first such line.
  """
  fields = layout.singles + layout.lists
  how = (
      layout.skeleton,
      layout.codes(),
      len(layout.singles),
      np.array([f in layout.weighted for f in fields], bool),
      np.array([f in layout.last for f in fields], bool),
  )

  def parse(piece: tuple[np.ndarray, bool]) -> tuple[Rows, kernel.Parsed]:
    parsed = kernel.parse(piece[0], *how)
    return _columns(layout, parsed), parsed

  pieces = chunks.read(stream, name, chunk_bytes, progress, span)
  with contextlib.closing(_map_ahead(parse, pieces, threads)) as results:
    for (chunk, is_whole), (rows, parsed) in results:
      if bad_lines == 'error':
        _refuse_bad_lines(counts.lines, parsed, chunk, name, is_whole)
      _add_counts(counts, layout, parsed, chunk)
      # The kernel numbers lines from the chunk's beginning.
      rows.line[:] += counts.lines - parsed.lines
      if len(rows.key):
        yield rows


def _map_ahead(
    function: Callable[[Any], Any], items: Iterator[Any], threads: int
) -> Iterator[tuple[Any, Any]]:
  """Yields (item, function(item)) in order, computed ahead in threads.

  An error of an item is raised after what comes before it.
  """
  error: InputError | None = None

  def ahead() -> Iterator[Any]:
    nonlocal error
    try:
      yield from items
    except InputError as e:
      error = e

  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    pending: deque[Any] = deque()
    try:
      for item in ahead():
        pending.append((item, pool.submit(function, item)))
        # One more than threads, so that none is idle while the caller works.
        if len(pending) > threads:
          item, future = pending.popleft()
          yield item, future.result()
      for item, future in pending:
        yield item, future.result()
      if error is not None:
        raise error
    finally:
      for _, future in pending:
        future.cancel()


def _columns(layout: Layout, parsed: kernel.Parsed) -> Rows:
  """Arranges the kernel's arrays as `Rows`; line numbers are the chunk's."""
  lists = {}
  for k, name in enumerate(layout.lists):
    offsets = parsed.offsets[k]
    ids, weights = kernel.unpack(parsed.entries[k, : offsets[-1]])
    lists[name] = Ragged(
        ids, offsets.copy(), weights if name in layout.weighted else None
    )
  return Rows(
      parsed.line,
      parsed.sample_id,
      parsed.labels[0],
      parsed.labels[1],
      parsed.key,
      {n: parsed.ids[k] for k, n in enumerate(layout.singles)},
      {
          n: parsed.weights[k]
          for k, n in enumerate(layout.singles)
          if n in layout.weighted
      },
      lists,
  )


def _bad_lines(
    parsed: kernel.Parsed,
) -> Iterator[tuple[str, int, int, int, int]]:
  """Yields the reasons of bad lines, ordered by the first line of each.

  Each with the number of bad lines, and of the first one the line in the chunk,
  its first byte and the byte of the damage.
  """
  bad = zip(kernel.REASONS, parsed.bad.tolist())
  present = [(reason, *record) for reason, record in bad if record[0]]
  yield from sorted(present, key=lambda r: r[2])


def _refuse_bad_lines(
    lines_before: int,
    parsed: kernel.Parsed,
    chunk: np.ndarray,
    name: str,
    is_whole: bool,
) -> None:
  """Refuses a chunk with bad lines.

  Args:
    lines_before: Lines of the file before the chunk.
    parsed: The chunk, parsed.
    chunk: uint8, its bytes.
    name: Of the file.
    is_whole: False if the last line of the file has no end.

  Raises:
    BadLine: Names the first bad line, the byte and the reason.
  """
  for reason, _, line, start, damage in _bad_lines(parsed):
    is_cut = line == parsed.lines and not is_whole
    raise BadLine(
        name,
        lines_before + line,
        f'byte {damage - start + 1}: {kernel.REASONS[reason]}:'
        f' {excerpt(chunk, start)}. {_CUT_OFF if is_cut else _MEND}',
    )


def _add_counts(
    counts: Counts, layout: Layout, parsed: kernel.Parsed, chunk: np.ndarray
) -> None:
  """Adds a chunk to the counts."""
  for reason, number, line, start, _ in _bad_lines(parsed):
    _add(counts.bad_lines, reason, number)
    first = {'line': counts.lines + line, 'text': excerpt(chunk, start)}
    counts.first_bad.setdefault(reason, first)
  counts.lines += parsed.lines
  counts.blank_lines += parsed.blank
  counts.rows += len(parsed.key)
  counts.tokens += parsed.tokens
  codes, numbers = np.unique(parsed.unknown, return_counts=True)
  for code, number in zip(codes.tolist(), numbers.tolist()):
    _add(counts.unknown_fields, code_name(code), number)
  fields = layout.singles + layout.lists
  notes = (counts.duplicates, counts.values_not_one)
  for noted, numbers in zip(notes, parsed.notes.tolist()):
    for field, number in zip(fields, numbers):
      if number:
        _add(noted, field, number)


def _add(counts: dict[str, int], key: str, number: int) -> None:
  counts[key] = counts.get(key, 0) + number

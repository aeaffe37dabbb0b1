"""Reads a raw file of Ali-CCP, chunk by chunk, into columns of raw ids."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
import concurrent.futures
import dataclasses
from typing import Any, BinaryIO, NamedTuple

from esmm_jax.data.ali_ccp import kernel
from esmm_jax.types import InputError, Ragged
import numpy as np

CHUNK_BYTES = 16 << 20
LONGEST_LINE = 16 << 20
_EXCERPT = 60


@dataclasses.dataclass(frozen=True)
class Layout:
  """What is read of the lines of a file.

  Attributes:
    skeleton: Whether it is the skeleton; otherwise the common file.
    singles: Fields with one value a line.
    lists: Fields with several.
    weighted: Fields whose values count as weights; of the others, values other
      than 1 are counted.
    last: Those of `singles` of which the last value counts. Of the others the
      first one does, and the rest are counted as duplicates.
    ignored: Fields that are known and not read.
  """

  skeleton: bool
  singles: tuple[str, ...]
  lists: tuple[str, ...]
  weighted: frozenset[str] = frozenset()
  last: frozenset[str] = frozenset()
  ignored: frozenset[str] = frozenset()

  def codes(self) -> np.ndarray:
    """The look-up of `kernel.parse`, int8."""
    codes = np.full(kernel.NAME_CODES, kernel.UNKNOWN, np.int8)
    for k, name in enumerate(self.singles + self.lists):
      codes[kernel.name_code(name)] = k
    for name in self.ignored:
      codes[kernel.name_code(name)] = kernel.IGNORED
    return codes


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
  """What was met in a file.

  Attributes:
    lines: Lines.
    blank_lines: Those with nothing on them, which are skipped.
    rows: Lines that were read.
    tokens: Triples on them.
    bad_lines: Reason -> lines that are not of the format.
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
    """For a report."""
    return dataclasses.asdict(self)


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
) -> Iterator[Rows]:
  """Reads a file in order, a few chunks at a time in threads.

  Args:
    stream: The bytes of the file.
    name: What to call it in messages.
    layout: What to read.
    counts: Gets what is met.
    bad_lines: `error`, or `drop` to leave lines out that are not of the format
      and count them.
    threads: That parse.
    progress: Is told how many bytes were read.
    chunk_bytes: Bytes that are parsed at once.

  Yields:
    The lines of a chunk; chunks without lines are passed over.

  Raises:
    InputError: A line is not of the format and `bad_lines` is `error`, or it is
      longer than any line can be.
  """
  fields = layout.singles + layout.lists
  codes = layout.codes()
  weighted = np.array([f in layout.weighted for f in fields], bool)
  last = np.array([f in layout.last for f in fields], bool)

  def work(chunk: np.ndarray):
    parsed = kernel.parse(
        chunk, layout.skeleton, codes, len(layout.singles), weighted, last
    )
    return _columns(layout, parsed), parsed, chunk

  chunks = _chunks(stream, name, chunk_bytes, progress)
  with concurrent.futures.ThreadPoolExecutor(threads) as pool:
    pending: deque[Any] = deque()
    try:
      while True:
        chunk, whole = next(chunks, (None, True))
        if chunk is not None:
          pending.append((pool.submit(work, chunk), whole))
        while pending and (chunk is None or len(pending) > threads):
          future, ends = pending.popleft()
          rows, parsed, text = future.result()
          _take_in(counts, layout, parsed, text, name, bad_lines, ends)
          if len(rows.key):
            yield rows
        if chunk is None:
          return
    finally:
      for future, _ in pending:
        future.cancel()


def _columns(layout: Layout, parsed: kernel.Parsed) -> Rows:
  """`Rows` from what the kernel gives; line numbers are the chunk's own."""
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


def _take_in(
    counts: Counts,
    layout: Layout,
    parsed: kernel.Parsed,
    chunk: np.ndarray,
    name: str,
    bad_lines: str,
    ends: bool,
) -> None:
  """Adds a chunk to the counts and shifts its line numbers to the file's."""
  before = counts.lines
  first = np.where(parsed.bad[:, 0] > 0, parsed.bad[:, 1], len(chunk) + 1)
  for code in np.argsort(first, kind='stable'):
    number, line, start, place = parsed.bad[code].tolist()
    if not number:
      continue
    reason = list(kernel.REASONS)[code]
    text = _excerpt(chunk, start)
    if bad_lines == 'error':
      cut = not ends and line == parsed.lines
      raise InputError(
          f'{name}, line {before + line}, byte {place - start + 1}:'
          f' {kernel.REASONS[reason]}: {text}. '
          + (
              'It is the last line and does not end: the file seems to be cut'
              ' off; fetch it again.'
              if cut
              else "Mend the file, or set bad_lines='drop' to leave such lines"
              ' out and count them.'
          )
      )
    counts.bad_lines[reason] = counts.bad_lines.get(reason, 0) + number
    counts.first_bad.setdefault(reason, {'line': before + line, 'text': text})
  parsed.line[:] += before
  counts.lines += parsed.lines
  counts.blank_lines += parsed.blank
  counts.rows += len(parsed.key)
  counts.tokens += parsed.tokens
  codes, times = np.unique(parsed.unknown, return_counts=True)
  for code, n in zip(codes.tolist(), times.tolist()):
    unknown = kernel.code_name(code)
    counts.unknown_fields[unknown] = counts.unknown_fields.get(unknown, 0) + n
  fields = layout.singles + layout.lists
  found = (counts.duplicates, counts.values_not_one)
  for noted, numbers in zip(found, parsed.notes.tolist()):
    for field, n in zip(fields, numbers):
      if n:
        noted[field] = noted.get(field, 0) + n


def _excerpt(chunk: np.ndarray, start: int) -> str:
  """The beginning of a line, as Python would write it."""
  text = chunk[start : start + _EXCERPT].tobytes()
  line = text.split(b'\n')[0]
  more = '...' if len(line) == _EXCERPT else ''
  return repr(line)[1:] + more


def _chunks(
    stream: BinaryIO,
    name: str,
    size: int,
    progress: Callable[[int], None] | None,
) -> Iterator[tuple[np.ndarray, bool]]:
  """Whole lines of about `size` bytes; False with the last if it has no end.

  Raises:
    InputError: A line is too long.
  """
  tail = b''
  while True:
    chunk = bytearray(len(tail) + size + 1)
    chunk[: len(tail)] = tail
    num = stream.readinto(memoryview(chunk)[len(tail) : -1]) or 0
    if progress is not None:
      progress(num)
    end = len(tail) + num
    if not num:
      if end:
        chunk[end] = kernel.NEWLINE
        yield np.frombuffer(chunk, np.uint8, end + 1), False
      return
    # Only what was just read can have the newline.
    cut = chunk.rfind(b'\n', len(tail), end) + 1
    tail = bytes(memoryview(chunk)[cut:end])
    if cut:
      yield np.frombuffer(chunk, np.uint8, cut), True
    elif end > LONGEST_LINE:
      text = _excerpt(np.frombuffer(chunk, np.uint8), 0)
      raise InputError(
          f'{name}: there is no line end in {end:,} bytes, which begin with'
          f' {text}. This is no file of Ali-CCP, or it is damaged.'
      )

"""The parts of the files: whole lines of a log, or a table.

No value of the log has a line break, so a file may be cut behind any line.
"""

from collections.abc import Iterator, Sequence
import os
from typing import NamedTuple

from esmm_jax.data.csv_files.records import BLOCK

# Bytes of text: a part of a log is in memory.
PART_BYTES = 1 << 25
# Parts for each worker, so that a slow one is not waited for.
_FOR_EACH = 4
LOG = 'log'


class Lines(NamedTuple):
  """Consecutive lines of a file.

  Attributes:
    number: From 0, of all parts of all files.
    path: The file.
    kind: `LOG`, or one of `tables.KINDS`, which are whole files.
    low: The first byte.
    high: The byte behind the last one.
  """

  number: int
  path: str
  kind: str
  low: int
  high: int


class Part(NamedTuple):
  """Consecutive rows of the log.

  Attributes:
    number: From 0, in the order of the log.
    folder: Has their columns.
    log_file: Index of their file in `RawLog.log_files`.
    line: The line of the first row in its file; the header is line 1.
    first: Number of the first row in the log.
    first_kept: Number of the first row among those that the options keep, once
      that is clear.
  """

  number: int
  folder: str
  log_file: int
  line: int
  first: int
  first_kept: int = 0


def plan(paths: Sequence[str], workers: int) -> list[Lines]:
  """Cuts the logs into parts of about equal size.

  Args:
    paths: The logs, the users, the videos.
    workers: How many will do them.
  """
  *logs, users, videos = paths
  total = sum(map(os.path.getsize, logs))
  size = PART_BYTES
  if workers > 1:
    size = min(size, max(1, total // (_FOR_EACH * workers)))
  pieces = [
      (path, LOG, *span) for path in logs for span in _spans(path, size)
  ]
  for path, kind in ((users, 'users'), (videos, 'videos')):
    pieces.append((path, kind, 0, os.path.getsize(path)))
  return [Lines(k, *piece) for k, piece in enumerate(pieces)]


def _spans(path: str, size: int) -> Iterator[tuple[int, int]]:
  """Yields the ends of parts of a file, each behind a line."""
  end, low = os.path.getsize(path), 0
  num = max(1, round(end / size))
  with open(path, 'rb') as f:
    for k in range(1, num):
      f.seek(max(low, end * k // num))
      line = f.readline(BLOCK)  # No row is longer.
      high = f.tell()
      if line.endswith(b'\n') and low < high < end:
        yield low, high
        low = high
  yield low, end

"""The parts of a log, which different workers read.

A part is a run of files, or of a Parquet file rows that begin at a multiple of
`Log.read_rows`, behind the beginning of a row group. A CSV file is one part: in
the middle of it nobody knows whether a quote is open.
"""

from collections.abc import Callable, Iterator, Sequence
import itertools
from typing import NamedTuple, TypeVar

from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.file_kinds import DAMAGED
from esmm_jax.data.files import parquet_rows
from esmm_jax.data.files.row_files import UnevenPieces
from esmm_jax.data.tabular.rows import Log, Span
from esmm_jax.types import InputError
import numpy as np

Result = TypeVar('Result')
# Parts for each worker, so that a slow one is not waited for.
_FOR_EACH = 4


class Part(NamedTuple):
  """Consecutive rows of a log.

  Attributes:
    number: From 0.
    spans: The rows.
    total: Number of the first row in the log, once that is clear.
  """

  number: int
  spans: tuple[Span, ...]
  total: int = 0


def plan(log: Log, workers: int, cut_files: bool = True) -> list[Part]:
  """Cuts a log into parts of about equal size; into one for one worker.

  Args:
    log: The log.
    workers: How many will do them.
    cut_files: Whether Parquet files may be cut.
  """
  if workers == 1:
    return [Part(0, tuple(map(Span, range(len(log.paths)))))]
  size = sum(log.sizes.values()) / (_FOR_EACH * workers)
  parts: list[list[Span]] = [[]]
  done = 0.0
  for span, num in _pieces(log, size if cut_files else np.inf):
    # By the middle of a piece, so that large ones stand alone.
    if parts[-1] and done + num / 2 > size * len(parts):
      parts.append([])
    parts[-1].append(span)
    done += num
  return [Part(k, tuple(_joined(spans))) for k, spans in enumerate(parts)]


def _pieces(log: Log, size: float) -> Iterator[tuple[Span, float]]:
  """Yields the smallest parts, with their bytes; cuts larger files alone."""
  for file, path in enumerate(log.paths):
    num = log.sizes[path]
    begins = _begins(log, path) if num > size else []
    if len(begins) < 3:
      yield Span(file), num
      continue
    for low, high in zip(begins, begins[1:]):
      yield Span(file, low, high), num * (high - low) / begins[-1]


def _begins(log: Log, path: str) -> list[int]:
  """Returns the rows at which a file may be cut, and its end; [] if nowhere.

  A file that cannot be read is not cut: the error is raised in its turn.
  """
  try:
    if file_kinds.is_csv(path, log.dialect):
      return []
    return parquet_rows.cuts(path, log.read_rows)
  except (InputError, *DAMAGED):
    return []


def _joined(spans: Sequence[Span]) -> Iterator[Span]:
  """Joins consecutive spans of one file."""
  waiting: Span | None = None
  for span in spans:
    if waiting and waiting.file == span.file:
      waiting = waiting._replace(stop=span.stop)
      continue
    if waiting:
      yield waiting
    waiting = span
  if waiting:
    yield waiting


def evenly(
    log: Log, workers: int, do: Callable[[list[Part]], Result]
) -> tuple[list[Part], Result]:
  """Does something by part; with whole files where rows are too large.

  Args:
    log: The log.
    workers: How many will do the parts.
    do: Gets the parts; may raise `UnevenPieces`, and is called again then.

  Returns:
    The parts, and what `do` returned.
  """
  parts = plan(log, workers)
  try:
    return parts, do(parts)
  except UnevenPieces:
    parts = plan(log, workers, cut_files=False)
    return parts, do(parts)


def with_totals(parts: Sequence[Part], rows: Sequence[int]) -> list[Part]:
  """Notes where in the log each part begins.

  Args:
    parts: The parts; those without their rows in `rows` are left out.
    rows: Of each part.
  """
  firsts = itertools.accumulate(rows, initial=0)
  return [
      part._replace(total=total)
      for part, _, total in zip(parts, rows, firsts)
  ]

"""Scores spans of files by the workers of an engine, in the order of the rows.

A span is a file, or of a Parquet file rows that begin at a multiple of the rows
of a part, behind the beginning of a row group; so the parts are those of one
process, and so are the batches that are scored together.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import itertools
import os
import tempfile
from typing import Any, NamedTuple

from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.csv_files import file_kinds
from esmm_jax.data.csv_files.file_kinds import DAMAGED
from esmm_jax.data.files import parquet_rows
from esmm_jax.data.files.row_files import UnevenPieces
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.serving import joining
from esmm_jax.serving.scored_parts import FileParts
from esmm_jax.serving.workers.batch_scorer import BatchScorer
from esmm_jax.types import InputError
from esmm_jax.workdir.identity import Stamp


class Workers(NamedTuple):
  """Processes that score.

  Attributes:
    engine: Gives them their spans.
    scorer: Loads in each of them what this process has loaded.
  """

  engine: Engine
  scorer: BatchScorer


class Span(NamedTuple):
  """Rows of a file.

  Attributes:
    file: Number of the file.
    path: The file.
    first: Number of the first row.
    stop: One past the last row; None: the file as a whole.
  """

  file: int
  path: str
  first: int = 0
  stop: int | None = None


class Work:
  """A job of scoring, as its workers have it: each loads the run once."""

  def __init__(
      self,
      scorer: BatchScorer,
      stamp: Stamp,
      history: Any,
      parts: FileParts,
      folder: str,
      output: str,
  ):
    """Takes the parts of a job; see `of`."""
    self._args = scorer, stamp, history, parts, folder, output
    self.parts, self.folder, self.output = parts, folder, output
    self._predictor: Any = None

  @classmethod
  def of(
      cls,
      scorer: BatchScorer,
      predictor: Any,
      parts: FileParts,
      folder: str,
      output: str,
  ) -> 'Work':
    """Returns the job of a predictor.

    Args:
      scorer: Loads the same run.
      predictor: The model; its history goes to the workers as it is.
      parts: How files are scored.
      folder: Of the files of parts.
      output: The file that they are joined in.
    """
    folder, output = os.path.abspath(folder), os.path.abspath(output)
    return cls(
        scorer, predictor.stamp, predictor.history, parts, folder, output
    )

  def __reduce__(self) -> tuple[Any, ...]:
    """Leaves out what is loaded."""
    return Work, self._args

  @property
  def predictor(self) -> Any:
    """The model, loaded when it is first asked for.

    Raises:
      InputError: The run has other parameters than when the job began.
    """
    if self._predictor is None:
      scorer, stamp, history, *_ = self._args
      predictor = scorer.predictor
      if predictor.stamp != stamp:
        raise InputError(
            f'{", ".join(scorer.runs)}: the run was trained again while rows'
            ' were scored with it. Score them again.'
        )
      if history is not None:
        predictor = predictor.with_history(history)
      self._predictor = predictor
    return self._predictor


def score_by_span(
    engine: Engine,
    work: Work,
    paths: Sequence[str],
    tell: Tell,
    read_whole: Callable[[int], None],
) -> Iterator[str]:
  """Scores files; parts that are there are not scored again.

  Args:
    engine: Its workers score.
    work: The job.
    paths: The files.
    tell: Gets rows as they are done.
    read_whole: Gets the number of each file that is done, and may refuse it.

  Yields:
    The files of the parts, in the order of the rows; those of a file when all
    of them are there.

  Raises:
    InputError: See `scoring.score_files`: the first error in the order of the
      rows.
  """
  done = 0
  for cut in (True, False):
    files = range(done, len(paths))
    spans = [s for k in files for s in _spans(work.parts, k, paths[k], cut)]
    try:
      for k, parts in _each_file(engine, work, spans, tell):
        read_whole(k)
        yield from parts
        done = k + 1
      return
    except UnevenPieces:  # Parts end where only a reader of the whole knows.
      continue


def _each_file(
    engine: Engine, work: Work, spans: Sequence[Span], tell: Tell
) -> Iterator[tuple[int, list[str]]]:
  """Yields the number of each file and its parts."""
  there = {span: _there(work, span) for span in spans}
  todo = [span for span in spans if there[span] is None]
  tell(sum(s.stop - s.first for s in spans if there[s] is not None))
  with tempfile.TemporaryDirectory() as folder:
    with contextlib.closing(
        engine.map(score_span, work, todo, folder, tell)
    ) as results:
      for k, of_file in itertools.groupby(spans, lambda span: span.file):
        parts: list[str] = []
        for span in of_file:
          held = there[span]
          parts += next(results) if held is None else held
        yield k, parts


def score_span(work: Work, span: Span, tell: Tell) -> list[str]:
  """Scores the parts of a span that are not there; returns their files."""
  paths = []
  parts = work.parts.read(work.predictor, *span)
  with contextlib.closing(prefetch(parts, lambda part: part)) as ahead:
    for part in ahead:
      paths.append(part.finish(work.folder, work.output))
      tell(part.num_rows)
  return paths


def _spans(
    parts: FileParts, file: int, path: str, cut: bool
) -> Iterator[Span]:
  """Yields the smallest spans of a file, by which nothing is read twice.

  A file that cannot be read is not cut: the error is raised in its turn.
  """
  ends: list[int] = []
  with contextlib.suppress(InputError, *DAMAGED):
    if cut and not file_kinds.is_csv(path, parts.dialect):
      ends = parquet_rows.cuts(path, parts.rows)
  if len(ends) < 2:
    yield Span(file, path)
  for first, stop in itertools.pairwise(ends):
    yield Span(file, path, first, stop)


def _there(work: Work, span: Span) -> list[str] | None:
  """Returns the parts of a span if all of them are scored; else None."""
  if span.stop is None:
    return None
  paths = []
  for first in range(span.first, span.stop, work.parts.rows):
    path = os.path.join(work.folder, work.parts.name(span.file, first))
    if not os.path.exists(path):
      return None
    joining.num_rows(path)  # Refuses a damaged one.
    paths.append(path)
  return paths

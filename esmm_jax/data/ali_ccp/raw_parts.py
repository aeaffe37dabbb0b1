"""The parts of a pair of raw files, and what is read of each."""

import os
from typing import NamedTuple

from esmm_jax.data.ali_ccp.chunks import Span, WHOLE
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.ali_ccp.files import KINDS, RawFiles
from esmm_jax.data.ali_ccp.text import Counts
from esmm_jax.data.store.column_files import Pile
from esmm_jax.data.store.sessions import SessionRows
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, Ragged
import numpy as np

# Parts for each worker, so that a slow one is not waited for; and the fewest
# chunks of one.
_FOR_EACH, _FEWEST_CHUNKS = 4, 2
# Counts over the rows of a skeleton.
FACTS = (
    'rows_read',
    'clicks_read',
    'conversions_read',
    'conversions_without_click',
    'rows_not_sampled',
    'rows_without_common',
)


class Part(NamedTuple):
  """A part of a pair of files.

  Attributes:
    number: From 0.
    kind: `common` or `skeleton`; '' for all of both.
    span: Of that file.
  """

  number: int
  kind: str = ''
  span: Span = WHOLE


class Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    raw_split: `train` or `test`.
    paths: See `RawFiles`.
    splits: The splits that its sessions make, in the order of the hash.
    schema: The fields to read.
    config: The policies.
    folder: For what is read; each part has a folder in it.
    chunk_bytes: Bytes that are parsed at once.
  """

  raw_split: str
  paths: dict[str, dict[str, str]]
  splits: tuple[str, ...]
  schema: Schema
  config: AliCcpConfig
  folder: str
  chunk_bytes: int

  @property
  def shares(self) -> tuple[float, ...]:
    """The share of the sessions of each split."""
    share = self.config.valid_share
    return (1 - share, share) if len(self.splits) > 1 else (1.0,)

  def groups_of(self, part: int, split: str) -> str:
    """Returns the folder of the common rows of a part in a split."""
    return os.path.join(self.folder, str(part), f'groups-{split}')


class FileRead:
  """The lines of a file, or of a span of it, that were read.

  Attributes:
    part: Number of the part.
    kind: `common` or `skeleton`.
    name: Of the file, in messages.
    counts: Over its lines.
    ranges: Field -> its smallest and largest raw id; (0, -1) if it has none.
    facts: Name -> counts over the rows of a skeleton.
    keys: Of a common file, split -> indices uint64 [n] and lines int64 [n].
    sessions: The rows of each session of a skeleton.
    piles: Of a skeleton, split -> its rows, `BUCKETS` piles, None for none.
  """

  def __init__(self, shared: Shared, part: int, kind: str, name: str):
    """Prepares the counts; see the class."""
    self.part, self.kind, self.name = part, kind, name
    self.counts = Counts()
    self.ranges = {f.name: (0, -1) for f in shared.schema.inputs}
    self.facts = dict.fromkeys(FACTS, 0)
    self.keys: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    self.sessions = SessionRows()
    self.piles: dict[str, list[Pile | None]] = {}

  def widen(self, columns: Columns) -> None:
    """Widens `ranges` to the raw ids of some rows."""
    for name, span in self.ranges.items():
      if name not in columns:
        continue
      column = columns[name]
      ids = column.values if isinstance(column, Ragged) else column
      if len(ids) and ids.max() >= 0:
        least = int(ids[ids >= 0].min())
        self.ranges[name] = wider(span, (least, int(ids.max())))


def wider(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
  """Returns the range that spans two, of which any may be empty."""
  if one[1] < one[0]:
    return other
  if other[1] < other[0]:
    return one
  return min(one[0], other[0]), max(one[1], other[1])


def plan(
    files: RawFiles, raw_split: str, workers: int, chunk_bytes: int
) -> list[Part]:
  """Cuts a pair of files into parts of about equal size; one for one worker.

  They begin at multiples of a chunk, so that the chunks, and with them the
  order of what is counted, are those of one part.

  Args:
    files: All files.
    raw_split: Of the pair.
    workers: How many will do them.
    chunk_bytes: See `Shared`.
  """
  paths = files.paths[raw_split]
  if workers == 1 or 'archive' in paths:
    return [Part(0)]
  sizes = [(kind, os.path.getsize(paths[kind])) for kind in KINDS]
  total = sum(size for _, size in sizes)
  step = -(-total // (_FOR_EACH * workers * chunk_bytes))
  step = max(step, _FEWEST_CHUNKS) * chunk_bytes
  parts: list[Part] = []
  for kind, size in sizes:
    begins = [*range(0, size, step)]
    for low, high in zip(begins, [*begins[1:], None]):
      parts.append(Part(len(parts), kind, Span(low, high)))
  return parts

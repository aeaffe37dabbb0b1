"""The third pass: encodes rows, into a folder for each part and split."""

from collections.abc import Iterator, Sequence
import os
import shutil
from typing import NamedTuple

from esmm_jax.data.history.blocks import Dated
from esmm_jax.data.kuairand import history
from esmm_jax.data.kuairand import rows as kuairand_rows
from esmm_jax.data.kuairand.encoder import Encoder
from esmm_jax.data.kuairand.history import Encoding
from esmm_jax.data.kuairand.passes.parts import Part
from esmm_jax.data.kuairand.rows import Rows, Selection, SPLITS
from esmm_jax.data.store.column_files import GrowingTable, join
from esmm_jax.data.store.columns import open_folder, take_rows
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.types import Columns
import numpy as np

_ROWS = 1 << 17  # Read at once, where parts are joined.


class Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    selection: Tells the rows.
    encoder: Of the inputs.
    history: Of all rows; None without one.
    blocks: Of a live history, or None.
    folder: Gets the rows.
  """

  selection: Selection
  encoder: Encoder
  history: Encoding | None
  blocks: Dated | None
  folder: str

  def folder_of(self, split: str, part: Part) -> str:
    """Returns the folder of the rows of a part in a split."""
    return os.path.join(self.folder, f'parts-{split}', f'{part.number:05d}')


def _encode(shared: Shared, part: Part, tell: Tell) -> None:
  """Encodes a part."""
  rows, _ = shared.selection.rows(part)
  columns = shared.encoder.encode(rows)
  if shared.history:
    columns |= shared.history.encode(part.first_kept, len(rows.click))
  columns |= _other_columns(shared, rows, part)
  for k, split in enumerate(SPLITS):
    folder = shared.folder_of(split, part)
    shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
    table = GrowingTable(folder)
    index = np.flatnonzero(rows.split == k)
    if len(index):
      table.append(take_rows(columns, index))
    table.close()
  tell(len(rows.click))


def _other_columns(shared: Shared, rows: Rows, part: Part) -> Columns:
  """Returns the columns that are no inputs."""
  log, config = rows.log, shared.selection.config
  columns: Columns = {
      'click': rows.click,
      'conversion': rows.conversion,
      'group_user': log['user_id'].astype(np.int32),
      'day': log['date'].astype(np.int32),
      'time_ms': log['time_ms'],
      'row': rows.line,
      'log_file': np.full(len(rows.line), part.log_file, np.int8),
  }
  if shared.blocks is not None:
    days_and_times = history.days_and_times(log)
    columns['block'] = shared.blocks.numbers(config.specs, *days_and_times)
  if config.play_time:
    columns['play_time'] = kuairand_rows.play_time(log, rows.click)
  return columns


def encode(
    engine: Engine, shared: Shared, parts: Sequence[Part], tell: Tell
) -> dict[str, Columns]:
  """Makes the pass.

  Args:
    engine: Does the parts.
    shared: What they share.
    parts: The parts, with their places among the rows that are kept.
    tell: Gets rows as they are done.

  Returns:
    Split -> the folder of its columns.
  """
  for _ in engine.map(_encode, shared, parts, shared.folder, tell):
    pass
  folders: dict[str, str] = {}
  for split in SPLITS:
    some = [shared.folder_of(split, part) for part in parts]
    folders[split] = os.path.join(shared.folder, f'rows-{split}')
    join(some, folders[split], _ROWS)
    shutil.rmtree(os.path.dirname(some[0]))
  return folders


def shard(folder: str) -> Iterator[Columns]:
  """Yields the rows of a split as its one shard; removes the folder."""
  yield open_folder(folder)
  shutil.rmtree(folder)

"""Compares prepared data with the random files that it was prepared from.

Everything is compared: each id, weight, list length, label and session of every
row, the vocabularies, and that no row is missing or too many. The content of
the files is drawn again (`ali_ccp_files`) and looked up with NumPy alone;
nothing of the reader is used but the hash that assigns sessions to splits.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.ali_ccp.fields import BY_NAME
from esmm_jax.data.ali_ccp.writer import CODES, ONE, RANGES, Tokens
from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.store.sessions import place
from esmm_jax.schema import FIRST_KEPT, Field, RARE
from esmm_jax.types import Columns, Ragged
import numpy as np

from benchmarks.ali_ccp_files import BLOCK, Block, random_block


def differences(
    builder: AliCcp, num_sessions: dict[str, int], seed: int = 0
) -> dict[str, int]:
  """Counts the differences between prepared data and its raw files.

  Args:
    builder: Prepared, with preset `esmm23`, `conversion_without_click` 'drop'
      and sample 1, from files of `write_random`.
    num_sessions: Raw split, `train` or `test` -> its sessions.
    seed: That of the files.

  Returns:
    `values`, the number of raw values compared, and for each column that
    differs its name -> the rows in which it does. `rows` are missing or
    surplus ones; `vocabulary of FIELD` are ids.
  """
  return _Comparison(builder, num_sessions, seed).run()


class _Written(NamedTuple):
  """A field of n rows, as it was written.

  Attributes:
    row: int64 [t], the row of each value, ascending.
    id: int64 [t], as in the file.
    weight: float32 [t].
  """

  row: np.ndarray
  id: np.ndarray
  weight: np.ndarray


class _Stored:
  """A prepared split.

  Attributes:
    columns: All of its columns.
    groups: Its group table.
    num_compared: Rows of it that were in the raw files so far.
  """

  def __init__(self, source: Any):
    self.columns = source.read(0, len(source))
    self.groups = source.groups
    self.num_compared = 0
    sample_id = self.columns['sample_id']
    self._row_of = np.full(int(sample_id.max(initial=0)) + 1, -1, np.int64)
    self._row_of[sample_id] = np.arange(len(sample_id))

  def __len__(self) -> int:
    return len(self.columns['click'])

  def rows_of(self, sample_id: np.ndarray) -> np.ndarray:
    """The row of each sample_id [n], int64 [n]; -1 where it has none."""
    inside = sample_id < len(self._row_of)
    return np.where(inside, self._row_of[np.where(inside, sample_id, 0)], -1)


class _Comparison:
  """The state of `differences`."""

  def __init__(
      self, builder: AliCcp, num_sessions: Mapping[str, int], seed: int
  ):
    self._builder, self._num_sessions, self._seed = builder, num_sessions, seed
    share = builder.builder_config.valid_share
    self._shares = (1 - share, share)
    self._differences = Counter(values=0)
    self._ids: dict[str, np.ndarray] = {}  # Field -> id of each raw id - first.

  def run(self) -> dict[str, int]:
    """Compares everything; see `differences`."""
    for name, count in self._count_training_values().items():
      self._compare_vocabulary(name, count)
    for raw_split in self._num_sessions:
      self._compare_file_pair(raw_split)
    return dict(self._differences)

  def _add(self, name: str, is_wrong: np.ndarray) -> None:
    number = int(np.count_nonzero(is_wrong))
    if number:
      self._differences[name] += number

  def _blocks(self, raw_split: str) -> Iterator[Block]:
    num = self._num_sessions[raw_split]
    for k in range(-(-num // BLOCK)):
      size = min(BLOCK, num - k * BLOCK)
      yield random_block(raw_split, k, size, self._seed)

  def _splits_of(self, raw_split: str, block: Block) -> np.ndarray:
    """int8 [n], the split of each row, 0 or 1; -1 where the row is dropped."""
    split = place(block.keys, self._shares, 1.0).split
    if raw_split == 'test':
      split[:] = 0
    dropped = (block.click == 0) & (block.conversion == 1)
    return np.where(dropped, -1, split[block.segment_ids])

  def _count_training_values(self) -> dict[str, np.ndarray]:
    """Field -> int64, by raw id less the first: training rows that hold it."""
    counts = {
        name: np.zeros(size, np.int64) for name, (_, size) in RANGES.items()
    }
    for block in self._blocks('train'):
      is_train = self._splits_of('train', block) == 0
      segments = block.segment_ids[is_train]
      times = np.bincount(segments, minlength=len(block.keys))
      for name, count in counts.items():
        common = BY_NAME[name].common
        written = _written(block.common if common else block.skeleton, name)
        weight = times if common else is_train.astype(np.int64)
        np.add.at(count, written.id - RANGES[name][0], weight[written.row])
    return counts

  def _compare_vocabulary(self, name: str, count: np.ndarray) -> None:
    """Compares a vocabulary and its order; keeps the id of each raw id."""
    ids = self._builder.vocabulary(name) - RANGES[name][0]
    frequent = np.flatnonzero(
        count >= self._builder.builder_config.min_count
    )
    different = np.setxor1d(ids, frequent)
    self._add(f'vocabulary of {name}', np.ones(len(different)))
    self._add(f'vocabulary of {name}', np.diff(count[ids]) > 0)
    self._ids[name] = np.full(len(count), RARE, np.int64)
    self._ids[name][ids] = np.arange(len(ids)) + FIRST_KEPT

  def _compare_file_pair(self, raw_split: str) -> None:
    """Compares the splits that a pair of raw files became."""
    splits = ('train', 'valid') if raw_split == 'train' else ('test',)
    stored = [
        _Stored(self._builder.as_data_source(s))
        for s in splits
        if s in self._builder.info.splits
    ]
    first_id = 1
    for block in self._blocks(raw_split):
      split = self._splits_of(raw_split, block)
      for k, part in enumerate(stored):
        self._compare_rows(block, np.flatnonzero(split == k), first_id, part)
      first_id += len(block.segment_ids)
    for part in stored:
      self._add('rows', np.ones(len(part) - part.num_compared))

  def _compare_rows(
      self, block: Block, rows: np.ndarray, first_id: int, stored: _Stored
  ) -> None:
    """Compares rows of a block with the split that they belong to.

    Args:
      block: Drawn again.
      rows: int64 [m], those of the split.
      first_id: The sample_id of the block's first row.
      stored: The split; counts the rows.
    """
    at = stored.rows_of(first_id + rows)
    self._add('rows', at < 0)
    rows, at = rows[at >= 0], at[at >= 0]
    stored.num_compared += len(at)
    columns = stored.columns
    for name, written in (
        ('click', block.click), ('conversion', block.conversion)
    ):
      self._add(name, columns[name][at] != written[rows])
    session = columns['session'][at]
    keys = stored.groups['common_feature_index'][session]
    self._add('session', keys != block.keys[block.segment_ids[rows]])
    # Each session once: its row in the group table, and one of its rows here.
    sessions, first = np.unique(session, return_index=True)
    of_session = block.segment_ids[rows][first]
    for field in self._builder.schema.fields:
      if field.by_group:
        tokens, index = block.common, of_session
        table, where = stored.groups, sessions
      else:
        tokens, index = block.skeleton, rows
        table, where = columns, at
      written = _select(_written(tokens, field.name), index)
      self._differences['values'] += len(written.id)
      ids = self._ids[field.name][written.id - RANGES[field.name][0]]
      num = len(index)
      self._add(field.name, _wrong(field, written, ids, table, where, num))


def _written(tokens: Tokens, name: str) -> _Written:
  """The values of one field, those of a row in the order of the file."""
  index = np.flatnonzero(tokens.field == CODES[name])
  row = np.searchsorted(tokens.offsets, index, side='right') - 1
  weight = (tokens.value[index] / ONE).astype(np.float32)
  return _Written(row, tokens.id[index].astype(np.int64), weight)


def _select(written: _Written, rows: np.ndarray) -> _Written:
  """Some rows, in the order of `rows`, numbered anew."""
  num = int(rows.max(initial=-1)) + 1
  lengths = np.bincount(written.row, minlength=num)
  starts = np.cumsum(lengths) - lengths
  lengths, starts = lengths[rows], starts[rows]
  row = np.repeat(np.arange(len(rows)), lengths)
  within = np.arange(len(row)) - np.repeat(
      np.cumsum(lengths) - lengths, lengths
  )
  at = np.repeat(starts, lengths) + within
  return _Written(row, written.id[at], written.weight[at])


def _wrong(
    field: Field,
    written: _Written,
    ids: np.ndarray,
    table: Columns,
    where: np.ndarray,
    num: int,
) -> np.ndarray:
  """Compares the rows `where` of a stored table with what was written.

  Args:
    field: Of the schema.
    written: Its values of `num` rows.
    ids: Their ids in the vocabulary.
    table: The columns of a split or of its group table.
    where: int64 [num], the row in the table of each row.
    num: Rows compared.

  Returns:
    bool [num], rows that differ.
  """
  row, weights = written.row, written.weight
  column = table[field.name]
  if isinstance(column, Ragged):
    if field.weighted:
      order = np.lexsort((written.id, -weights, row))
      row, ids, weights = row[order], ids[order], weights[order]
    stored = take(column, where)
    wrong = np.diff(stored.offsets) != np.bincount(row, minlength=num)
    if wrong.any():  # The values cannot be compared one to one.
      return wrong
    bad = stored.values != ids
    if field.weighted:
      bad |= stored.weights != weights.astype(stored.weights.dtype)
    np.logical_or.at(wrong, row[bad], True)
    return wrong
  expected = np.zeros(num, np.int64)
  expected[row] = ids
  wrong = column[where] != expected
  if field.weighted:
    stored = table[f'{field.name}.weight'][where]
    expected_weight = np.zeros(num, stored.dtype)
    expected_weight[row] = weights.astype(stored.dtype)
    wrong |= stored != expected_weight
  return wrong

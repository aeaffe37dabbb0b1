"""Compares prepared data with the random files that it was prepared from.

Everything is compared: each id, weight, list length, label and session of every
row, the vocabularies and which rows there are. What stood in the files is drawn
again (`ali_ccp_random`) and looked up with NumPy alone; nothing of the reader
is used but the hash that says which split a session is in.
"""

from collections.abc import Iterator
from typing import NamedTuple

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.ali_ccp.fields import BY_NAME
from esmm_jax.data.ali_ccp.random_files import Block, BLOCK, random_block
from esmm_jax.data.ali_ccp.writer import CODES, ONE, RANGES, Tokens
from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.store.sessions import place
from esmm_jax.schema import FIRST_KEPT, Field
from esmm_jax.types import Columns, Ragged
import numpy as np

_RARE = 1


class Written(NamedTuple):
  """A field of n rows, as it was written.

  Attributes:
    row: int64 [t], the row of each value, ascending.
    id: int64 [t], as in the file.
    weight: float32 [t].
  """

  row: np.ndarray
  id: np.ndarray
  weight: np.ndarray


def differences(
    builder: AliCcp, num_sessions: dict[str, int], seed: int = 0
) -> dict[str, int]:
  """Counts what is not as it was written.

  Args:
    builder: Prepared, with preset `esmm23`, `conversion_without_click` 'drop'
      and sample 1, from files of `write_random`.
    num_sessions: Raw split, `train` or `test` -> its sessions.
    seed: That of the files.

  Returns:
    Name of a column -> rows in which it differs. `rows` are those that should
    be there and are not, or the other way round; `vocabulary of FIELD` are ids.
    Compared are `values`: so many values that stood in the files.
  """
  config = builder.builder_config
  shares = (1 - config.valid_share, config.valid_share)
  found: dict[str, int] = {'values': 0}

  def add(name: str, wrong: np.ndarray) -> None:
    number = int(np.count_nonzero(wrong))
    if number:
      found[name] = found.get(name, 0) + number

  counts = _counts(num_sessions['train'], seed, shares)
  places = {}
  for name, count in counts.items():
    kept = builder.vocabulary(name)
    good = np.flatnonzero(count >= config.min_count)
    add(f'vocabulary of {name}', np.setxor1d(kept, good))
    add(f'vocabulary of {name}', np.diff(count[kept]) > 0)
    places[name] = np.full(len(count), _RARE, np.int64)
    places[name][kept] = np.arange(len(kept)) + FIRST_KEPT

  for raw_split, num in num_sessions.items():
    splits = ('train', 'valid') if raw_split == 'train' else ('test',)
    sources = [
        builder.as_data_source(s) for s in splits if s in builder.info.splits
    ]
    held = [s.read(0, len(s)) for s in sources]
    index = [_index(columns['sample_id']) for columns in held]
    row = 0
    seen = [0] * len(held)
    for block in _blocks(raw_split, num, seed):
      split = place(block.keys, shares, 1.0).split
      if raw_split == 'test':
        split[:] = 0
      stays = ~((block.click == 0) & (block.conversion == 1))
      for k, (source, columns) in enumerate(zip(sources, held)):
        rows = np.flatnonzero(stays & (split[block.of] == k))
        at = _positions(index[k], row + 1 + rows)
        add('rows', at < 0)
        rows, at = rows[at >= 0], at[at >= 0]
        seen[k] += len(at)
        add('click', columns['click'][at] != block.click[rows])
        add('conversion', columns['conversion'][at] != block.conversion[rows])
        session = columns['session'][at]
        keys = source.groups['common_feature_index'][session]
        add('session', keys != block.keys[block.of[rows]])
        parts = (
            (block.skeleton, rows, columns, at),
            (block.common, block.of[rows], source.groups, session),
        )
        for field in builder.schema.fields:
          tokens, mine, table, where = parts[field.by_group]
          if field.by_group:  # Once for each session.
            where, first = np.unique(where, return_index=True)
            mine = mine[first]
          written = _select(_written(tokens, field.name), mine)
          found['values'] += len(written.id)
          add(field.name, _wrong(
              field, written, table, where, places[field.name], len(mine)))
      row += len(block.of)
    for k, columns in enumerate(held):
      add('rows', np.ones(len(columns['click']) - seen[k]))
  return found


def _blocks(raw_split: str, num: int, seed: int) -> Iterator[Block]:
  for k in range(-(-num // BLOCK)):
    yield random_block(raw_split, k, min(BLOCK, num - k * BLOCK), seed)


def _counts(
    num: int, seed: int, shares: tuple[float, float]
) -> dict[str, np.ndarray]:
  """How many values of training rows each id of each field has."""
  counts = {
      name: np.zeros(first + size, np.int64)
      for name, (first, size) in RANGES.items()
  }
  for block in _blocks('train', num, seed):
    trains = place(block.keys, shares, 1.0).split == 0
    stays = ~((block.click == 0) & (block.conversion == 1))
    stays &= trains[block.of]
    times = np.bincount(block.of[stays], minlength=len(block.keys))
    for name, count in counts.items():
      common = BY_NAME[name].common
      written = _written(block.common if common else block.skeleton, name)
      weight = times if common else stays.astype(np.int64)
      np.add.at(count, written.id, weight[written.row])
  return counts


def _written(tokens: Tokens, name: str) -> Written:
  """The values of one field, those of a row as they stand in the file."""
  mine = np.flatnonzero(tokens.field == CODES[name])
  row = np.searchsorted(tokens.offsets, mine, side='right') - 1
  weight = (tokens.value[mine] / ONE).astype(np.float32)
  return Written(row, tokens.id[mine].astype(np.int64), weight)


def _select(written: Written, rows: np.ndarray) -> Written:
  """Some rows, in the order of `rows`, numbered anew."""
  num = int(rows.max(initial=-1)) + 1
  lengths = np.bincount(written.row, minlength=num)
  starts = np.cumsum(lengths) - lengths
  lengths, starts = lengths[rows], starts[rows]
  row = np.repeat(np.arange(len(rows)), lengths)
  since = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
  at = np.repeat(starts, lengths) + since
  return Written(row, written.id[at], written.weight[at])


def _wrong(
    field: Field,
    written: Written,
    table: Columns,
    where: np.ndarray,
    places: np.ndarray,
    num: int,
) -> np.ndarray:
  """bool [num]: which of the rows `where` of a table are not as written."""
  row, ids = written.row, places[written.id]
  weights = written.weight
  column = table[field.name]
  if isinstance(column, Ragged):
    if field.weighted:
      order = np.lexsort((written.id, -weights, row))
      row, ids, weights = row[order], ids[order], weights[order]
    stored = take(column, where)
    lengths = np.bincount(row, minlength=num)
    wrong = np.diff(stored.offsets) != lengths
    if wrong.any():
      return wrong
    bad = stored.values != ids
    if field.weighted:
      bad |= stored.weights != weights.astype(stored.weights.dtype)
    np.logical_or.at(wrong, row[bad], True)
    return wrong
  wanted = np.zeros(num, np.int64)
  wanted[row] = ids
  wrong = column[where] != wanted
  if field.weighted:
    stored = table[f'{field.name}.weight'][where]
    of_row = np.zeros(num, stored.dtype)
    of_row[row] = weights.astype(stored.dtype)
    wrong |= stored != of_row
  return wrong


def _positions(index: np.ndarray, wanted: np.ndarray) -> np.ndarray:
  """Where each wanted sample_id stands, -1: nowhere."""
  inside = wanted < len(index)
  return np.where(inside, index[np.where(inside, wanted, 0)], -1)


def _index(sample_id: np.ndarray) -> np.ndarray:
  """sample_id -> its row, -1 where there is none."""
  index = np.full(int(sample_id.max(initial=0)) + 1, -1, np.int64)
  index[sample_id] = np.arange(len(sample_id))
  return index

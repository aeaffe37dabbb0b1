"""A data set of 245 rows with everything that a data set can have.

It is the smallest example of a `ColumnarBuilder`. Every row can be told from
its `serial`, the number of the row in its split.
"""

from collections.abc import Iterator
from typing import Any

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Batch, Columns, Ragged
import numpy as np

SCHEMA = Schema(
    fields=(
        Field('user', vocab_size=60),
        Field('serial', 'float'),
        Field(
            'history',
            'ids',
            vocab_size=40,
            max_len=3,
            weighted=True,
            combiner='mean',
            table='item',
        ),
        Field('item', vocab_size=40),
        Field('tags', 'ids', vocab_size=7, max_len=2),
        Field('price', 'float'),
    ),
    group='session',
    truth=('p_ctr', 'conversion_if_clicked'),
)
# Split -> rows of each of its shards.
SHARDS = {'train': (60, 50, 40), 'valid': (20,), 'test': (45, 30)}
SIZES = {split: sum(rows) for split, rows in SHARDS.items()}


def columns(split: str) -> Columns:
  """All rows of a split; the tags of the second training shard are empty."""
  n = SIZES[split]
  rng = np.random.default_rng([len(split), n])
  tags = rng.integers(0, 4, n)
  if split == 'train':
    tags[60:110] = 0
  click = rng.random(n) < 0.5
  if_clicked = rng.random(n) < 0.5
  return dict(
      user=rng.integers(0, 60, n).astype(np.int32),
      serial=np.arange(n, dtype=np.float32),
      history=_lists(rng, rng.integers(0, 6, n), 40, weighted=True),
      item=rng.integers(0, 40, n).astype(np.int32),
      tags=_lists(rng, tags, 7, weighted=False),
      price=rng.normal(size=n).astype(np.float32),
      click=click.astype(np.int8),
      conversion=(click & if_clicked).astype(np.int8),
      session=np.repeat(np.arange(n), 3)[:n].astype(np.int32),
      p_ctr=rng.random(n),
      conversion_if_clicked=if_clicked.astype(np.int8),
  )


def cut(column: np.ndarray | Ragged, low: int, high: int):
  """Rows [low, high) of a column, list by list."""
  if not isinstance(column, Ragged):
    return column[low:high]

  def join(values):
    lists = [values[:0]]
    for i in range(low, high):
      lists.append(values[column.offsets[i] : column.offsets[i + 1]])
    return np.concatenate(lists)

  lengths = [column.offsets[i + 1] - column.offsets[i]
             for i in range(low, high)]
  weights = None if column.weights is None else join(column.weights)
  return Ragged(join(column.values), np.cumsum([0, *lengths]), weights)


def entries(column: Ragged, row: int) -> np.ndarray:
  """The entries of one list."""
  return column.values[column.offsets[row] : column.offsets[row + 1]]


def random_batch(
    size: int, schema: Schema = SCHEMA, num_rows: int = 50, seed: int = 0
) -> Batch:
  """A batch of `size` examples on a small table of `num_rows` rows.

  The lists of the first example are empty. All four combinations of the labels
  occur, a conversion without a click among them, if there is room.
  """
  rng = np.random.default_rng(seed)
  width = sum(f.max_len for f in schema.row_part.pooled_fields)
  weights = rng.random((size, width)) * (rng.random((size, width)) < 0.7)
  weights[0] = 0
  number = np.arange(size)
  return Batch(
      rows=np.arange(num_rows, dtype=np.int32),
      slots=rng.integers(0, num_rows, (size, schema.num_slots), np.int32),
      weights=weights.astype(np.float32),
      floats=rng.normal(size=(size, len(schema.float_fields))).astype(
          np.float32
      ),
      labels={
          'click': (number % 2 == 1).astype(np.float32),
          'conversion': (number % 4 >= 2).astype(np.float32),
      },
      where=np.ones(size, np.float32),
  )


class Toy(ColumnarBuilder):
  """The data set; `prepare` writes it in the folder of a test."""

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    texts = dict(
        description='For tests.', homepage='https://example.org', citation=''
    )
    return SCHEMA, texts

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    return SCHEMA, {s: self.shards_of(s) for s in SHARDS}, {'rows': SIZES}

  def shards_of(self, split: str) -> Iterator[Columns]:
    whole, start = columns(split), 0
    for n in SHARDS[split]:
      yield {k: cut(c, start, start + n) for k, c in whole.items()}
      start += n


def _lists(
    rng: np.random.Generator, lengths: np.ndarray, size: int, weighted: bool
) -> Ragged:
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  weights = None
  if weighted:
    weights = rng.random(offsets[-1]).astype(np.float32) + np.float32(0.1)
  values = rng.integers(0, size, offsets[-1]).astype(np.int32)
  return Ragged(values, offsets, weights)

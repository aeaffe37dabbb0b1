"""The pieces that files are read in: bounded in rows and in bytes."""

from esmm_jax.data.csv_files.records import BLOCK
from esmm_jax.data.files import row_files
from esmm_jax.data.files.checked_csv import Column, read_csv
from esmm_jax.data.values.normalise import LONGEST_LIST
from esmm_jax.data.values.raw_values import arrow, Location
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet
import pytest

# A few texts of 64 kB, which Parquet holds once for all rows.
_LONG = [letter * (1 << 16) for letter in 'abc']
_NUM = 3000


def _long_rows(path):
  texts = pa.array(_LONG).take(pa.array(np.arange(_NUM) % len(_LONG)))
  table = pa.table({'k': np.arange(_NUM), 'text': texts})
  if path.suffix == '.csv':
    csv.write_csv(table, path)
  else:
    parquet.write_table(table, path)
  return str(path)


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
def test_long_texts_come_in_smaller_pieces(ending, tmp_path):
  path = _long_rows(tmp_path / f'log.{ending}')
  pieces = list(row_files.read(path, ['k', 'text'], 1 << 17))
  # One batch of Parquet, or block of CSV, more than the limit at most.
  most = row_files.PIECE_BYTES + max(BLOCK, (1 << 11) * (1 << 16))
  assert len(pieces) > 1
  assert all(piece.table.nbytes <= most for piece in pieces)
  firsts = np.cumsum([0, *(piece.table.num_rows for piece in pieces)])
  assert [piece.first for piece in pieces] == firsts[:-1].tolist()
  k = np.concatenate([p.table['k'].cast(pa.int64()) for p in pieces])
  assert k.tolist() == list(range(_NUM))


def test_rows_of_a_piece(tmp_path):
  path = str(tmp_path / 'log.parquet')
  table = pa.table({'k': np.arange(10_000), 'text': ['a'] * 10_000})
  parquet.write_table(table, path, row_group_size=3000)
  pieces = list(row_files.read(path, ['k', 'text'], 4096))
  assert [len(p.table) for p in pieces] == [4096, 4096, 1808]
  assert all(len(p.table['text'].chunks) == 1 for p in pieces)


def test_lists_that_fill_the_memory(tmp_path):
  """Told from the metadata, before a value is read."""
  path = str(tmp_path / 'log.parquet')
  lists = pa.array([list(range(200_000)), []])
  parquet.write_table(pa.table({'k': [1, 2], 'hist': lists}), path)
  said = (
      "log.parquet: column 'hist' has lists of 100,000 entries on average in"
      ' row group 0; it may be 65,536. Cut them.'
  )
  with pytest.raises(InputError, match=said):
    list(row_files.read(path, ['hist'], 10))


def test_one_list_that_fills_the_memory():
  num = LONGEST_LIST + 1
  lists = pa.LargeListArray.from_arrays(
      pa.array([0, 1, 1 + num], pa.int64()),
      pa.array(np.zeros(1 + num, np.int8)),
  )
  location = Location('log.parquet', 5, name='hist')
  said = (
      "log.parquet, row 6: column 'hist' has a list of 16,777,217 entries;"
      ' lists may have 16,777,216.'
  )
  with pytest.raises(InputError) as e:
    arrow(lists, location)
  assert str(e.value) == said
  assert len(arrow(lists.slice(0, 1), location)) == 1


@pytest.mark.parametrize('row', [1, 3, 4])
def test_a_line_that_fills_the_memory(row, tmp_path):
  """In the header, in the middle, and as the last one without its end."""
  path = tmp_path / 'log.csv'
  lines = ['user,item', *['1,2'] * 3]
  lines[row - 1] = 'x' * (BLOCK + 10)
  path.write_text('\n'.join(lines) + '\n' * (row != 4))
  columns = {n: Column('int', 0, 9) for n in ('user', 'item')}
  said = f'row {row}, .*the row is longer than {BLOCK} bytes. Get it again.'
  with pytest.raises(InputError, match=said):
    read_csv(str(path), columns, 'Get it again.')

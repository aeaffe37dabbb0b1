"""What a log is warned of: the same file twice, one number that hides all."""

import shutil

import numpy as np
from pyarrow import parquet
import pytest

from tests.data.tabular.test_tabular import prepared, table, write


@pytest.mark.parametrize('kind', ['csv', 'csv.gz', 'parquet'])
def test_the_same_bytes_twice(kind, tmp_path):
  path = write(table(), tmp_path / f'a.{kind}')
  files = [path, str(tmp_path / f'b.{kind}'), str(tmp_path / f'c.{kind}')]
  for copy in files[1:]:
    shutil.copyfile(path, copy)
  (said,) = prepared(tmp_path, files).warnings
  assert said == (
      f'{files[0]} and {files[1]} and {files[2]} have the same content, so'
      ' their rows count 3 times. Leave all but one out of dataset.files.')


@pytest.mark.parametrize('kind', ['csv', 'parquet'])
def test_files_that_are_no_copies(kind, tmp_path):
  """Other rows; and no rows at all, of which jobs leave many files."""
  files = [write(table(), tmp_path / f'a.{kind}'),
           write(table(user=['z'] * 10), tmp_path / f'b.{kind}')]
  for name in ('c', 'd'):
    files.append(str(tmp_path / f'{name}.{kind}'))
    if kind == 'csv':
      (tmp_path / f'{name}.csv').write_text(
          (tmp_path / 'a.csv').read_text().splitlines()[0] + '\n')
    else:
      parquet.write_table(table().slice(0, 0), files[-1])
  assert prepared(tmp_path, files).warnings == []


def log(prices, first):
  """As many rows in training, with numbers from 0 to 1 but for the first."""
  prices[: len(first)] = first
  num = len(prices)
  return table(
      user=['a'] * num, item=[7] * num, tags=[['x']] * num, price=prices,
      clicked=[1, 0] * (num // 2), bought=[0, 0, 1, 0] * (num // 4),
      day=[1] * (num - 4) + [3, 3, 4, 4], part=None)


@pytest.mark.parametrize('scaling, first, num, is_said', [
    ('standard', [1e30], 200, True), ('standard', [-1e9], 200, True),
    ('standard', [1e30], 60, False),  # So few may be anything.
    ('standard', [1e30, -1e30], 200, False), ('standard', [9.0], 200, False),
    ('log', [1e30], 200, True), ('log', [9.0], 200, False),
    ('none', [1e30], 200, False),
])
def test_one_number_that_hides_the_others(
    scaling, first, num, is_said, tmp_path
):
  rng = np.random.default_rng(0)
  path = write(log(rng.random(num), first), tmp_path / 'log.parquet')
  data = prepared(tmp_path, path, float=f'price:scaling={scaling}')
  said = [w for w in data.warnings if "column 'price'" in w]
  assert len(said) == is_said
  if is_said:
    assert 'one of its 196 numbers makes up more than 99% of the' in said[0]
    assert ('price:scaling=log' in said[0]) == (scaling == 'standard')

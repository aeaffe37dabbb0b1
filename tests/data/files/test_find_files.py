"""Files, globs, folders, links; columns in the names of folders."""

import os

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.files.partitions import partitions
from esmm_jax.types import InputError
import fsspec
import pyarrow as pa
from pyarrow import csv, parquet
import pytest

ROWS = pa.table({'a': [1, 2], 'b': ['x', 'y']})


def write(path, rows=ROWS):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == '.parquet':
    parquet.write_table(rows, path)
  else:
    csv.write_csv(rows, path)


@pytest.fixture(name='home')
def tree(tmp_path, monkeypatch):
  """Files as Spark, pandas and people lay them out."""
  for name in (
      'log.csv', 'spark.parquet/part-0.snappy.parquet',
      'spark.parquet/part-1.snappy.parquet', 'csv/part-00000', 'csv/part-1.csv',
      'hive/day=1/city=A%20B/p.parquet', 'hive/day=2/city=C/p.parquet',
      'mixed/a.csv', 'mixed/_b.csv', 'mixed/old/c.csv', 'mixed/d.parquet/p.csv',
      'log[1].csv', 'a,b.csv', 'hive/_temporary/0/p.parquet'):
    write(tmp_path / name)
  for name in ('_SUCCESS', '.part-0.crc', '_metadata', '_temporary/x'):
    write(tmp_path / 'spark.parquet' / name)
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  return tmp_path


HIVE = ['hive/day=1/city=A%20B/p.parquet', 'hive/day=2/city=C/p.parquet']
SPARK = [f'spark.parquet/part-{k}.snappy.parquet' for k in range(2)]
FIND = {
    'log.csv': ['log.csv'], './log.csv': ['log.csv'], '~/log.csv': ['log.csv'],
    'file://{home}/log.csv': ['log.csv'], '~/spark.parquet': SPARK,
    'log[1].csv': ['log[1].csv'], '"a,b.csv"': ['a,b.csv'],
    'spark.parquet': SPARK, 'spark.parquet/': SPARK, 'spark.parquet/*': SPARK,
    'spark.*': SPARK, 'hive': HIVE, 'hive/*': HIVE, 'hive/day=*': HIVE,
    'hive/**/*.parquet': HIVE, 'hive/day=2': HIVE[1:],
    'hive/day=*/city=C/*': HIVE[1:],
    # A glob means files, and folders whose names say that they are data.
    'mixed/*': ['mixed/_b.csv', 'mixed/a.csv', 'mixed/d.parquet/p.csv'],
    'mixed/*.csv': ['mixed/_b.csv', 'mixed/a.csv'],
    'mixed': ['mixed/a.csv', 'mixed/d.parquet/p.csv', 'mixed/old/c.csv'],
}


@pytest.mark.parametrize('pattern', FIND)
def test_find(pattern, home):
  patterns = [pattern.format(home=home).strip('"')]
  files = row_files.find(patterns)
  assert [f.path for f in files] == [str(home / p) for p in FIND[pattern]]
  assert all(f.size == os.path.getsize(f.path) for f in files)


def test_parts_without_an_ending(home):
  with pytest.raises(InputError, match='dataset.files: .*csv/part-00000 is nei'
                     r'ther CSV nor .* set dataset.format=csv. If it is no dat'
                     r'a, name the rest, as in csv/\*.parquet'):
    row_files.find(['csv'], 'dataset.files')
  files = row_files.find(['csv'], dialect=Dialect(format='csv'))
  assert [f.path for f in files] == [
      str(home / 'csv/part-00000'), str(home / 'csv/part-1.csv')]


def test_remote_folders():
  fs = fsspec.filesystem('memory')
  for day in (1, 2):
    with fs.open(f'/found/day={day}/p.csv', 'wb') as f:
      csv.write_csv(ROWS, f)
  with fs.open('/found/_SUCCESS', 'wb') as f:
    f.write(b'')
  wanted = [f'memory:///found/day={day}/p.csv' for day in (1, 2)]
  for pattern in ('', '/', '/*', '/day=*', '/**/*.csv'):
    files = row_files.find([f'memory://found{pattern}'])
    assert [f.path for f in files] == wanted
  (rows,) = row_files.read(wanted[1], ['day', 'a'], 9)
  assert rows.table.to_pydict() == {'day': ['2', '2'], 'a': ['1', '2']}


TWICE = {
    'as written': ('log.csv', 'log.csv', 'log.csv is named twice; its rows w'),
    'another way': ('log.csv', './csv/../log.csv', 'log.csv is named twice'),
    'a glob too': ('mixed/*.csv', 'mixed/a.csv', 'a.csv is named twice'),
    'a folder too': ('mixed', 'mixed/a.csv', 'a.csv is named twice'),
    'a symbolic link': ('log.csv', 'soft.csv', 'soft.csv and .*/log.csv are one'
                        ' file, by a link; its rows would count twice'),
    'a hard link': ('log.csv', 'hard.csv', 'hard.csv and .*/log.csv are one'),
    'a link to a folder': ('spark.parquet', 'again', 'again/part-0.*are one'),
}


@pytest.mark.parametrize('case', TWICE)
def test_one_file_twice(case, home):
  first, second, message = TWICE[case]
  os.symlink(home / 'log.csv', home / 'soft.csv')
  os.link(home / 'log.csv', home / 'hard.csv')
  os.symlink(home / 'spark.parquet', home / 'again')
  with pytest.raises(InputError, match=f'--input: .*{message}'):
    row_files.find([first, second])
  seen = {}
  row_files.find([first], 'dataset.files', seen=seen)
  with pytest.raises(InputError, match=f'dataset.test_files: .*{message}'):
    row_files.find([second], 'dataset.test_files', seen=seen)


REFUSED = {
    'no.csv': '--input=no.csv: there is no such file',
    'no*.csv': 'there is no such file', '~/no': 'there is no such file',
    'empty': 'empty: the folder holds no file; what begins with _ or . does',
    'delta': 'delta is a table of Delta Lake, whose files hold rows that were',
    'delta/*': 'is a table of Delta Lake', 'delta/*.parquet': 'of Delta Lake',
    'hudi': 'is a table of Hudi', 'ice': 'ice is a table of Iceberg',
    'loop': 'loop/again is a link to a folder; name that folder itself',
    'nothing://x': '--input: nothing://x is of a file system that is not',
}


@pytest.mark.parametrize('pattern', REFUSED)
def test_what_is_not_found(pattern, home):
  for name in ('delta/_delta_log/0.json', 'delta/p.parquet', 'empty/_SUCCESS',
               'hudi/.hoodie/x', 'hudi/p.parquet', 'ice/data/p.parquet',
               'ice/metadata/v1.metadata.json'):
    write(home / name)
  (home / 'loop').mkdir()
  os.symlink('.', home / 'loop/again')
  with pytest.raises(InputError, match=REFUSED[pattern]):
    row_files.find([pattern])


# Columns of folders.


@pytest.mark.parametrize('path, columns', [
    ('/log/day=2022-04-01/p.csv', {'day': '2022-04-01'}),
    ('s3://b/a=1/b=x%2Fy/p.csv', {'a': '1', 'b': 'x/y'}),
    ('/a=__HIVE_DEFAULT_PARTITION__/b=/p.csv', {'a': None, 'b': None}),
    ('/x=y=z/=1/p=1.csv', {'x': 'y=z'}), ('p.csv', {})])
def test_names_of_folders(path, columns):
  assert partitions(path) == columns


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
def test_columns_of_folders(ending, tmp_path):
  path = tmp_path / f'day=2022-04-01/none=/p.{ending}'
  write(path)
  names = row_files.names(str(path))
  assert names == ['a', 'b', 'day', 'none']
  (rows,) = row_files.read(str(path), ['none', 'b', 'day'], 9)
  assert rows.table.to_pydict() == {
      'none': [None] * 2, 'b': ['x', 'y'], 'day': ['2022-04-01'] * 2}
  pieces = list(row_files.read(str(path), ['day'], 1))
  assert [p.table.column_names for p in pieces] == [['day']] * 2


SAME = {
    '1': [1, '1', 1.0], '01': [1, 1.0, '01'], 'x': ['x', ' x'],
    '2022-04-01': ['2022-04-01'], '1.5': [1.5], '': [None],
}
OTHER = {'1': [2, '2', None, 1.5], '01': ['1', 2], 'x': ['y', None], '': ['x']}


@pytest.mark.parametrize('text, value', [
    (t, v) for t, values in SAME.items() for v in values])
def test_a_column_that_the_file_has_too(text, value, tmp_path):
  path = tmp_path / f'day={text}/p.parquet'
  write(path, pa.table({'day': [value] * 3}))
  (rows,) = row_files.read(str(path), ['day'], 9)
  assert rows.table['day'].to_pylist() == [value] * 3


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
@pytest.mark.parametrize('text, value', [
    (t, v) for t, values in OTHER.items() for v in values])
def test_a_column_that_the_file_has_otherwise(text, value, ending, tmp_path):
  path = tmp_path / f'day={text}/p.{ending}'
  fine = {'01': '01', '': None}.get(text, text)
  day = [fine, fine, None if value is None else str(value)]
  if not isinstance(value, str) and ending == 'parquet' and text != 'x':
    day = [1, 1, value]
  write(path, pa.table({'day': day, 'a': [1] * 3}))
  place = {'csv': 'line 4', 'parquet': 'row 2'}[ending]
  if text == '01' and ending == 'parquet' and value == 2:
    place = 'row 2'
  with pytest.raises(InputError, match=f"{place}: column 'day' is .* in the nam"
                     'e of its folder'):
    list(row_files.read(str(path), ['a', 'day'], 2))

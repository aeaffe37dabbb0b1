"""A log in any form of CSV, in folders, under odd names: the same data."""

import os
import re

from esmm_jax.data.csv_files.dialect import NAMES
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.types import InputError
import pytest

from tests.data.tabular import test_tabular as logs

PLAIN = dict(
    id='user,item', ids='', float='price', click='clicked', conversion='bought',
    group='user', split='column', split_column='part', time='', valid_from='',
    test_from='')
COLUMNS = ['user', 'item', 'price', 'clicked', 'bought', 'part']
# Options of a file -> the text of each line of it.
FORMS = {
    'tabs': (dict(separator='tab'), '\t', ''),
    'control characters': (dict(separator='\\x01'), '\x01', ''),
    'a form of its own': (
        dict(separator=';', encoding='utf-16', null_values='NULL',
             header=','.join(COLUMNS)), ';', 'NULL'),
    'GBK': (dict(encoding='gbk', quote="'"), ',', ''),
}


def lines(separator=',', null='', header=True):
  rows = [COLUMNS] if header else []
  rows += zip(*(logs.ROWS[c] for c in COLUMNS))
  text = lambda v: null if v is None else str(v)
  return ''.join(separator.join(map(text, row)) + '\r\n' for row in rows)


def same(one, two):
  one, two = logs.read(one), logs.read(two)
  logs.assert_same(one, two)


@pytest.fixture(name='plain')
def _plain(tmp_path):
  path = logs.write(logs.table(), tmp_path / 'log.parquet')
  return logs.prepared(tmp_path, path, **PLAIN)


@pytest.mark.parametrize('form', FORMS)
def test_forms(form, plain, tmp_path):
  options, separator, null = FORMS[form]
  text = lines(separator, null, 'header' not in options)
  (tmp_path / 'part-0').write_bytes(
      text.encode(options.get('encoding', 'utf-8')))
  files = str(tmp_path / 'part-0')
  same(plain, logs.prepared(
      tmp_path, files, **PLAIN, **options, format='csv'))


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
def test_names_that_need_quotes(ending, plain, tmp_path):
  odd = ['user id', 'a,b:c', "it's", 'click: "yes"', ' bought', 'part,']
  rows = logs.table().select(COLUMNS).rename_columns(odd)
  path = tmp_path / f'odd.{ending}'
  if ending == 'csv':
    logs.csv.write_csv(rows, path)
  else:
    logs.write(rows, path)
  data = logs.prepared(
      tmp_path, str(path), id='"user id":min_count=2,\'a,b:c\'', float="it's",
      ids='', click='click: "yes"', conversion='bought', group='user id',
      split='column', split_column='"part,"', time='', valid_from='',
      test_from='')
  names = {'user id': 'user', 'a,b:c': 'item', "it's": 'price'}
  read = {
      split: {names.get(n, n): c for n, c in columns.items()}
      for split, columns in logs.read(data).items()}
  logs.assert_same(read, logs.read(plain))
  encoder = Encoder.load(data.encoder_folder)
  assert encoder.raw_names == ['user id', 'a,b:c', "it's"]
  with pytest.raises(InputError, match="no column 'user', .*There are: .*'a,b:c"
                     "'.*, 'user id'"):
    logs.prepared(tmp_path, str(path), **PLAIN)


def test_a_folder_of_partitions(plain, tmp_path):
  rows = logs.table()
  for part, low, high in (('train', 0, 6), ('valid', 6, 8), ('test', 8, 10)):
    folder = tmp_path / 'log' / f'part={part}'
    folder.mkdir(parents=True)
    logs.write(
        rows.slice(low, high - low).drop_columns(['part']),
        folder / 'p.snappy.parquet')
    (tmp_path / 'log' / '_SUCCESS').touch()
  data = logs.prepared(tmp_path, str(tmp_path / 'log'), **PLAIN)
  one, two = logs.read(plain), logs.read(data)
  for split in one:
    for name in ('row_number', 'file_number'):
      one[split].pop(name), two[split].pop(name)
  logs.assert_same(one, two)


def test_files_of_other_orders_and_types(plain, tmp_path):
  """Columns in another order, and of another type, in each file."""
  rows = logs.table().select(COLUMNS)
  texts = rows.cast(logs.pa.schema([(c, logs.pa.string()) for c in COLUMNS]))
  paths = []
  for k, some in enumerate([rows, texts.select(COLUMNS[::-1]), rows]):
    ending = ['parquet', 'parquet', 'csv'][k]
    path = tmp_path / f'{k}.{ending}'
    some = some.slice([0, 4, 7][k], [4, 3, 3][k])
    if ending == 'csv':
      logs.csv.write_csv(some, path)
    else:
      logs.write(some, path)
    paths.append(str(path))
  one, two = logs.read(plain), logs.read(
      logs.prepared(tmp_path, paths, **PLAIN))
  for split in one:
    for name in ('row_number', 'file_number'):
      one[split].pop(name), two[split].pop(name)
  logs.assert_same(one, two)


@pytest.mark.parametrize('option', ['files', 'valid_files', 'test_files'])
def test_one_file_in_two_splits(option, tmp_path, monkeypatch):
  logs.write(logs.table(), tmp_path / 'log.csv')
  logs.write(logs.table(), tmp_path / 'other.csv')
  os.symlink(tmp_path / 'log.csv', tmp_path / 'link.csv')
  monkeypatch.chdir(tmp_path)
  options = PLAIN | dict(split='files', split_column='')
  options |= dict(files='log.csv', test_files='other.csv')
  options[option] = f'{options.get(option, "")},link.csv'
  with pytest.raises(InputError, match='are one file, by a link'):
    logs.prepared(tmp_path, **options)


@pytest.mark.parametrize('options, line', [
    ({}, 3), (dict(header='user,item,price,clicked,bought,part'), 3),
    (dict(encoding='utf-16'), 3), (dict(quote="'"), 4)])
def test_lines_of_any_form(options, line, tmp_path):
  """An error names the line as an editor counts."""
  text = lines(header='header' not in options)
  text = text.replace('b,7,2.0,0', 'b,7,2.0,7')
  if 'header' in options:
    text = '\n' + text
  if 'quote' in options:
    text = text.replace('a,7', "'a\n',7", 1)
  (tmp_path / 'log.csv').write_bytes(
      text.encode(options.get('encoding', 'utf-8')))
  with pytest.raises(InputError, match=f"log.csv, line {line}: column 'clicked'"
                     " is '7'"):
    logs.prepared(tmp_path, str(tmp_path / 'log.csv'), **PLAIN, **options)


def test_old_data_keeps_its_name():
  """Its name is what it was before there were these options."""
  options = dict(
      files='s3://x.csv, s3://y.csv', id='a:min_count=5,b', float='c',
      click='k', split='time', time='t')
  name = TabularConfig.from_options(options).name
  assert name == 'a7d3132aa052'
  unset = dict.fromkeys(NAMES, '')
  assert TabularConfig.from_options(options | unset).name == name
  set_ = dict(separator=';', header='none', encoding='gbk', null_values='NA',
              quote='none', format='csv')
  others = {TabularConfig.from_options(options | {k: v}).name
            for k, v in set_.items()}
  assert len(others | {name}) == len(NAMES) + 1


def test_home_is_a_folder_like_others(monkeypatch):
  monkeypatch.setenv('HOME', '/home/me')
  make = lambda files: TabularConfig(id='a', files=files).name
  assert make('~/log.csv') == make('/home/me/log.csv')
  assert make('"a,b.csv"') != make('a,b.csv')


@pytest.mark.parametrize('options, message', [
    (dict(separator='||'), "dataset.separator is '||'; it must be one ASCII"),
    (dict(encoding='utf9'), "dataset.encoding is 'utf9', which is no encoding"),
    (dict(quote=','), "dataset.quote and dataset.separator are both ','"),
    (dict(id='"user'), 'dataset.id: \'"user\': a quote " is not closed'),
    (dict(id='"":min_count=2'), 'the name of the column is empty'),
    (dict(id='user_id:token,item'), "'token' is no option of such a column; "
     'write KEY=VALUE, or put a name with a colon in quotes, \'"user_id:'),
    (dict(format='txt'), "dataset.format is 'txt', which is not known"),
])
def test_options_that_cannot_be(options, message):
  with pytest.raises(InputError, match=re.escape(message)):
    TabularConfig.from_options(dict(files='x.csv', id='user') | options)

"""Columns on disk: exact rows for every slice, no TensorFlow, clear errors."""

import dataclasses
import os
import pathlib
import subprocess
import sys

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.store import prepared_files
from esmm_jax.data.store.split_parts import shared_rows
from esmm_jax.data.store.checks import check_columns
from esmm_jax.data.store.columns import concatenate
from esmm_jax.data.store.shards import write_shard
from esmm_jax.data.store.source import ColumnarSource
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import FUNNEL, Task
from esmm_jax.types import InputError, Ragged
from hypothesis import given, strategies as st
import numpy as np
import pytest
import tensorflow_datasets as tfds

from tests import toy as toy_lib
from tests.toy import SCHEMA, SHARDS, SIZES, Toy

FEATURES = {
    'user', 'serial', 'history', 'item', 'tags', 'price', 'click',
    'conversion', 'session',
}


@pytest.fixture
def own(tmp_path) -> Toy:
  """A copy of the toy data set whose files a test may change."""
  return Toy(data_dir=tmp_path).prepare()


def expected(parts, names=None):
  """Rows of [(split, low, high)] as the toy made them."""
  wholes = [(toy_lib.columns(s), low, high) for s, low, high in parts]
  names = FEATURES if names is None else names
  return {
      n: concatenate([toy_lib.cut(w[n], a, b) for w, a, b in wholes])
      for n in names
  }


def assert_same(got, want):
  assert set(got) == set(want)
  for name, column in want.items():
    parts = [(got[name], column)]
    if isinstance(column, Ragged):
      assert (got[name].weights is None) == (column.weights is None), name
      names = ('values', 'offsets', 'weights')
      parts = [(getattr(got[name], n), getattr(column, n)) for n in names]
      parts = [p for p in parts if p[1] is not None]
    for a, b in parts:
      np.testing.assert_array_equal(a, b, err_msg=name)


def test_true_counts(toy):
  assert {s: i.num_examples for s, i in toy.info.splits.items()} == SIZES
  assert {s: tuple(i.shard_lengths) for s, i in toy.info.splits.items()} == (
      SHARDS)
  assert {s: len(toy.as_data_source(s)) for s in SIZES} == SIZES
  assert toy.schema == SCHEMA
  assert toy.report == {'rows': SIZES}


@pytest.mark.parametrize(
    'split, parts',
    [
        ('train', [('train', 0, 150)]),
        ('train[:10%]', [('train', 0, 15)]),
        ('train[10:20]', [('train', 10, 20)]),
        ('train[90%:]', [('train', 135, 150)]),
        ('train[-5:]', [('train', 145, 150)]),
        ('train[58:63]', [('train', 58, 63)]),  # over an edge
        ('train[59:111]', [('train', 59, 111)]),  # over a shard
        ('train[60:110]', [('train', 60, 110)]),  # a shard to the row
        ('train[149:]', [('train', 149, 150)]),
        ('train+test', [('train', 0, 150), ('test', 0, 75)]),
        ('test[40:]+valid', [('test', 40, 75), ('valid', 0, 20)]),
        ('train[55:65]+test[:1]', [('train', 55, 65), ('test', 0, 1)]),
    ],
)
def test_slices_are_exact_rows(toy, split, parts):
  source = toy.as_data_source(split)
  want = expected(parts)
  assert len(source) == len(want['click'])
  assert_same(source.read(0, len(source)), want)
  truth = toy.truth_source(split)
  assert_same(truth.read(0, len(truth)), expected(parts, SCHEMA.truth))


EXPRESSIONS = {
    'train': ('train', range(150)), 'test': ('test', range(75)),
    'valid': ('valid', range(20)), 'train[:10%]': ('train', range(15)),
    'train[10:70]': ('train', range(10, 70)),
    'train[90%:]': ('train', range(135, 150)),
    'test[40:]': ('test', range(40, 75)),
}


@pytest.mark.parametrize('first', EXPRESSIONS)
@pytest.mark.parametrize('second', EXPRESSIONS)
def test_rows_in_common(first, second, toy):
  """Of every pair, of its sum with another split, and twice in a sum."""
  rows = lambda name: {(EXPRESSIONS[name][0], k) for k in EXPRESSIONS[name][1]}
  both = len(rows(first) & rows(second))
  assert toy.num_shared(first, second) == both
  assert toy.num_shared(f'{first}+{second}') == both
  others = {'train', 'test', 'valid'} - {EXPRESSIONS[second][0]}
  more = others.difference([EXPRESSIONS[first][0]]).pop()
  assert toy.num_shared(f'{more}+{first}', second) == both
  said = shared_rows({'train': first, 'test': second}, toy.num_shared)
  wanted = [
      f"dataset.train_split '{first}' and dataset.test_split '{second}' have"
      f' {both:,} rows in common: metrics on them are too optimistic.'
  ] if both else []
  assert said == wanted


def test_rows_that_a_split_has_twice(toy):
  splits = {'train': 'train+train[:10]', 'valid': 'valid', 'test': 'test'}
  assert shared_rows(splits, toy.num_shared) == [
      "dataset.train_split 'train+train[:10]' contains 10 rows twice, and they"
      ' count twice.']
  assert toy.num_shared('all', 'test') == 75


@given(st.data())
def test_every_range_of_rows(toy, data):
  """Lists across shards and parts of different splits included."""
  source = toy.as_data_source('train[50:]+test+valid[3:7]')
  whole = expected([('train', 50, 150), ('test', 0, 75), ('valid', 3, 7)])
  low = data.draw(st.integers(0, len(source) - 1))
  high = data.draw(st.integers(low, len(source) + 3))
  got = source.read(low, high)
  stop = min(high, len(source))
  assert_same(got, {n: toy_lib.cut(c, low, stop) for n, c in whole.items()})
  for name in ('history', 'tags'):
    assert got[name].offsets[0] == 0


def test_only_the_columns_asked_for(toy):
  got = toy.as_data_source('train').read(70, 90, ['user', 'tags'])
  assert_same(got, expected([('train', 70, 90)], ['user', 'tags']))


def test_columns_are_read_only(toy):
  got = toy.as_data_source('train').read(0, 5)
  with pytest.raises(ValueError, match='read-only'):
    got['user'][0] = 1


def test_tfds_finds_it_by_name(toy):
  source = tfds.data_source(
      'toy', split='train[10:20]', data_dir=toy.data_dir_root, download=False)
  assert isinstance(source, ColumnarSource)
  assert_same(source.read(0, 10), expected([('train', 10, 20)]))
  every = tfds.data_source('toy', data_dir=toy.data_dir_root)
  assert {s: len(x) for s, x in every.items()} == SIZES
  builder = tfds.builder('toy', data_dir=toy.data_dir_root)
  assert builder.schema == SCHEMA


def test_reading_needs_neither_tensorflow_nor_jax(toy, root):
  program = (
      'import sys\n'
      'from tests.toy import Toy\n'
      'toy = Toy(data_dir=sys.argv[1]).prepare()\n'
      'source = toy.as_data_source("train[:10%]")\n'
      'assert len(source.read(0, 15)["user"]) == 15\n'
      'assert source.read(3, 4)["serial"] == [3]\n'
      'print([m for m in ("tensorflow", "jax") if m in sys.modules])\n'
  )
  done = subprocess.run(
      [sys.executable, '-c', program, os.fspath(toy.data_dir_root)],
      capture_output=True, text=True, cwd=root, check=False,
  )
  assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr


def test_the_truth_stays_apart(toy):
  folders = sorted(pathlib.Path(toy.data_path).glob('toy-*'))
  assert len(folders) == 6
  for folder in folders:
    files = {p.stem for p in folder.glob('*.npy')}
    assert not files & set(SCHEMA.truth)
    assert {p.stem for p in folder.glob('truth/*')} == set(SCHEMA.truth)
  assert not set(SCHEMA.truth) & set(toy.info.features)
  for source in toy.as_data_source().values():
    assert set(source.names) == FEATURES
    assert not set(SCHEMA.truth) & set(source.read(0, 1))
  assert set(toy.truth_source('train').names) == set(SCHEMA.truth)


def test_no_truth(tmp_path, monkeypatch):
  monkeypatch.setattr(
      toy_lib, 'SCHEMA', dataclasses.replace(SCHEMA, truth=()))
  toy = Toy(data_dir=tmp_path).prepare()
  assert toy.truth_source('train') is None


def set_row(name, row, value):
  def change(columns):
    columns[name] = columns[name].copy()
    columns[name][row] = value
  return change


def set_entry(name, row, value):
  """Changes the last entry of a list, before which lists are empty."""
  def change(columns):
    values = columns[name].values.copy()
    assert columns[name].offsets[row] < columns[name].offsets[row + 1]
    values[columns[name].offsets[row + 1] - 1] = value
    columns[name] = Ragged(
        values, columns[name].offsets, columns[name].weights)
  return change


def last_list(name, low, high):
  """The last row in [low, high) with a list that follows an empty one."""
  lengths = np.diff(toy_lib.columns('train')[name].offsets)
  rows = np.flatnonzero((lengths[1:] > 0) & (lengths[:-1] == 0)) + 1
  return int(rows[(rows >= low) & (rows < high)][-1])


LIST_ROW = last_list('history', 110, 150)
WRONG = {
    'id past the vocabulary': (
        set_row('user', 120, 60), "row 120: field 'user' has id 60"),
    'negative id': (
        set_row('item', 149, -1), "row 149: field 'item' has id -1"),
    'list id past the vocabulary': (
        set_entry('history', LIST_ROW, 40),
        f"row {LIST_ROW}: field 'history' has id 40"),
    'negative list id': (
        set_entry('history', LIST_ROW, -3),
        f"row {LIST_ROW}: field 'history' has id -3"),
    'label 2': (set_row('click', 111, 2), "row 111: label 'click' is 2"),
    'label -1': (
        set_row('conversion', 110, -1), "row 110: label 'conversion' is -1"),
    'nan': (
        set_row('price', 130, np.nan), "row 130: field 'price' is nan"),
    'inf': (set_row('price', 131, -np.inf), "row 131: field 'price' is -inf"),
}


@pytest.mark.parametrize('what', WRONG)
def test_wrong_values_are_refused_at_write(tmp_path, what):
  """At the write rows are counted in their shard, which is named."""
  change, message = WRONG[what]
  columns = toy_lib.columns('train')
  change(columns)
  row = int(message.split()[1][:-1])
  shard = {n: toy_lib.cut(c, 110, 150) for n, c in columns.items()}
  with pytest.raises(InputError) as e:
    write_shard(os.fspath(tmp_path / 'shard'), SCHEMA, shard)
  assert message.replace(f'row {row}', f'row {row - 110}') in str(e.value)
  assert str(e.value).startswith('shard, ')
  assert not (tmp_path / 'shard').exists()


@pytest.mark.parametrize('what', WRONG)
def test_wrong_values_are_refused_at_read(own, what):
  """Written with its checksum, by an earlier version say."""
  change, message = WRONG[what]
  columns = toy_lib.columns('train')
  change(columns)
  [folder] = pathlib.Path(own.data_path).glob('toy-train*-00002-of-00003')
  for name, column in columns.items():
    column = toy_lib.cut(column, 110, 150)
    if name in SCHEMA.truth:
      continue
    if isinstance(column, Ragged):
      name, column = f'{name}.values', column.values
    assert (folder / f'{name}.npy').exists()
    np.save(folder / f'{name}.npy', column)
  prepared_files.seal(os.fspath(own.data_path))
  own.prepare()
  with pytest.raises(InputError) as e:
    Batches(own.as_data_source('train'), SCHEMA, 150)
  assert message in str(e.value)
  assert "split='train'" in str(e.value)


REGRESSION = dataclasses.replace(
    SCHEMA,
    tasks=(*FUNNEL, Task('stay', 'seconds', 'ctr', kind='regression')),
)


def with_seconds(columns):
  """A wrapper of `toy.columns` that adds a regression label, -2.25 or 0."""
  return lambda split: columns(split) | dict(
      seconds=columns(split)['click'] * np.float32(-2.25))


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_regression_label_that_is_not_finite(tmp_path, value):
  columns = with_seconds(toy_lib.columns)('valid')
  columns['seconds'][13] = value
  message = f"^shard, row 13: label 'seconds' is {value}; it must be finite"
  with pytest.raises(InputError, match=message):
    write_shard(os.fspath(tmp_path / 'shard'), REGRESSION, columns)
  assert not (tmp_path / 'shard').exists()
  with pytest.raises(InputError, match="^here, row 1013: label 'seconds'"):
    check_columns(REGRESSION, columns, 'here', 1000)


def test_an_event_beside_a_regression_is_still_0_or_1():
  columns = with_seconds(toy_lib.columns)('valid')
  check_columns(REGRESSION, columns, 'here', 0)
  columns['conversion'][4] = 2
  with pytest.raises(InputError, match="row 4: label 'conversion' is 2"):
    check_columns(REGRESSION, columns, 'here', 0)


def test_a_regression_label_on_disk_and_in_batches(tmp_path, monkeypatch):
  monkeypatch.setattr(toy_lib, 'SCHEMA', REGRESSION)
  monkeypatch.setattr(toy_lib, 'columns', with_seconds(toy_lib.columns))
  toy = Toy(data_dir=tmp_path).prepare()
  assert toy.schema == REGRESSION
  features = toy.info.features
  assert features['seconds'].np_dtype == np.float32
  assert features['click'].np_dtype == np.int8
  source = toy.as_data_source('test')
  read = source.read(0, 75)
  assert (read['seconds'].dtype, read['click'].dtype) == (np.float32, np.int8)
  batches = Batches(source, toy.schema, 50, shuffle=False)
  labels = [batches(step).labels for step in (0, 1)]
  assert set(labels[0]) == {'click', 'conversion', 'seconds'}
  seconds = np.concatenate([b['seconds'] for b in labels])
  assert seconds.dtype == np.float32
  want = np.append(toy_lib.columns('test')['click'] * -2.25, np.zeros(25))
  np.testing.assert_array_equal(seconds, want)
  # Of the tasks chosen, only the labels are read.
  chosen = toy.schema.with_tasks(['ctr', 'stay'])
  assert set(Batches(source, chosen, 50)(0).labels) == {'click', 'seconds'}


def test_the_vocabulary_ends_where_it_says(tmp_path):
  """Ids 0 and V - 1 are in it, V is not."""
  schema = Schema((Field('a', vocab_size=3),))
  label = np.zeros(2, np.int8)
  write = lambda name, ids: write_shard(
      os.fspath(tmp_path / name), schema,
      dict(a=np.array(ids, np.int32), click=label, conversion=label))
  assert write('good', [0, 2]) > 0
  with pytest.raises(InputError, match='has id 3.*the ids 0 to 2'):
    write('bad', [0, 3])


def test_columns_of_different_lengths(tmp_path):
  columns = toy_lib.columns('valid')
  columns['price'] = columns['price'][:-1]
  with pytest.raises(InputError, match="'price' has 19 rows, not 20"):
    write_shard(os.fspath(tmp_path / 'shard'), SCHEMA, columns)


@pytest.mark.parametrize('shards', [(), (0,), (0, 0)])
def test_empty_split(tmp_path, monkeypatch, shards):
  monkeypatch.setitem(SHARDS, 'valid', shards)
  builder = Toy(data_dir=tmp_path)
  with pytest.raises(InputError, match="split 'valid' is empty"):
    builder.prepare()
  assert_nothing_is_there(tmp_path)


@pytest.mark.parametrize(
    'split', ['dev', 'train+dev', 'train[:ten]', 'train[', ''])
def test_unknown_split(toy, split):
  with pytest.raises(InputError, match="'test', 'train', 'valid'") as e:
    toy.as_data_source(split)
  assert repr(split) in str(e.value)


@pytest.mark.parametrize('split', ['train[:0]', 'train[150:]', 'valid[:1%]'])
def test_split_without_rows(toy, split):
  with pytest.raises(InputError, match='has no rows'):
    toy.as_data_source(split)


def assert_nothing_is_there(data_dir):
  builder = Toy(data_dir=data_dir)
  assert not pathlib.Path(builder.data_path).exists()
  assert not builder.info.splits
  with pytest.raises(InputError, match="has no split 'train'"):
    builder.as_data_source('train')


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt])
def test_an_interrupted_build_is_not_taken_for_finished(
    tmp_path, monkeypatch, error
):
  shards = Toy.shards_of

  def stop_in_test(self, split):
    for k, shard in enumerate(shards(self, split)):
      if (split, k) == ('test', 1):
        raise error('stop')
      yield shard

  with monkeypatch.context() as patch:
    patch.setattr(Toy, 'shards_of', stop_in_test)
    with pytest.raises(error, match='stop'):
      Toy(data_dir=tmp_path).prepare()
  assert_nothing_is_there(tmp_path)
  toy = Toy(data_dir=tmp_path).prepare()
  assert len(toy.as_data_source('test')) == 75


def test_a_killed_build_is_not_taken_for_finished(tmp_path, root):
  """No handler runs at all."""
  program = (
      'import os, sys\n'
      'from tests.toy import Toy\n'
      'shards = Toy.shards_of\n'
      'def die(self, split):\n'
      '  yield from shards(self, split)\n'
      '  if split == "test": os._exit(9)\n'
      'Toy.shards_of = die\n'
      'Toy(data_dir=sys.argv[1]).prepare()\n'
  )
  done = subprocess.run(
      [sys.executable, '-c', program, os.fspath(tmp_path)],
      capture_output=True, cwd=root, check=False)
  assert done.returncode == 9
  # It had got as far as files.
  assert list(tmp_path.glob('**/user.npy'))
  assert_nothing_is_there(tmp_path)
  assert len(Toy(data_dir=tmp_path).prepare().as_data_source('test')) == 75


@pytest.mark.parametrize('size', [0, 10, 100, 150, -4])
@pytest.mark.parametrize('file', ['user.npy', 'history.offsets.npy'])
def test_a_truncated_file(own, size, file):
  [path] = pathlib.Path(own.data_path).glob(f'toy-train*-00001-*/{file}')
  size = path.stat().st_size + size if size < 0 else size
  os.truncate(path, size)
  with pytest.raises(InputError, match='damaged; delete its folder') as e:
    own.as_data_source('train')
  assert 'toy-train.columns-00001-of-00003' in str(e.value)
  # The shards that are whole can still be read.
  assert len(own.as_data_source('train[:60]').read(0, 60)['user']) == 60


def test_a_shard_that_is_gone(own):
  [folder] = pathlib.Path(own.data_path).glob('toy-train*-00001-*')
  folder.rename(folder.with_name('elsewhere'))
  with pytest.raises(InputError, match='damaged; delete its folder'):
    own.as_data_source('train')


@pytest.mark.parametrize(
    'file', ['user', 'history.values', 'history.offsets', 'click'])
def test_a_file_that_is_gone(own, file):
  [path] = pathlib.Path(own.data_path).glob(f'toy-train*-00001-*/{file}.npy')
  path.unlink()
  with pytest.raises(InputError, match=file.split('.')[0]):
    Batches(own.as_data_source('train'), SCHEMA, 150)


def test_the_second_time_nothing_is_built(own, monkeypatch):
  def refuse(self):
    raise AssertionError('built again')

  monkeypatch.setattr(Toy, '_generate_splits', refuse)
  own.prepare()
  again = Toy(data_dir=own.data_dir_root).prepare()
  assert (again.schema, again.report) == (SCHEMA, {'rows': SIZES})
  assert_same(
      again.as_data_source('train').read(0, 150),
      expected([('train', 0, 150)]))


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda c: c.weights.__setitem__(3, np.nan), 'weight that is not'),
        (lambda c: c.weights.resize(4, refcheck=False), '4 weights'),
        (lambda c: c.offsets.__setitem__(-1, 99), 'offsets end at 99'),
        (lambda c: c.offsets.__setitem__(1, 6), 'falling offsets'),
    ],
)
def test_lists_whose_parts_do_not_fit_are_refused(change, message):
  lists = Ragged(
      np.arange(6, dtype=np.int32),
      np.array([0, 2, 4, 6]),
      np.ones(6, np.float32),
  )
  columns = {
      'tags': lists,
      'click': np.zeros(3, np.int8),
      'conversion': np.zeros(3, np.int8),
  }
  schema = Schema((Field('tags', 'ids', vocab_size=6, weighted=True),))
  check_columns(schema, columns, 'here', 0)
  change(lists)
  with pytest.raises(InputError, match=message):
    check_columns(schema, columns, 'here', 0)

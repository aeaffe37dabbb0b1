"""Rows of every library: the same scores, and the same log to train on."""

import datetime
import decimal
import os

import esmm_jax
from esmm_jax.data.files import frames
from esmm_jax.data.tabular import frame_files, unseen
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.types import InputError
import duckdb
import jax.numpy as jnp
import numpy as np
import pandas as pd
import polars as pl
from pyarrow import parquet
import pyarrow as pa
import pytest

from configs import esmm
from tests.serving.frame_kinds import AS_TEXTS, KINDS

# int32 and int64 are one kind of number, stored otherwise.
OTHER_STORAGE = ('dict_of_jax',)
OPTIONS = dict(
    id='user:min_count=1,item:min_count=1', ids='tags', float='price',
    click='clicked', conversion='bought')


def log(num=300):
  """Raw columns with nulls, empty lists and rare values."""
  k = np.arange(num)
  rng = np.random.default_rng(0)
  users = [f'u{i}' if i else None for i in rng.integers(0, 9, num)]
  return pa.table({
      'user': pa.array(users),
      'item': pa.array(rng.integers(0, 7, num)),
      'tags': pa.array(
          [[f't{(i + j) % 4}' for j in range(i % 3)] for i in k],
          pa.list_(pa.string())),
      'price': pa.array([i / 3 if i % 13 else None for i in range(num)]),
      'clicked': pa.array((k % 2 == 0).astype(int)),
      'bought': pa.array((k % 4 == 0).astype(int)),
  })


def config():
  made = esmm.get_config('tabular')
  made.dataset.update(**OPTIONS)
  made.update(batch_size=64, learning_rate=0.02)
  made.model.embed_dim, made.model.tower_units = 4, (8,)
  made.run.eval_batch_size = 64
  return made


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """A run that was trained on a frame of pandas; its data and its folder."""
  root = tmp_path_factory.mktemp('frames')
  esmm_jax.train_and_evaluate(
      config(), str(root / 'run'), str(root / 'data'), log=log().to_pandas())
  return root


@pytest.fixture(scope='module')
def raw(folder):
  return esmm_jax.load(str(folder / 'run'))


@pytest.fixture(scope='module')
def ids(finished):
  return esmm_jax.load(str(finished.folder))


def assert_equal(scores, others):
  assert scores.keys() == others.keys()
  for name, values in scores.items():
    np.testing.assert_array_equal(values, others[name], err_msg=name)


@pytest.mark.parametrize('kind', KINDS)
def test_raw_columns_score_alike(kind, raw):
  rows = log(60)
  scores = raw.predict(rows)
  assert scores['p_ctr'].shape == (60,) and np.ptp(scores['p_ctr']) > 0.01
  assert_equal(raw.predict(KINDS[kind](rows)), scores)


@pytest.mark.parametrize('kind', [k for k in KINDS if k != 'named_tuples'])
def test_ids_score_alike(kind, ids, finished):
  rows = finished.table(0, 60).select(ids.names)
  assert_equal(ids.predict(KINDS[kind](rows)), ids.predict(rows))


@pytest.mark.parametrize('kind', KINDS)
def test_the_encoder_of_an_export_takes_them(kind, folder):
  """The folder `encoder/` is copied beside an exported program."""
  encoder = Encoder.load(str(folder / 'run' / 'encoder'))
  rows = log(60)
  columns, others = encoder.encode(rows), encoder.encode(KINDS[kind](rows))
  for name, column in columns.items():
    if name == 'tags':
      column, others[name] = column.values, others[name].values
    np.testing.assert_array_equal(column, others[name], err_msg=name)


@pytest.mark.parametrize('kind', KINDS)
def test_a_frame_is_the_same_log_in_every_library(kind, folder, tmp_path):
  """It is saved under the hash of its values."""
  saved = os.listdir(folder / 'data' / 'frames')
  assert len(saved) == 1
  if kind in AS_TEXTS:
    return
  Tabular.from_frame(KINDS[kind](log()), str(tmp_path), **OPTIONS)
  assert os.listdir(tmp_path / 'frames') == saved
  one, other = (
      (root / 'frames' / saved[0]).read_bytes()
      for root in (tmp_path, folder / 'data'))
  assert one == other or kind in OTHER_STORAGE


def columns_of(data):
  return {
      split: (source := data.as_data_source(split)).read(0, len(source))
      for split in data.info.splits}


def test_a_frame_is_prepared_as_its_file(folder, tmp_path):
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(log(), path)
  of_file = Tabular.from_options(
      str(tmp_path / 'data'), files=path, **OPTIONS).prepare()
  of_frame = Tabular.from_frame(
      pl.from_arrow(log()), str(folder / 'data'), **OPTIONS).prepare()
  of_texts = Tabular.from_frame(
      KINDS['texts_in_table'](log()), str(tmp_path / 'texts'),
      **OPTIONS).prepare()
  assert (of_file.columns_sha256 == of_frame.columns_sha256
          == of_texts.columns_sha256)
  assert of_frame.report['rows'] == 300


def test_training_resumes_with_the_frame_of_another_library(folder):
  run, data = str(folder / 'run'), str(folder / 'data')
  results = esmm_jax.load(run).results
  again = esmm_jax.train_and_evaluate(
      config(), run, data, log=KINDS['duckdb'](log()))
  assert again == results and results['steps'] == 4
  other = log().set_column(1, 'item', pa.array(np.zeros(300, int)))
  with pytest.raises(InputError, match='another config: dataset.files is'):
    esmm_jax.train_and_evaluate(config(), run, data, log=other)


# Not duckdb: a time has the zone of its session there, whatever it had before.
RICH = [
    'pandas', 'pandas_objects', 'polars', 'rows', 'dict_of_numpy',
    'dict_of_polars']


@pytest.fixture(scope='module')
def rich():
  """Times with a zone, dates, truths, decimals, a split by time."""
  start = datetime.datetime(2022, 4, 1, tzinfo=datetime.UTC)
  times = [start + datetime.timedelta(hours=k) for k in range(100)]
  return pa.table({
      'user': pa.array([f'u{k % 7}' for k in range(100)]),
      'day': pa.array([t.date() for t in times]),
      'cost': pa.array([decimal.Decimal(k) / 4 for k in range(100)]),
      'time': pa.array(times, pa.timestamp('us', 'Asia/Shanghai')),
      'clicked': pa.array([k % 2 == 0 for k in range(100)]),
      'bought': pa.array([k % 4 == 0 for k in range(100)]),
  })


@pytest.mark.parametrize('kind', RICH)
def test_times_and_truths_of_every_library(kind, rich, tmp_path):
  options = dict(
      id='user,day', float='cost', click='clicked', conversion='bought',
      split='time', time='time', valid_from='2022-04-04 08:00:00',
      test_from='2022-04-05 00:00:00', group='user')
  path = str(tmp_path / 'log.parquet')
  parquet.write_table(rich, path)
  of_file = Tabular.from_options(str(tmp_path), files=path, **options)
  of_frame = Tabular.from_frame(KINDS[kind](rich), str(tmp_path), **options)
  assert of_frame.prepare().report['splits'] == (
      of_file.prepare().report['splits'])
  assert of_frame.columns_sha256 == of_file.columns_sha256


def test_pieces_of_a_stream_without_a_value(tmp_path, monkeypatch):
  """A piece whose values are all null is of the type of the others."""
  rows = log()
  for k, name in enumerate(('user', 'item', 'tags', 'price')):
    values = rows[name].to_pylist()
    low = 64 * k
    values[low : low + 64] = [None] * 64
    rows = rows.set_column(k, name, pa.array(values, rows.schema.types[k]))
  monkeypatch.setattr(frame_files, '_ROWS', 64)
  for frame in (rows, rows.to_reader(32), pl.from_arrow(rows),
                duckdb.from_arrow(rows), rows.to_pandas()):
    Tabular.from_frame(frame, str(tmp_path), **OPTIONS)
  (path,) = (tmp_path / 'frames').iterdir()
  assert parquet.read_table(path).to_pydict() == rows.to_pydict()


@pytest.mark.long
def test_replicas_of_a_frame(folder, tmp_path):
  """A stream is read once for all; one is the run that was trained alone."""
  configs = [config(), config()]
  configs[1].init_seed = 7
  runs = [str(tmp_path / name) for name in 'ab']
  ends = esmm_jax.train_replicas(
      configs, runs, str(folder / 'data'), str(tmp_path / 'group'),
      log=log().to_reader(50))
  alone = esmm_jax.load(str(folder / 'run'))
  assert [end['replicas'] for end in ends] == [2, 2]
  scores = [esmm_jax.load(run).predict(log()) for run in runs]
  np.testing.assert_allclose(
      scores[0]['p_ctr'], alone.predict(log())['p_ctr'], rtol=1e-5)
  assert np.abs(scores[1]['p_ctr'] - scores[0]['p_ctr']).max() > 0.01


def test_names_of_columns_may_be_numbers(tmp_path):
  rows = log().to_pandas()
  rows.columns = range(len(rows.columns))
  options = dict(id='0,1', click='4', conversion='5')
  data = Tabular.from_frame(rows, str(tmp_path), **options).prepare()
  assert data.report['rows'] == 300


def test_parts_of_a_log(tmp_path):
  rows = log()
  parts = rows.slice(0, 200), rows.slice(200, 40), rows.slice(240)
  data = Tabular.from_frame(
      (parts[0].to_pandas(), pl.from_arrow(parts[1]), parts[2].to_pydict()),
      str(tmp_path), **OPTIONS).prepare()
  assert data.builder_config.split == 'files'
  counts = {s: i.num_examples for s, i in data.info.splits.items()}
  assert counts == {'train': 200, 'valid': 40, 'test': 60}
  two = Tabular.from_frame((parts[0], parts[2]), str(tmp_path), **OPTIONS)
  assert set(two.prepare().info.splits) == {'train', 'test'}
  none = Tabular.from_frame(
      (parts[0], None, parts[2]), str(tmp_path), **OPTIONS)
  assert none.data_path == two.data_path


@pytest.mark.parametrize('frame, options, words', [
    (log(9).drop_columns('user'), {},
     "log: there is no column 'user', which the dataset section names"),
    ((log(9),), {}, 'a log in parts is a tuple'),
    ((log(9), log(9).drop_columns('item')), {},
     "test: there is no column 'item'"),
    (log(0), {}, "the files of dataset.files hold no row"),
    (log(9), {'files': 'x.csv'}, 'the log is given in memory'),
    (log(9), {'idd': 'x'}, 'dataset.idd is set, but Tabular has no such'),
    ('log.csv', {}, "log is 'log.csv'; it must be a DataFrame"),
    (log(9).set_column(4, 'clicked', pa.array([0, 1, 2] * 3)), {},
     r"frames/\w+.parquet, row 2: column 'clicked' is 2"),
])
def test_logs_that_cannot_be(frame, options, words, tmp_path):
  with pytest.raises(InputError, match=words):
    Tabular.from_frame(frame, str(tmp_path), **OPTIONS | options).prepare()
  assert not any(f.endswith('.tmp') for _, _, fs in os.walk(tmp_path)
                 for f in fs if 'frames' in f)


def test_a_frame_for_another_data_set(tmp_path):
  with pytest.raises(InputError, match='not \'synthetic_funnel\''):
    esmm_jax.train_and_evaluate(
        esmm.get_config('smoke'), str(tmp_path / 'r'), str(tmp_path), log=log())


@pytest.mark.parametrize('change, same', [
    (dict(item=pa.float64()), True),
    (dict(item=pa.int8()), True),
    (dict(user=pa.large_string()), True),
    (dict(user=pa.binary()), True),
    (dict(user=pa.string_view()), True),
    (dict(tags=pa.large_list(pa.large_string())), True),
    (dict(item=pa.string()), False),
    (dict(price=pa.float32()), False),
])
def test_types_of_one_value(change, same, tmp_path):
  """Numbers are one kind and texts another."""
  schema = pa.schema([
      f.with_type(change.get(f.name, f.type)) for f in log().schema])
  for rows in (log(), log().cast(schema)):
    Tabular.from_frame(rows, str(tmp_path), **OPTIONS)
  assert len(os.listdir(tmp_path / 'frames')) == (1 if same else 2)


@pytest.mark.parametrize('big, other', [
    (2**53 + 1, 2**53), (2**63 - 1, 2**63 - 2), (-2**63, -2**63 + 1)])
def test_large_numbers_are_told_apart(big, other, tmp_path):
  for number in (big, other, float(2**53)):
    rows = log().set_column(1, 'item', pa.array([number] * 300))
    Tabular.from_frame(rows, str(tmp_path), **OPTIONS)
  num = len(os.listdir(tmp_path / 'frames'))
  assert num == (2 if other == 2**53 else 3)


def test_a_stream_is_scored_piece_by_piece(raw):
  rows = log(2500)
  whole = raw.predict(rows)
  assert whole['p_ctr'].shape == (2500,)
  for size in (7, 1024, 2500):
    assert_equal(raw.predict(rows.to_reader(size)), whole)
  rows = rows.set_column(1, 'item', pa.array([*range(2400), *[1.5] * 100]))
  with pytest.raises(InputError, match="row 2400: column 'item' is 1.5"):
    raw.predict(rows.to_reader(100))


EMPTY = {
    'pandas': lambda names: pd.DataFrame({n: [] for n in names}),
    'polars': lambda names: pl.DataFrame({n: [] for n in names}),
    'table': lambda names: log(0),
    'reader': lambda names: pa.RecordBatchReader.from_batches(
        log().schema, []),
    'dict': lambda names: {n: [] for n in names},
    'rows': lambda names: [],
}


@pytest.mark.parametrize('kind', EMPTY)
def test_no_rows_have_no_scores(kind, raw):
  scores = raw.predict(EMPTY[kind](raw.names))
  assert {k: v.shape for k, v in scores.items()} == {
      'p_ctr': (0,), 'p_cvr': (0,), 'p_ctcvr': (0,)}


def frame(**changes):
  return log(4).to_pandas().assign(**changes)


def columns(**changes):
  return log(4).to_pydict() | changes


REFUSED = {
    'levels': (lambda: pd.concat({'a': frame()}, axis=1), '2 levels of names'),
    'twice': (lambda: pd.concat([frame(), frame()[['user']]], axis=1),
              "there are 2 columns 'user'"),
    'index': (lambda: frame().set_index('user'), "'user' is the index of the"),
    'row': (lambda: frame().iloc[0], 'a Series cannot be read as rows'),
    'column': (lambda: pl.from_arrow(log(4))['user'], 'cannot be read as rows'),
    'scalars': (lambda: log(1).to_pylist()[0],
                r"column 'user' is 'u7'; it must be.*\{'user': \[\.\.\.\]\}"),
    'lengths': (lambda: columns(price=[1.0]),
                "'user' has 4 rows, 'price' 1"),
    'path': (lambda: 'new.csv', "columns is 'new.csv'; it must be a DataFrame"),
    'nothing': (lambda: None, 'columns is None; it must be'),
    'tuples': (lambda: [(1, 2)], r'row 0 is \(1, 2\); a list must hold dicts'),
    'matrix': (lambda: np.ones((3, 4)), 'it must be a DataFrame'),
    'set': (lambda: columns(user={1, 2, 3, 4}), "'user' is {1, 2, 3, 4}; it"),
    'generator': (lambda: columns(user=iter('abcd')),
                  "column 'user' is of type str_ascii_iterator; it must"),
    'cube': (lambda: columns(tags=np.ones((4, 2, 2))),
             r'shape \(4, 2, 2\); it must have one'),
    'complex': (lambda: columns(price=np.ones(4) * 1j), 'complex numbers'),
    'beside': (lambda: columns(tags=['a|b', ['a'], None, []]),
               "'tags'.*lists beside single values; write all as lists"),
    'objects': (lambda: columns(user=[object()] * 4),
                'row 0: an entry of type object is no value'),
    'surrogates': (lambda: columns(user=['\udcff'] * 4), "column 'user'"),
    'no key': (lambda: [{'user': 'a'}], "there is no column 'item'"),
    'indexes': (
        lambda: dict(frame().items()) | {'item': frame()['item'].iloc[::-1]},
        "'user' and 'item' are Series with different indexes"),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_no_frame(case, raw):
  made, words = REFUSED[case]
  with pytest.raises(InputError, match=words) as caught:
    raw.predict(made())
  assert '\n' not in str(caught.value)


def test_a_column_that_is_not_read_may_be_odd(raw):
  rows = frame(other=[object(), 1, 'a', {}])
  rows = pd.concat([rows, rows[['other']]], axis=1)
  assert_equal(raw.predict(rows), raw.predict(log(4)))
  rows = pl.from_arrow(log(4)).with_columns(
      pl.Series('other', [object()] * 4, dtype=pl.Object))
  assert_equal(raw.predict(rows), raw.predict(log(4)))


NULLS = [None, np.nan, pd.NA, pd.NaT]
ONE_KIND = {
    'mixed': ([1, 'a', 2.0, *NULLS], ['1', 'a', '2.0', *[None] * 4]),
    'large': ([2**64, 1], ['18446744073709551616', '1']),
    'booleans': (np.array([True, False]), ['True', 'False']),
    'masked': (np.ma.array([1, 2], mask=[1, 0]), ['None', '2']),
    'hours': (np.array([1], 'M8[h]'), ['1970-01-01T01:00:00']),
    'periods': (pd.Series(pd.period_range('2020-01', periods=1, freq='M')),
                ['2020-01']),
    'bfloat16': (jnp.asarray([1, 2.5], 'bfloat16'), ['1.0', '2.5']),
    'lists': ([['a', 1], [None, 2.5], None], [['a', '1'], [None, '2.5'], None]),
    'arrays': (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    'sets': ([{'b', 'a', 'c'}, frozenset(), None], [['a', 'b', 'c'], [], None]),
    'wide': (pl.Series([2**100], dtype=pl.Int128), [str(2**100)]),
}


@pytest.mark.parametrize('case', ONE_KIND)
def test_columns_become_values(case):
  value, expected = ONE_KIND[case]
  read = frames.read({'x': value})
  column = read.columns['x']
  if not isinstance(column, (list, np.ndarray)):
    column = column.to_pylist()
  if not isinstance(expected[0], list):
    column = [None if v is None else str(v) for v in column]
    expected = [None if v == 'None' else v for v in expected]
  assert list(column) == expected and read.num_rows == len(expected)


def test_unseen_values_are_counted(raw):
  rows = pa.table({
      'user': ['u1', 'new', None, 'u2'], 'item': [1, 2, 99, 98],
      'tags': [['t1', 'x', 'y'], [], None, ['t2']],
      'price': [1.0, None, 2.0, float('nan')]})
  expected = {
      'user': (1 / 4, 1 / 3), 'item': (0, 1 / 2), 'tags': (1 / 2, 1 / 2),
      'price': (1 / 2, 0)}
  for frame in (rows, rows.to_pandas(), rows.to_reader(1)):
    assert raw.unseen(frame) == expected
  assert raw.unseen([])['user'] == (0, 0)
  lines = list(unseen.lines(raw.unseen(rows.slice(1))))
  assert lines == [
      'rare or never seen in training: item 66.7%, user 50.0%',
      'missing: tags 66.7%, price 66.7%, user 33.3%',
      "warning: 66.7% of the values of column 'item' are rare or were never"
      ' seen in training; is it the right column, with the values that it had'
      ' there?']


def test_shares_are_compared_with_those_of_the_log(raw):
  """Many rare values are no sign of a wrong column where there always were."""
  shares = raw.unseen_in_log
  assert shares == raw.unseen(log())
  assert shares['user'].missing > 0.05 and shares['price'].missing == 24 / 300
  share = unseen.Share(0.0, 0.6)
  for before, num in ((None, 1), ({'x': unseen.Share(0, 0.1)}, 1),
                      ({'x': unseen.Share(0, 0.4)}, 0)):
    warnings = [
        line for line in unseen.lines({'x': share}, before)
        if line.startswith('warning')]
    assert len(warnings) == num
    assert not before or not num or '(10.0% in its log)' in warnings[0]


def test_unseen_ids(ids, finished):
  rows = finished.table(0, 50)
  shares = ids.unseen(rows.set_column(
      rows.column_names.index('user'), 'user', pa.array([1] * 20 + [0] * 30)))
  assert shares['user'] == (0.6, 1.0)

"""One frame as pandas, polars, duckdb and pyarrow write it: the same data."""

import datetime
import decimal

import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.serving import exporting, model_inputs
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from configs import esmm
from tests.data.tabular.test_tabular import assert_same, read

pandas = pytest.importorskip('pandas')
polars = pytest.importorskip('polars')
duckdb = pytest.importorskip('duckdb')

NUM = 240
NOON = datetime.datetime(2022, 4, 1, 12)


def frame():
  """A column of each kind, with a missing value where writers differ."""
  k = range(NUM)
  some = lambda values: [
      None if j % 11 == 5 else v for j, v in enumerate(values)]
  hours = [NOON + datetime.timedelta(hours=j) for j in k]
  return pa.table({
      'name': some(f'n {j % 7}, "{j % 3}"' for j in k),
      'code': pa.array(some(j % 5 for j in k), pa.int32()),
      'long': [2**60 + j % 6 for j in k],
      'wide': pa.array([2**63 + j % 4 for j in k], pa.uint64()),
      'flag': some(j % 3 == 0 for j in k),
      'size': [decimal.Decimal(j % 4) / 2 + decimal.Decimal('0.00') for j in k],
      'day': [h.date() for h in hours],
      'seen': pa.array(
          [h.replace(microsecond=j % 2 * 120) for j, h in enumerate(hours)],
          pa.timestamp('us')),
      'midnight': pa.array(
          [h.replace(hour=0) for h in hours], pa.timestamp('ms')),
      'fine': pa.array(
          [1650000000000000000 + j % 3 for j in k], pa.timestamp('ns')),
      'zoned': pa.array(
          [h.replace(hour=j % 3) for j, h in enumerate(hours)],
          pa.timestamp('us', 'Asia/Shanghai')),
      'clock': [datetime.time(j % 3, 30, 0, j % 2 * 500) for j in k],
      'price': pa.array(some(j / 7 for j in k)),
      'ratio': pa.array([j / 10 for j in k], pa.float32()),
      'large': [1e16 * (j % 5) + 0.5 for j in k],
      'count': pa.array(some(j % 9 for j in k), pa.int64()),
      'tags': some(f't{j % 3}:{j % 4 / 4}|u{j % 5}:1' for j in k),
      'words': some(f'["w{j % 3}", "x, {j % 2}"]' for j in k),
      'time': pa.array(hours, pa.timestamp('us', 'Asia/Shanghai')),
      'clicked': [j % 2 == 0 for j in k],
      'bought': [int(j % 4 == 0) for j in k],
  })


IDS = ('name,code,long,wide,flag,size,day,seen,midnight,fine,zoned,clock')
FLOATS = 'price,ratio,large,size2,flag2,count'


def pandas_csv(rows, path):
  rows.to_pandas().to_csv(path, index=False)


def pandas_parquet(rows, path):
  rows.to_pandas().to_parquet(path)


def pandas_arrow_csv(rows, path):
  # A float32 of pandas' own arrow type is written as the float64 beside it.
  columns = rows.set_column(
      rows.column_names.index('ratio'), 'ratio',
      pa.array([j / 10 for j in range(len(rows))]))
  columns.to_pandas(types_mapper=pandas.ArrowDtype).to_csv(path, index=False)


def pandas_index_parquet(rows, path):
  frame_ = rows.to_pandas().set_index('midnight', drop=False)
  frame_.rename_axis('day of the index').to_parquet(path)


def polars_csv(rows, path):
  polars.from_arrow(rows).write_csv(path)


def polars_parquet(rows, path):
  polars.from_arrow(rows).write_parquet(path)


def polars_categories(rows, path):
  columns = polars.from_arrow(rows).with_columns(
      polars.col('name').cast(polars.Categorical))
  columns.write_parquet(path)


def duckdb_writer(rows, path):
  with duckdb.connect() as connection:
    connection.execute("SET TimeZone = 'America/New_York'")
    connection.register('rows', rows)
    connection.execute(f"COPY rows TO '{path}'")


def pyarrow_csv(rows, path):
  csv.write_csv(rows, path)


def pyarrow_parquet(rows, path):
  parquet.write_table(rows, path)


def pyarrow_views(rows, path):
  views = rows.set_column(
      0, 'name', pa.array(rows['name'].to_pylist(), pa.string_view()))
  parquet.write_table(views, path)


WRITERS = {
    'pyarrow.parquet': pyarrow_parquet,
    'pyarrow.csv': pyarrow_csv,
    'pandas.csv': pandas_csv,
    'pandas.parquet': pandas_parquet,
    'arrow in pandas.csv': pandas_arrow_csv,
    'index in pandas.parquet': pandas_index_parquet,
    'polars.csv': polars_csv,
    'polars.parquet': polars_parquet,
    'categories in polars.parquet': polars_categories,
    'duckdb.csv': duckdb_writer,
    'duckdb.parquet': duckdb_writer,
    'views.parquet': pyarrow_views,
}


@pytest.fixture(scope='module')
def files(tmp_path_factory):
  """Writer -> its file."""
  folder = tmp_path_factory.mktemp('files')
  rows = frame()
  for name in ('size', 'flag'):
    rows = rows.append_column(f'{name}2', rows[name])
  paths = {}
  for writer, write in WRITERS.items():
    paths[writer] = str(folder / writer)
    write(rows, paths[writer])
  return paths


def options(path):
  return dict(
      files=path, id=IDS, float=FLOATS,
      ids='tags:weights=colon:max_len=2,words:combiner=sum',
      click='clicked', conversion='bought', min_count=1,
      split='time', time='time', valid_from='2022-04-09T00:00+08:00',
      test_from='2022-04-10 04:00:00Z')


def prepared(folder, path, **more):
  return Tabular.from_options(str(folder), **options(path) | more).prepare()


@pytest.fixture(scope='module')
def reference(files, tmp_path_factory):
  return prepared(tmp_path_factory.mktemp('data'), files['pyarrow.parquet'])


def frame_of_floats():
  rows = frame().to_pydict()
  return rows | {'size2': rows['size'], 'flag2': rows['flag']}


def sizes(data):
  return [s.num_examples for s in data.info.splits.values()]


def test_the_reference(reference):
  # 20:00 in Shanghai is the first time: 172 hours to the 9th, 36 more.
  assert sizes(reference) == [172, 36, 32]
  assert reference.report['vocab_sizes']['fine'] == 2 + 3
  tags = read(reference)['train']['tags']
  # t1 and u2 of row 7; by falling weight.
  names = Encoder.load(reference.encoder_folder).values('tags')
  entries = slice(*tags.offsets[7:9])
  assert [names[k - 2] for k in tags.values[entries]] == ['u2', 't1']
  assert tags.weights[entries].tolist() == [1, 0.75]
  assert tags.weights.dtype == np.float32
  fields = {f.name: f for f in reference.schema.fields}
  assert fields['tags'].weighted and not fields['words'].weighted


@pytest.mark.parametrize('writer, hours', [
    ('pyarrow.parquet', 0), ('pandas.csv', 0), ('polars.csv', 0),
    # These keep the moment and forget the zone, as DuckDB itself does.
    ('duckdb.csv', 12), ('duckdb.parquet', 8)])
def test_boundaries_in_the_zone_of_the_file(writer, hours, files, tmp_path):
  data = prepared(
      tmp_path, files[writer], valid_from='2022-04-09',
      test_from='2022-04-10 12:00')
  assert sizes(data) == [172 + hours, 36, 32 - hours]


@pytest.mark.parametrize('writer', list(WRITERS)[1:])
def test_the_same_data(writer, files, reference, tmp_path):
  data = prepared(tmp_path, files[writer])
  assert_same(read(data), read(reference))
  assert data.schema == reference.schema


@pytest.fixture(scope='module')
def run(files, tmp_path_factory):
  """A run on the CSV file of pandas."""
  folder = tmp_path_factory.mktemp('run')
  config = esmm.get_config('tabular')
  config.dataset.update(options(files['pandas.csv']))
  config.update(batch_size=64, num_epochs=1)
  config.model.update(embed_dim=2, tower_units=(4,))
  train_and_evaluate(config, str(folder / 'run'), str(folder / 'data'))
  return esmm_jax.load(str(folder / 'run'))


def scores(model, columns):
  return np.stack(list(model.predict(columns).values()))


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_the_same_scores(files, run):
  """Of every file, and of the frames as they are in memory."""
  wanted = None
  for path in files.values():
    (part,) = row_files.read(path, run.names, NUM)
    result = scores(run, part.table)
    wanted = result if wanted is None else wanted
    np.testing.assert_array_equal(result, wanted, err_msg=path)
  rows = parquet.read_table(files['pyarrow.parquet'])
  # Python's own float of a float32 is another number.
  tenths = {'ratio': [j / 10 for j in range(NUM)]}
  objects = {n: rows[n].to_pandas().astype(object) for n in run.names}
  ways = {
      'pyarrow': rows,
      'pandas': rows.to_pandas(),
      'pandas with arrow': rows.to_pandas(types_mapper=pandas.ArrowDtype),
      'polars': polars.from_arrow(rows),
      'python': rows.to_pydict() | tenths,
      'objects': objects | tenths,
  }
  for way, columns in ways.items():
    if not isinstance(columns, pa.Table):
      columns = {name: columns[name] for name in run.names}
    np.testing.assert_array_equal(scores(run, columns), wanted, err_msg=way)


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_an_export_of_the_run(files, run, tmp_path):
  """Weights are an input of their own."""
  rows = parquet.read_table(files['pyarrow.parquet'])
  wanted = run.predict(rows)
  exporting.export(run, str(tmp_path / 'model'))
  call, params = exporting.load(str(tmp_path / 'model'))
  encoder = Encoder.load(str(tmp_path / 'model' / 'encoder'))
  features = model_inputs.features(
      run.schema, encoder.encode({n: rows[n] for n in run.names}))
  assert features['tags.weight'].shape == (NUM, 2)
  result = call(params, features)
  for name in wanted:
    np.testing.assert_allclose(result[name], wanted[name], rtol=1e-5)
  features['tags.weight'] = features['tags.weight'][::-1]
  assert np.abs(call(params, features)['p_ctr'] - wanted['p_ctr']).max() > 1e-6


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
def test_what_a_run_refuses(run):
  """With the row, in the words of the data's preparation."""
  rows = {n: frame_of_floats()[n] for n in run.names}
  for name, value, words in (
      ('price', 1.7976931348623157e308, 'at most 3.4028235e38'),
      ('price', 'x', 'a number'),
      ('code', 7.5, 'a whole number or a text'),
      ('tags', 'a', "a pair like 'sport:0.5'"),
      ('words', '["a"', 'a list like')):
    values = [rows[name][0], value]
    changed = {n: v[:2] for n, v in rows.items()} | {name: values}
    with pytest.raises(InputError, match=f'log, row 1: .*{words}'):
      run.predict(changed, where='log')

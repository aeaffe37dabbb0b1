"""Scores of new rows: equal to the run's own, from files, after a kill."""

import decimal
import glob
import os
import signal
import subprocess
import sys
import time
import types

import esmm_jax
from esmm_jax.data.files import row_files as files
from esmm_jax.serving import inputs, predictor as predictors, scoring
from esmm_jax.serving.predictor import Predictor
from esmm_jax.types import InputError, Ragged
import fsspec
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa
import pytest

from tests import toy as toys
from tests.parallel import forking
from tests.serving.served import small_config
from tests.damaged import cells

SCORES = ('p_ctr', 'p_cvr', 'p_ctcvr')


@pytest.fixture(scope='module')
def predictor(finished):
  return esmm_jax.load(str(finished.folder))


@pytest.fixture(scope='module')
def table(finished):
  return finished.table()


def assert_same(scores, saved, rtol=0):
  for name in SCORES:
    got = np.asarray(scores[name])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.asarray(saved[name]), rtol=rtol)


def write(table, folder, cuts=(0, 1100, 3000), form='parquet'):
  """Files of consecutive rows."""
  os.makedirs(folder, exist_ok=True)
  for k, (low, high) in enumerate(zip(cuts, cuts[1:])):
    path = os.path.join(folder, f'{k}.{form}')
    part = table.slice(low, high - low)
    if form == 'parquet':
      parquet.write_table(part, path, row_group_size=700)
    else:
      csv.write_csv(as_text(part), path)
  return os.path.join(folder, f'*.{form}')


def as_text(table):
  """Lists as texts with | between the entries."""
  columns = {}
  for name in table.column_names:
    column = table[name]
    if pa.types.is_list(column.type):
      lists = [[repr(x) for x in row] for row in column.to_pylist()]
      column = pa.array(['|'.join(row) for row in lists])
    columns[name] = column
  return pa.table(columns)


def test_a_split_is_scored_as_the_run_scored_it(finished, predictor, tmp_path):
  """To the bit, with the selected parameters, which are not the last."""
  output = str(tmp_path / 's.parquet')
  num = scoring.score_split(
      predictor, finished.builder(), 'test', output, part_rows=1500)
  scores = parquet.read_table(output)
  assert num == scores.num_rows == 3000
  assert_same(scores, finished.saved())
  assert scores['row'].to_pylist() == list(range(3000))
  assert set(scores['file'].to_pylist()) == {'test'}
  assert os.listdir(tmp_path) == ['s.parquet']
  with pytest.raises(InputError, match='part_rows is 0'):
    scoring.score_split(predictor, finished.builder(), 'test', 'x', part_rows=0)


@pytest.mark.parametrize('form', ['parquet', 'csv'])
def test_files_are_scored_as_the_split(
    form, finished, predictor, table, tmp_path
):
  found = files.find([write(table, tmp_path / 'in', form=form)])
  output = str(tmp_path / 's.parquet')
  num = scoring.score_files(predictor, found, output, part_rows=512)
  scores = parquet.read_table(output)
  assert num == scores.num_rows == 3000
  assert_same(scores, finished.saved(), rtol=1e-5)
  assert scores['row'].to_pylist() == [*range(1100), *range(1900)]
  names = scores['file'].to_pylist()
  assert names == [found[0].path] * 1100 + [found[1].path] * 1900
  assert scores.column_names == ['file', 'row', *SCORES]


def test_the_key_is_copied(predictor, table, tmp_path):
  keys = [f'k{i}' for i in range(3000)]
  table = table.append_column('impression', pa.array(keys))
  found = files.find([write(table, tmp_path / 'in')])
  output = str(tmp_path / 's.parquet')
  scoring.score_files(predictor, found, output, 'impression', part_rows=999)
  scores = parquet.read_table(output)
  assert scores.column_names == ['impression', *SCORES]
  assert scores['impression'].to_pylist() == keys


def test_remote_files_and_a_key_that_cannot_be(
    finished, predictor, table, tmp_path
):
  """fsspec's memory stands for a bucket; a compressed CSV file."""
  rows = table.slice(0, 20)
  path = 'memory://log/day=1/a.csv.gz'
  with fsspec.open(path, 'wb', compression='gzip') as f:
    csv.write_csv(as_text(rows), f)
  with fsspec.open('memory://log/day=2/a.parquet', 'wb') as f:
    parquet.write_table(rows.append_column('p_ctr', rows['click']), f)
  found = files.find(['memory://log/day=*/a.*'])
  assert [f.path for f in found] == [
      'memory:///log/day=1/a.csv.gz', 'memory:///log/day=2/a.parquet']
  output = str(tmp_path / 's.parquet')
  assert scoring.score_files(predictor, found, output) == 40
  scores = parquet.read_table(output)
  saved = finished.saved().slice(0, 20)
  for start in (0, 20):
    assert_same(scores.slice(start, 20), saved, rtol=1e-5)
  output = str(tmp_path / 't.parquet')
  with pytest.raises(InputError, match='--key=p_ctr has the name of a score'):
    scoring.score_files(predictor, found[1:], output, 'p_ctr')


def test_it_goes_on_where_it_was_killed(
    predictor, table, tmp_path, monkeypatch
):
  found = files.find([write(table, tmp_path / 'in')])
  whole, killed = str(tmp_path / 'w.parquet'), str(tmp_path / 'k.parquet')
  scoring.score_files(predictor, found, whole, part_rows=500)
  calls = []
  encode = Predictor.encode

  def counted(self, columns, *rest):
    calls.append(len(columns['user']))
    if len(calls) == 4:
      raise KeyboardInterrupt
    return encode(self, columns, *rest)

  monkeypatch.setattr(Predictor, 'encode', counted)
  with pytest.raises(KeyboardInterrupt):
    scoring.score_files(predictor, found, killed, part_rows=500)
  assert not os.path.exists(killed)
  with pytest.raises(InputError, match='key is user here and  there'):
    scoring.score_files(predictor, found, killed, 'user', part_rows=500)
  with pytest.raises(InputError, match=r'input.*1.parquet is absent here'):
    scoring.score_files(predictor, found[:1], killed, part_rows=500)
  # The same run, trained again; then a part that was damaged meanwhile.
  params = dict(predictor.trained.params)
  params['table'] = params['table'] * 2
  again = Predictor(predictor.trained._replace(params=params, stamp=None))
  with pytest.raises(InputError, match='another job.*run.params_sha256 is'):
    scoring.score_files(again, found, killed, part_rows=500)
  first = tmp_path / 'k.parquet.parts' / '00000-000000000000.parquet'
  sound = first.read_bytes()
  for harm in ('empty', 'cut', 'zeros'):
    assert cells.harm(harm, first)
    with pytest.raises(InputError, match=f'{first.name} is damaged .*Delete'):
      scoring.score_files(predictor, found, killed, part_rows=500)
    first.write_bytes(sound)
  scoring.score_files(predictor, found, killed, part_rows=500)
  # 0.parquet has parts of 500, 500, 100 rows; the killed one is repeated.
  assert calls == [500, 500, 100, 500, 500, 500, 500, 400]
  assert parquet.read_table(killed).equals(parquet.read_table(whole))
  assert not os.path.exists(f'{killed}.parts')


def test_killed_between_joining_and_removing_the_parts(
    predictor, table, tmp_path, monkeypatch
):
  found = files.find([write(table, tmp_path / 'in', (0, 90))])
  output = str(tmp_path / 's.parquet')
  with monkeypatch.context() as patched:
    patched.setattr(scoring.ownership, 'remove', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      scoring.score_files(predictor, found, output)
  with pytest.raises(InputError, match='parts of another job: key is user'):
    scoring.score_files(predictor, found, output, 'user')
  assert scoring.score_files(predictor, found, output) == 90
  assert sorted(os.listdir(tmp_path)) == ['in', 's.parquet']
  # It was this program that made it.
  with pytest.raises(InputError, match='s.parquet exists. Name another file'):
    scoring.score_files(predictor, found, output)


def test_what_the_job_has_not_made_stays(
    predictor, table, tmp_path, monkeypatch
):
  """Also between joining and removing the parts; --overwrite replaces it."""
  found = files.find([write(table, tmp_path / 'in', (0, 90))])
  output = tmp_path / 's.csv'
  output.write_text('mine')
  with pytest.raises(InputError, match='s.csv exists. Name .* --overwrite'):
    scoring.score_files(predictor, found, str(output))
  assert sorted(os.listdir(tmp_path)) == ['in', 's.csv']
  scoring.score_files(predictor, found, str(output), overwrite=True)
  assert output.read_text().count('\n') == 91
  assert sorted(os.listdir(tmp_path)) == ['in', 's.csv']
  os.remove(output)
  with monkeypatch.context() as patched:
    patched.setattr(scoring.ownership, 'remove', lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      scoring.score_files(predictor, found, str(output))
  os.rename(output, tmp_path / 'away')
  output.write_text('mine')
  with pytest.raises(InputError, match='s.csv exists'):
    scoring.score_files(predictor, found, str(output))
  assert output.read_text() == 'mine'
  os.remove(output)
  (tmp_path / 's.csv.parts' / 'thesis.tex').write_text('mine')
  assert scoring.score_files(predictor, found, str(output)) == 90
  assert os.listdir(tmp_path / 's.csv.parts') == ['thesis.tex']


@pytest.mark.long
def test_killed_by_the_system(finished, predictor, table, tmp_path):
  """SIGKILL when a few parts are there, then the same command."""
  many = pa.concat_tables([table] * 30)
  pattern = write(many, tmp_path / 'in', (0, 50_000, 90_000), 'csv')
  output = tmp_path / 's.parquet'
  command = [
      sys.executable, '-m', 'experiments.predict',
      f'--workdir={finished.folder}', f'--input={pattern}',
      f'--output={output}', '--part_rows=1000']
  process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
  deadline = time.monotonic() + 200
  parts = lambda: sorted(glob.glob(f'{output}.parts/*.parquet'))
  while time.monotonic() < deadline and len(parts()) < 5:
    time.sleep(0.01)
  process.kill()
  assert process.wait() == -signal.SIGKILL
  assert 5 <= len(parts()) < 90 and not output.exists()
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 0 and '90,000 rows' in done.stdout, done.stderr
  whole = str(tmp_path / 'whole.parquet')
  scoring.score_files(predictor, files.find([pattern]), whole, part_rows=1000)
  assert parquet.read_table(output).equals(parquet.read_table(whole))


@pytest.mark.parametrize('num', [0, 1, 2, 32, 33, 1024, 1025])
def test_any_number_of_rows(num, finished, predictor, table):
  rows = table.slice(7, num)
  scores = predictor.predict({n: rows[n] for n in rows.column_names})
  assert_same(scores, finished.saved().slice(7, num), rtol=1e-5)


def test_nothing_is_compiled_for_each_number_of_rows(finished, table):
  mine = finished.predictor()
  assert mine.sizes == [1, 32, 1024]
  for num in (1, 3, 31, 40, 1000, 1024, 2100):
    rows = table.slice(0, num)
    mine.predict({n: rows[n] for n in rows.column_names})
  assert mine.num_compiled == 3
  assert finished.predictor(batch_size=7).sizes == [1, 7]


def test_columns_may_be_lists_arrays_or_arrow(finished, predictor, table):
  rows = table.slice(0, 40)
  wanted = predictor.names
  as_lists = {n: rows[n].to_pylist() for n in wanted}
  as_arrays = {
      n: np.asarray(v) if not isinstance(v[0], list) else v
      for n, v in as_lists.items()}
  texts = as_text(rows)
  as_texts = {n: texts[n].cast(pa.string()) for n in wanted}
  for columns in (
      as_lists, as_arrays, as_texts, rows, finished.columns(0, 40)):
    scores = predictor.predict(columns)
    assert_same(scores, finished.saved().slice(0, 40), rtol=1e-5)


class Hashed:
  """An encoder: users are words, `u17` say; the rest is as it is."""

  def __init__(self, names):
    self.names = list(names)
    self.raw_names = ['who' if n == 'user' else n for n in names]

  def select(self, names):
    assert 'age' in names and set(names) <= set(self.names)
    return self

  def encode(self, columns, where, first_row, noun, dialect, counts):
    if len(columns['who']) == 3:
      raise InputError(f'{where}, row {first_row}: three.')
    known = [str(who).startswith('u') for who in columns['who']]
    ids = [
        int(str(who)[1:]) if k else 1 for who, k in zip(columns['who'], known)]
    rest = {n: c for n, c in columns.items() if n != 'who'}
    return rest | {'user': np.array(ids, np.int32)}


def test_raw_columns_go_through_the_encoder(
    finished, predictor, table, tmp_path, monkeypatch
):
  """The folder `encoder` of a run says how raw values become ids."""
  run = finished.copy(tmp_path / 'run')
  os.mkdir(run.folder / 'encoder')
  loaded = []
  monkeypatch.setattr(predictors, 'Encoder', types.SimpleNamespace(
      load=lambda path: loaded.append(path) or Hashed(predictor.names)))
  monkeypatch.setattr(predictors.encoder_hashes, 'hashes', lambda *_: {
      'encoder_sha256': '', 'encoder_options_sha256': ''})  # As the run's.
  mine = run.predictor()
  assert loaded == [str(run.folder / 'encoder')]
  assert 'who' in mine.names and 'user' not in mine.names
  users = table['user'].to_pylist()
  raw = table.drop_columns(['user']).append_column(
      'who', pa.array([f'u{u}' for u in users]))
  found = files.find([write(raw, tmp_path / 'in', (0, 40, 100))])
  output = str(tmp_path / 's.parquet')
  scoring.score_files(mine, found, output, part_rows=30)
  assert_same(
      parquet.read_table(output), finished.saved().slice(0, 100), rtol=1e-5)
  # Never seen: as id 1.
  rows = raw.slice(0, 2).to_pydict() | {'who': ['new', 'newer']}
  known = table.slice(0, 2).to_pydict() | {'user': [1, 1]}
  assert_same(mine.predict(rows), predictor.predict(known), rtol=1e-6)
  with pytest.raises(InputError, match="there is no column 'who'"):
    mine.predict(known)
  with pytest.raises(InputError, match='x, row 7: three'):
    mine.predict(raw.slice(0, 3).to_pydict(), where='x', first_row=7)


def columns_of_toys(**changes):
  """Two rows of the toy data set."""
  return dict(
      user=[3, 4], serial=[0.0, 1.0], history=[[1, 2], []],
      item=[5, 6], tags=[[], [6]], price=[0.5, 2],
      **{'history.weight': [[0.5, 2.0], []]}) | changes


def test_what_columns_become():
  made = inputs.encoded(toys.SCHEMA, columns_of_toys(user=[None, 7.0]))
  assert made['user'].tolist() == [0, 7]
  assert made['history'].values.tolist() == [1, 2]
  assert made['history'].offsets.tolist() == [0, 2, 2]
  assert made['history'].weights.tolist() == [0.5, 2.0]
  assert made['tags'].offsets.tolist() == [0, 0, 1]
  assert made['price'].dtype == np.float32


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(price=['1', 'x']), "row 11: column 'price' is 'x'.*a number"),
        (dict(price=[1, 'x']), "row 11: column 'price' is 'x'"),
        (dict(price=[1, None]), "row 11: column 'price' is None"),
        (dict(price=[1, np.inf]), "row 11: column 'price' is inf.*finite"),
        (dict(price='1'), "column 'price' is '1'; it must be an array"),
        (dict(price=[1]), 'columns differ in length'),
        (dict(user=[1, 2.5]), "row 11: column 'user' is 2.5.*whole"),
        (dict(user=['1', 'b']), "row 11: column 'user' is 'b'"),
        (dict(user=[1, 60]), "row 11: field 'user' has id 60.*0 to 59"),
        (dict(user=[1, -1]), "row 11: field 'user' has id -1"),
        (dict(user=np.array([2**40, 1])), "row 10: field 'user' has id 10995"),
        (dict(tags=[[], [7]]), "row 11: field 'tags' has id 7"),
        (dict(tags=[1, 2]), "column 'tags' is 1; it must be a list"),
        (dict(tags=['1|2', '3|x']), "row 11: column 'tags' is 'x'"),
        (
            {'history.weight': [[1.0], []]},
            "lists of 'history.weight' and 'history' differ",
        ),
        (
            {'history.weight': ['0.5|2', '1|x']},
            "row 11: column 'history.weight' is 'x'; it must be a number",
        ),
    ],
)
def test_values_that_are_not_possible(changes, words):
  with pytest.raises(InputError, match=words):
    inputs.encoded(toys.SCHEMA, columns_of_toys(**changes), 'log', 10)


IDS = {
    'integers': pa.array([3, None], pa.uint64()),
    'floats': np.array([3.0, np.nan]),
    'decimals': [decimal.Decimal('3.00'), None],
    'texts': [' 3.0', ''],
    'bytes': [b'3', None],
    'views': pa.array(['3', None], pa.string_view()),
    'categories': pa.array(['3', None]).dictionary_encode(),
    'objects': np.array([3, '0'], object),
}


@pytest.mark.parametrize('kind', IDS)
def test_ids_of_any_type(kind):
  """The same table of types as for raw columns."""
  found = inputs.encoded(toys.SCHEMA, columns_of_toys(user=IDS[kind]))
  assert found['user'].tolist() == [3, 0]
  if kind not in ('objects', 'floats'):
    numbers = inputs.encoded(toys.SCHEMA, columns_of_toys(
        price=[IDS[kind][0], 0.5]))['price']
    assert numbers.tolist() == [3, 0.5] and numbers.dtype == np.float32
  lists = pa.array([[IDS['integers'][0].as_py()], []], pa.list_view(pa.int8()))
  found = inputs.encoded(toys.SCHEMA, columns_of_toys(tags=lists))['tags']
  assert found.values.tolist() == [3] and found.offsets.tolist() == [0, 1, 1]


@pytest.mark.parametrize('value', [1e300, -1e39, np.float64(3.5e38)])
@pytest.mark.parametrize('form', [np.array, list, pa.array])
def test_numbers_past_float32(value, form):
  words = "log, row 11: column 'price' is .*; it must be at most 3.4028235e38"
  with pytest.raises(InputError, match=words):
    inputs.encoded(
        toys.SCHEMA, columns_of_toys(price=form([1.0, value])), 'log', 10)


def test_a_column_that_is_not_there():
  columns = columns_of_toys()
  columns['prize'] = columns.pop('price')
  words = "log: there is no column 'price'.*Did you mean 'prize'"
  with pytest.raises(InputError, match=words):
    inputs.encoded(toys.SCHEMA, columns, 'log')
  lists = Ragged(np.array([1, 2], np.int32), np.array([0, 1, 2]), None)
  made = inputs.encoded(toys.SCHEMA, columns_of_toys(tags=lists))
  assert made['tags'] is lists


def test_files_that_cannot_be_scored(predictor, table, tmp_path):
  output = str(tmp_path / 's.parquet')
  (tmp_path / 'a.txt').write_text('x')
  for pattern, words in (('b.csv', 'no such file'), ('a.txt', 'neither CSV')):
    with pytest.raises(InputError, match=words):
      files.find([str(tmp_path / pattern)])
  with pytest.raises(InputError, match='nothing://x'):
    files.find(['nothing://x'])
  # A text in a column of numbers, in the second file.
  text = as_text(table.slice(0, 90))
  bad = text['seen_count'].to_pylist()
  bad[80] = 'many'
  place = text.column_names.index('seen_count')
  text = text.set_column(
      place, 'seen_count', pa.array([str(b) for b in bad]))
  found = files.find([write(text, tmp_path / 'in', (0, 30, 90), 'csv')])
  words = "1.csv, line 52: column 'seen_count' is 'many'; it must be a number"
  with pytest.raises(InputError, match=words):
    scoring.score_files(predictor, found, output, part_rows=32)
  # A column less, a key that is not there, an output that is.
  less = table.drop_columns(['history']).slice(0, 20)
  found = files.find([write(less, tmp_path / 'less', (0, 20))])
  with pytest.raises(InputError, match="0.parquet: there is no column 'hist"):
    scoring.score_files(predictor, found, output)
  found = files.find([write(table, tmp_path / 'all', (0, 20))])
  with pytest.raises(InputError, match="there is no column 'id'"):
    scoring.score_files(predictor, found, output, 'id')
  (tmp_path / 'there.parquet').write_text('')
  with pytest.raises(InputError, match='--output=.*there.parquet exists'):
    scoring.score_files(predictor, found, str(tmp_path / 'there.parquet'))
  (tmp_path / 'all' / '0.parquet').write_text('PAR1')
  with pytest.raises(InputError, match='0.parquet cannot be read'):
    scoring.score_files(predictor, found, output)


def test_runs_that_are_not_there(finished, tmp_path):
  with pytest.raises(InputError, match='is not the folder of a run'):
    esmm_jax.load(str(tmp_path))
  run = finished.copy(tmp_path / 'run')
  os.rename(run.folder / 'results.json', run.folder / 'results')
  with pytest.raises(InputError, match='is not finished: there is no results'):
    esmm_jax.load(str(run.folder))
  os.rename(run.folder / 'results', run.folder / 'results.json')
  (last,) = [
      path for path in sorted((run.folder / 'checkpoints').glob('*/_CHECK*'))
      if path.parent.name == '12']
  last.write_text('{')
  with pytest.raises(InputError, match='12 is damaged.*which finishes the run'):
    esmm_jax.load(str(run.folder))


@pytest.mark.long
def test_runs_that_were_trained_side_by_side(finished, tmp_path):
  """Each is scored with its own parameters: one's best, the other's last."""
  from esmm_jax.training.loop import train_replicas

  configs = [
      small_config(learning_rate=0.02),
      small_config(init_seed=3, **{'selection.metric': ''})]
  folders = [str(tmp_path / name) for name in 'ab']
  results = train_replicas(
      configs, folders, str(finished.data), str(tmp_path / 'home'))
  steps = [r['selected_step'] for r in results]
  assert steps == [6, 12]
  columns = finished.columns()
  found = []
  for folder in folders:
    scores = esmm_jax.load(folder).predict(columns)
    saved = parquet.read_table(f'{folder}/predictions/test.parquet')
    assert_same(scores, saved, rtol=1e-5)
    found.append(scores['p_ctr'])
  assert np.abs(found[0] - found[1]).max() > 0.01


def test_a_run_without_a_schema_takes_that_of_its_data(finished, tmp_path):
  run = finished.copy(tmp_path / 'run')
  os.remove(run.folder / 'schema.json')
  mine = run.predictor(data_dir=str(run.data))
  assert mine.schema == finished.predictor().schema


@pytest.mark.slow
def test_the_command(finished, tmp_path):
  same = (
      f'--workdir={finished.folder}', f'--data_dir={finished.data}',
      f'--output={tmp_path}/s.parquet')
  with forking.Program('experiments.predict') as program:
    for more, words in (
        ([], 'set one of --input'),
        (['--split=test', '--key=user'], '--key is of files'),
        (['--split=tset'], "no split 'tset'"),
    ):
      done = program.run(*same, *more)
      assert done.returncode == 1 and words in done.stderr, done.stderr
    done = program.run(*same, '--calibrated=plat')
    assert done.returncode == 2 and 'plat' in done.stderr
    done = program.run(*same, '--split=test[:10%]')
  assert done.returncode == 0, done.stderr
  assert 's.parquet: 300 rows' in done.stdout
  scores = parquet.read_table(tmp_path / 's.parquet')
  assert_same(scores, finished.saved().slice(0, 300), rtol=1e-5)

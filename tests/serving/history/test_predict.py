"""Scores of files and rows are those of the prepared data, to the bit."""

import shutil

import esmm_jax
from esmm_jax.data.csv_files import dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.history.spans import SECOND
from esmm_jax.serving import evaluation
from esmm_jax.serving.scored_parts import Part
from esmm_jax.training import parts
from esmm_jax.types import InputError, Ragged
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.serving.history import logs

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]
AS_OF = {'nightly': 'test', 'live': None}
NAMES = tuple(AS_OF)


def at(table, index):
  return table.take(pa.array(index))


def columns_of(predictor, rows):
  """The encoded columns of rows, those of the history too."""
  return predictor.encode(rows, 'rows')


def assert_columns(columns, other, index=None):
  """Two dicts of columns agree in every bit; `index`: rows of the first."""
  assert columns.keys() == other.keys()
  for name, values in columns.items():
    found = other[name]
    if isinstance(values, Ragged):
      every = np.arange(len(values)) if index is None else index
      lists = [values.values[values.offsets[i]:values.offsets[i + 1]]
               for i in every]
      assert np.array_equal(np.concatenate(lists or [[]]), found.values), name
      assert [len(part) for part in lists] == list(np.diff(found.offsets))
    else:
      values = values if index is None else values[index]
      assert np.array_equal(values.view(np.int8), found.view(np.int8)), name


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('ending, part_rows, batch_size', [
    ('parquet', 1 << 18, None), ('parquet', 70, None), ('csv', 1 << 18, None),
    ('parquet', 1 << 18, 37),
])
def test_the_test_split_in_files(
    runs, tmp_path, name, ending, part_rows, batch_size, capsys):
  """In several files, unordered, in parts and batches of several sizes."""
  run = runs[name]
  index = np.arange(len(run.rows))
  np.random.default_rng(1).shuffle(index)
  files = [at(run.rows, part) for part in np.array_split(index, 3)]
  predictor = run.predictor(batch_size=batch_size)
  scores = logs.scored(
      predictor, tmp_path, files, as_of=AS_OF[name], part_rows=part_rows,
      ending=ending)
  if batch_size:  # Another program, whose last bits may be others.
    for score, values in run.batch().items():
      np.testing.assert_allclose(scores[score], values[index], rtol=1e-5)
  else:
    logs.assert_bits(scores, run.batch(), index)
  line = f'{len(index)} rows up to then were looked up'
  assert line in capsys.readouterr().out


@pytest.mark.parametrize('name', NAMES)
def test_rows_do_not_depend_on_each_other(runs, name):
  run = runs[name]
  predictor = run.predictor()
  predictor.as_of = AS_OF[name]
  whole = columns_of(predictor, run.rows)
  order = np.random.default_rng(2).permutation(len(run.rows))
  assert_columns(whole, columns_of(predictor, at(run.rows, order)), order)
  request = run.rows['request'].to_numpy()
  for number in np.unique(request)[:12]:  # One request each.
    some = np.flatnonzero(request == number)
    assert_columns(whole, columns_of(predictor, at(run.rows, some)), some)
  logs.assert_bits(predictor.predict(run.rows), run.batch())


@pytest.mark.parametrize('name', NAMES)
def test_replay_is_predict_then_observe(runs, root, tmp_path, name, capsys):
  """A file of new rows, and the same rows one request after the other."""
  run = runs[name]
  predictor = run.predictor()
  new = later(run.rows)
  number = new['request'].to_numpy()
  batches = [np.flatnonzero(number == n) for n in np.unique(number)[::3]]
  batches.sort(key=lambda index: new['time'][index[0]].as_py())
  new = at(new, np.concatenate(batches))
  scores = logs.scored(predictor, tmp_path, [new])
  assert f'replayed, {len(new)} labelled rows' in capsys.readouterr().out
  low, served = 0, []
  for batch in batches:
    rows = new.slice(low, len(batch))
    served.append(predictor.predict(rows)['p_ctr'])
    assert predictor.observe(rows) == (len(rows), 0, 0)
    low += len(batch)
  assert np.array_equal(np.concatenate(served), scores['p_ctr'].to_numpy())
  # As it stood: nothing of the file was counted.
  scores = logs.scored(
      run.predictor(), tmp_path / 'store', [new], history='store')
  assert not np.array_equal(np.concatenate(served), scores['p_ctr'].to_numpy())
  assert 'no row of the input counts' in capsys.readouterr().out
  plain = run.predictor().predict(new)
  assert np.array_equal(plain['p_ctr'], scores['p_ctr'].to_numpy())
  unlabelled = new.drop_columns(['clicked'])
  scores = logs.scored(run.predictor(), tmp_path / 'auto', [unlabelled])
  assert np.array_equal(plain['p_ctr'], scores['p_ctr'].to_numpy())
  assert "has no column 'clicked'" in capsys.readouterr().out


def later(rows, days=1):
  """The rows, some days later."""
  time = rows['time'].to_numpy() + days * 86_400_000
  number = rows.column_names.index('time')
  return rows.set_column(number, 'time', pa.array(time))


def test_a_replay_needs_labels(runs, tmp_path):
  rows = runs['live'].rows.drop_columns(['bought'])
  with pytest.raises(InputError, match="no column 'bought', which a replay"):
    logs.scored(runs['live'].predictor(), tmp_path, [rows], history='replay')


def test_observed_rows_count_once(runs, capsys):
  predictor = runs['live'].predictor()
  new = later(runs['live'].rows)
  assert predictor.observe(new.slice(0, 100)) == (100, 0, 0)
  before = columns_of(predictor, later(new))
  assert predictor.observe(new.slice(50, 100)) == (50, 0, 50)
  assert 'columns: 50 rows are left out: they were observed before.' in (
      capsys.readouterr().err)
  assert predictor.observe(new.slice(0, 150).to_pylist()) == (0, 0, 150)
  assert predictor.observe(runs['live'].rows) == (0, len(new), 0)
  assert 'no newer than the log of the run' in capsys.readouterr().err
  after = columns_of(predictor, later(new))
  count = 'past_count_user+hour_1h_window_6h'
  assert not np.array_equal(before['past_ctr_user'], after['past_ctr_user'])
  assert count in after


@pytest.mark.parametrize('order', [1, -1])
def test_late_rows_are_those_in_time(runs, order):
  predictor, other = (runs['live'].predictor() for _ in range(2))
  new = later(runs['live'].rows)
  for low in range(0, 500, 50)[::order]:
    other.observe(new.slice(low, 50))
  predictor.observe(new)
  rows = later(new)
  assert_columns(columns_of(predictor, rows), columns_of(other, rows))


def test_labels_are_read_as_the_log_was(runs):
  """Comparisons, policies and unknown labels, of the run's config."""
  predictor = runs['live'].predictor()
  with predictor.config.unlocked():
    predictor.config.dataset.update(
        click='dwell>30', conversion_without_click='keep',
        unknown_conversion='zero')
  new = later(runs['live'].rows)
  click = new['clicked'].to_numpy()
  bought = [1 if k % 7 == 0 else int(c) if k % 3 else 0 if c else None
            for k, c in enumerate(click)]
  number = new.column_names.index('bought')
  new = new.set_column(number, 'bought', pa.array(bought)).append_column(
      'dwell', pa.array(np.where(click > 0, 40, 3)))
  begin = predictor.history.store.priors.sums.sum(axis=0)
  assert predictor.observe(new).added == len(new)
  sums = predictor.history.store.priors.sums.sum(axis=0) - begin
  known = np.array([b or 0 for b in bought])
  price = np.rint(new['price'].to_numpy() * 1024).sum()
  assert list(sums) == [len(new), click.sum(), (known * click).sum(), price]
  with pytest.raises(InputError, match="'dwell'"):
    predictor.observe(new.drop_columns(['dwell']))


def test_rows_that_the_rule_drops_are_not_observed(runs):
  predictor = runs['live'].predictor()
  with predictor.config.unlocked():
    predictor.config.dataset.conversion_without_click = 'drop'
  new = later(runs['live'].rows)
  bought = np.where(np.arange(len(new)) % 5 == 0, 1, new['bought'].to_numpy())
  number = new.column_names.index('bought')
  new = new.set_column(number, 'bought', pa.array(bought))
  dropped = ((bought == 1) & (new['clicked'].to_numpy() == 0)).sum()
  assert dropped and predictor.observe(new).added == len(new) - dropped


def test_saved_history(runs, tmp_path):
  run = runs['live']
  predictor = run.predictor()
  new = later(run.rows)
  predictor.observe(new)
  predictor.save_history(str(tmp_path / 'newer'))
  loaded = esmm_jax.load(run.folder, history=str(tmp_path / 'newer'))
  rows = later(new)
  assert_columns(columns_of(predictor, rows), columns_of(loaded, rows))
  assert loaded.observe(new) == (0, 0, len(new))
  since = int(rows['time'].to_numpy().min())
  loaded.save_history(str(tmp_path / 'small'), since=since)
  small = esmm_jax.load(run.folder, history=str(tmp_path / 'small'))
  assert_columns(columns_of(predictor, rows), columns_of(small, rows))
  assert small.history.store.nbytes < loaded.history.store.nbytes
  with pytest.raises(InputError, match='rows, row 0: a row asks for the history'
                     ' at .*the earliest time that this run can answer'):
    columns_of(small, run.rows)
  with pytest.raises(InputError, match='is of another run'):
    esmm_jax.load(runs['nightly'].folder, history=str(tmp_path / 'newer'))
  with pytest.raises(InputError, match='exists. Name another folder'):
    loaded.save_history(str(tmp_path / 'small'))


def test_rows_that_are_too_old_or_too_new(runs, capsys):
  run = runs['live']
  predictor = run.predictor()
  message = 'row 0: .*earliest time .* is 2022-04-19'
  with pytest.raises(InputError, match=message):
    predictor.predict(logs.log().slice(0, 5))
  new = later(run.rows, days=4)
  predictor.predict(new)
  predictor.predict(new)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith('warning: the history ends at 2022-04-20 05:')
  assert line.endswith(' days before these rows')


def test_as_of(runs):
  predictor = runs['nightly'].predictor()
  first = predictor.history.store.facts.firsts['test']
  for value in ('test', first // (SECOND // 1000), str(first // 10**6)):
    predictor.as_of = value
    expected = first if value != first // (SECOND // 1000) else None
    assert expected in (None, predictor.as_of)
  predictor.as_of = None
  assert predictor.as_of is None
  with pytest.raises(InputError, match="as_of is 'yesterday'.*there: test"):
    predictor.as_of = 'yesterday'


def test_a_changed_history_is_refused(runs, tmp_path):
  folder = tmp_path / 'run'
  shutil.copytree(runs['live'].folder, folder)
  held = folder / 'encoder' / 'history'
  for path in sorted(held.iterdir()):
    content = path.read_bytes()
    path.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    with pytest.raises(InputError) as error:
      esmm_jax.load(str(folder))
    assert '\n' not in str(error.value)
    path.write_bytes(content)
  esmm_jax.load(str(folder))
  shutil.rmtree(held)
  with pytest.raises(InputError, match='not the one that the run was trained'):
    esmm_jax.load(str(folder))


@pytest.mark.parametrize('name', NAMES)
def test_evaluation_of_the_test_split(runs, tmp_path, name):
  """The metrics of its files are those of the split; of segments too."""
  run = runs[name]
  predictor = run.predictor()
  path = str(tmp_path / 'rows.parquet')
  parquet.write_table(run.rows, path)
  files = row_files.find([path], dialect=dialect.DEFAULT)
  builder = parts.dataset(predictor.config.dataset, f'{run.root}/data')
  split = evaluation.evaluate_split(predictor, builder, 'test', by='hour')
  held = evaluation.evaluate_files(
      predictor, files, by='hour', as_of=AS_OF[name])
  predictor.as_of = AS_OF[name]
  rows = predictor.evaluate(run.rows, by='hour')
  for key, value in predictor.results.items():
    if key.startswith('test/') and ('auc' in key or 'logloss' in key):
      assert split[key[5:]] == value
  metrics = [k for k in split if 'auc' in k or 'logloss' in k]
  assert len([k for k in metrics if k.endswith('/ctcvr/gauc')]) == 3
  assert held['history_rows'] == 'replay' and 'history_rows' not in split
  assert ('history_as_of' in held) == (name == 'nightly')
  for k in metrics:  # GAUC is a sum over users in another order.
    rtol = 1e-12 if 'gauc' in k else 0
    for other in (held[k], rows[k]):
      np.testing.assert_allclose(other, split[k], rtol=rtol, err_msg=k)


def test_labels_that_are_not_known_yet(runs, tmp_path):
  rows = runs['live'].rows
  at_column = rows.column_names.index('bought')
  rows = rows.set_column(
      at_column, 'bought', pa.nulls(len(rows), pa.int8()))
  with pytest.raises(InputError, match="'bought' is null.*--history=store"):
    logs.scored(runs['live'].predictor(), tmp_path, [rows])
  logs.scored(runs['live'].predictor(), tmp_path, [rows], history='store')


def test_a_killed_job_resumes(runs, tmp_path, monkeypatch):
  """With the same bits; another history is another job."""
  run, finish, written = runs['live'], Part.finish, []

  def dies(part, folder, output):
    if len(written) == 3:
      raise KeyboardInterrupt
    written.append(part.name)
    return finish(part, folder, output)

  monkeypatch.setattr(Part, 'finish', dies)
  with pytest.raises(KeyboardInterrupt):
    logs.scored(run.predictor(), tmp_path, [run.rows], part_rows=90)
  monkeypatch.setattr(Part, 'finish', finish)
  with pytest.raises(InputError, match='parts of another job.*history'):
    logs.scored(
        run.predictor(), tmp_path, [run.rows], part_rows=90, history='store')
  scores = logs.scored(run.predictor(), tmp_path, [run.rows], part_rows=90)
  logs.assert_bits(scores, run.batch())


def test_a_run_without_history(finished):
  predictor = finished.predictor()
  for use in (
      lambda: predictor.observe({}),
      lambda: predictor.save_history('x'),
      lambda: setattr(predictor, 'as_of', 'test'),
      lambda: predictor.load_history('x'),
  ):
    with pytest.raises(InputError, match='the model has no history'):
      use()

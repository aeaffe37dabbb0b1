"""Rows, states and moments that a stranger gives."""

from concurrent import futures
import copy

import esmm_jax
from esmm_jax.data.history.spans import SECOND
from esmm_jax.data.history.state import store_files
from esmm_jax.data.history.state.store import Store
from esmm_jax.data.tabular.unseen import Counts
from esmm_jax.data.values.raw_values import Location
from esmm_jax.serving import labelled
from esmm_jax.serving.history import remembers
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

from tests.serving.history import logs
from tests.serving.history.test_predict import assert_columns, columns_of, later

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


def test_no_rows(runs):
  predictor, none = runs['live'].predictor(), runs['live'].rows.slice(0, 0)
  for rows in ([], none, none.to_pandas(), none.to_pylist()):
    assert predictor.observe(rows) == (0, 0, 0)
    assert predictor.predict(rows)['p_ctr'].shape == (0,)


def test_rows_of_a_call_that_agree_are_all_added(runs, monkeypatch):
  """Also in different pieces of a stream; those of another call are not."""
  new = later(runs['live'].rows).slice(0, 40)
  twice = pa.concat_tables([new, new])
  one, other = (runs['live'].predictor() for _ in range(2))
  assert one.observe(twice) == (80, 0, 0)
  monkeypatch.setattr(remembers, '_ROWS', 30)
  assert other.observe(twice.to_reader(10)) == (80, 0, 0)
  assert other.observe(twice.to_reader(10)) == (0, 0, 80)
  rows = later(new, 2)
  assert_columns(columns_of(one, rows), columns_of(other, rows))


def test_a_replay_of_rows_that_were_observed_in_part(runs, tmp_path, capsys):
  """Those that were not count, older than the newest one too."""
  new = later(runs['live'].rows)
  whole = logs.scored(runs['live'].predictor(), tmp_path / 'whole', [new])
  predictor = runs['live'].predictor()
  half = np.random.default_rng(4).permutation(len(new))[:200]
  predictor.observe(new.take(pa.array(half)))
  begin = predictor.history.store.fingerprint()
  capsys.readouterr()
  scores = logs.scored(predictor, tmp_path / 'half', [new])
  line = (f'{len(new) - 200} labelled rows that it had not count; 200 rows that'
          ' it had were looked up')
  assert line in capsys.readouterr().out
  logs.assert_bits(scores, {'p_ctr': whole['p_ctr'].to_numpy()})
  assert predictor.history.store.fingerprint() == begin


def test_rows_that_the_rule_drops_are_of_their_request(runs):
  """The first row of each request is dropped; the others ask at its time."""
  predictor = runs['live'].predictor()
  with predictor.config.unlocked():
    predictor.config.dataset.conversion_without_click = 'drop'
  rows = later(runs['live'].rows)
  time, request = (rows[n].to_numpy() for n in ('time', 'request'))
  rows = rows.take(pa.array(np.lexsort((time, request))))
  request = rows['request'].to_numpy()
  dropped = np.ones(len(rows), bool)
  dropped[2:] = request[2:] != request[:-2]  # All of its first time.
  columns = {n: rows[n].to_numpy() for n in ('clicked', 'bought')}
  columns['clicked'] = np.where(dropped, 0, columns['clicked'])
  columns['bought'] = np.where(dropped, 1, columns['clicked'] & 0)
  for name, values in columns.items():
    rows = rows.set_column(
        rows.column_names.index(name), name, pa.array(values))
  read = labelled.Reader(predictor).read(rows, Location('rows'), Counts())
  assert read.left_out == dropped.sum() > 50
  whole = columns_of(predictor, rows)
  assert_columns(whole, read.columns, np.flatnonzero(~dropped))


def test_threads_that_observe(runs):
  """No row is lost, and none counts twice."""
  predictor, other = (runs['live'].predictor() for _ in range(2))
  new = later(runs['live'].rows)
  pieces = [new.slice(low, 5) for low in range(0, len(new), 5)]
  with futures.ThreadPoolExecutor(8) as pool:
    added = sum(r.added for r in pool.map(predictor.observe, pieces * 2))
  assert added == len(new)
  other.observe(new)
  rows = later(new, 2)
  assert_columns(columns_of(predictor, rows), columns_of(other, rows))


def test_the_state_of_other_labels_is_refused(runs, tmp_path):
  """It agrees in all times, columns and specs."""
  predictor = runs['live'].predictor()
  store = predictor.history.store
  sums = store.priors.sums.copy()
  sums[0, 1] += 1
  other = Store(
      store.reading, store.events(), store.priors._replace(sums=sums),
      store.facts)
  store_files.save(other, str(tmp_path / 'other'))
  with pytest.raises(InputError, match='another run: other histories, or ano'):
    esmm_jax.load(runs['live'].folder, history=str(tmp_path / 'other'))
  predictor.observe(later(runs['live'].rows))
  predictor.save_history(str(tmp_path / 'own'), since='test')
  predictor.load_history(str(tmp_path / 'own'))
  predictor.observe(later(runs['live'].rows, 2))
  predictor.load_history(runs['live'].folder + '/encoder/history')


@pytest.mark.parametrize('value, message', [
    ('valid', 'which is .*the earliest time that this run can answer is'),
    ('1600000000000', 'which is 2020-09-13 .*the earliest time'),
    (1_600_000_000_000, 'which is 2020-09-13 .*the earliest time'),
    (True, 'the times of the log are numbers'),
    (float('nan'), 'the times of the log are numbers'),
    (None, None),
    (np.datetime64('2022-04-20'), 'the times of the log are numbers'),
    ([1], 'the times of the log are numbers'),
    ('', "as_of is ''; it must be.*Splits that may stand there: test"),
])
def test_a_present_that_is_none(runs, value, message):
  predictor = runs['nightly'].predictor()
  if message is None:
    predictor.as_of = value
    assert predictor.as_of is None
    return
  with pytest.raises(InputError, match=message) as error:
    predictor.as_of = value
  assert '\n' not in str(error.value)


def test_a_present_of_numpy(runs):
  predictor = runs['nightly'].predictor()
  predictor.as_of = 'test'
  first = predictor.as_of
  predictor.as_of = np.int64(first // (SECOND // 1000))
  assert predictor.as_of == first
  # Of dates that have no zone.
  history = copy.copy(predictor.history)
  history.store = copy.copy(history.store)
  clock = history.store.reading.clock._replace(kind='date', form='', zone='UTC')
  object.__setattr__(history.store, 'reading', copy.copy(history.reading))
  object.__setattr__(history.store.reading, 'clock', clock)
  moment = np.datetime64(first, 'ns')
  for value in (moment, moment.astype('datetime64[ms]').astype(object)):
    assert history.moment(value) // 10**6 == first // 10**6


def test_a_state_needs_a_name(runs):
  with pytest.raises(InputError, match='names no folder'):
    runs['live'].predictor().save_history('')

"""The mean of runs with a history: one history, for all members."""

import esmm_jax
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest
from scipy import special

from tests.serving.history import logs

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Two runs that differ in their seeds, and one with another delay."""
  root = str(tmp_path_factory.mktemp('histories'))
  return [
      logs.train(root, name, history, init_seed=seed)
      for name, history, seed in (
          ('a', 'user,user:delay=10m:last=3', 1),
          ('b', 'user,user:delay=10m:last=3', 2),
          ('other', 'user,user:delay=20m:last=3', 3))
  ]


@pytest.fixture
def mean(runs):
  return esmm_jax.load([run.folder for run in runs[:2]])


def assert_mean(got, every):
  for name in ('p_ctr', 'p_cvr'):
    logits = [special.logit(p[name].astype(np.float64)) for p in every]
    want = special.expit(np.mean(logits, axis=0))
    np.testing.assert_allclose(got[name], want, rtol=1e-5)


def test_the_test_split_in_files(runs, mean, tmp_path):
  """As the data set was prepared, to the bit."""
  run = runs[0]
  files = [run.rows.slice(0, 100), run.rows.slice(100)]
  scores = logs.scored(mean, tmp_path, files)
  batch = run.batch(mean)
  logs.assert_bits(scores, batch)
  assert_mean(batch, [one.batch() for one in runs[:2]])
  assert mean.history_protocol == run.predictor().history_protocol != ''


def test_rows_that_are_observed(runs, mean):
  """Once, for all members."""
  rows = runs[0].rows
  time = rows.column_names.index('time')
  later = rows.set_column(
      time, 'time', pa.array(rows['time'].to_numpy() + 86_400_000))
  after = rows.set_column(
      time, 'time', pa.array(rows['time'].to_numpy() + 2 * 86_400_000))
  before = mean.predict(after)
  alone = [run.predictor() for run in runs[:2]]
  for predictor in (mean, *alone):
    assert predictor.observe(later).added == len(rows)
  got = mean.predict(after)
  assert_mean(got, [predictor.predict(after) for predictor in alone])
  assert np.abs(got['p_ctr'] / before['p_ctr'] - 1).max() > 1e-3


def test_another_history(runs):
  """Its inputs have the same names or not; the delay is another one."""
  with pytest.raises(InputError, match='b and .*other cannot be averaged: their'
                     ' histories are live, delay 10m and live, delay 20m'):
    esmm_jax.load([run.folder for run in runs[1:]])

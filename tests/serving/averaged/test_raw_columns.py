"""The mean of runs on a log of one's own, whose encoder they share."""

import os

import esmm_jax
from esmm_jax.serving import exporting
from esmm_jax.training.loop import train_replicas
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest
from scipy import special

from tests.warm_start import days

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
  """Two replicas on one log, and a run on one whose users have other names."""
  root = str(tmp_path_factory.mktemp('raw'))
  files = days.write(root, 1)
  folders = [os.path.join(root, name) for name in ('a', 'b')]
  configs = [days.config(files, init_seed=k) for k in (1, 2)]
  train_replicas(
      configs, folders, os.path.join(root, 'data'),
      home=os.path.join(root, 'home'))
  log = days.day(1)
  users = [f'v{u[1:]}' for u in log['user'].to_pylist()]
  log = log.set_column(0, 'user', pa.array(users))
  folders.append(os.path.join(root, 'other'))
  esmm_jax.train_and_evaluate(
      days.config(''), folders[-1], os.path.join(root, 'data'), log=log)
  return folders


def test_rows_as_in_the_log(runs):
  """Encoded once; values that training never saw count for all members."""
  rows = days.day(2, 300)
  mean = esmm_jax.load(runs[:2])
  alone = [esmm_jax.load(run) for run in runs[:2]]
  got = mean.predict(rows)
  for name in ('p_ctr', 'p_cvr'):
    every = [special.logit(p.predict(rows)[name].astype(np.float64))
             for p in alone]
    want = special.expit(np.mean(every, axis=0))
    np.testing.assert_allclose(got[name], want, rtol=1e-5)
  assert mean.unseen(rows) == alone[0].unseen(rows)
  assert mean.unseen(rows)['user'].unseen > 0.3
  assert mean.unseen_in_log == alone[0].unseen_in_log


def test_labelled_rows(runs):
  rows = days.day(2, 300)
  mean = esmm_jax.load(runs[:2])
  result = mean.evaluate(rows, by='hour')
  scores = mean.predict(rows)
  want = esmm_jax.auc(
      special.logit(scores['p_ctr'].astype(np.float64)),
      rows['clicked'].to_numpy())
  assert result['ctr/auc'] == pytest.approx(want, abs=1e-6)
  assert result['rows'] == 300 and 'by/hour=1/ctr/auc' in result


def test_an_export_has_the_encoder(runs, tmp_path):
  mean = esmm_jax.load(runs[:2])
  exporting.export(mean, str(tmp_path / 'x'))
  with open(os.path.join(runs[0], 'encoder', 'encoder.json'), 'rb') as f:
    want = f.read()
  assert (tmp_path / 'x' / 'encoder' / 'encoder.json').read_bytes() == want
  call, params = exporting.load(str(tmp_path / 'x'))
  assert {'0.table', '1.table'} <= params.keys() and call is not None


def test_another_encoder_of_the_same_size(runs):
  """Its ids are other users: without a word the mean would be wrong."""
  one, other = (esmm_jax.load(run) for run in runs[1:])
  assert one.schema == other.schema
  with pytest.raises(InputError, match='b and .*other cannot be averaged: their'
                     r' encoders of raw values differ \(encoder_sha256 is'):
    esmm_jax.load(runs[1:])

"""Numbers that are not finite: noticed, skipped, written down."""

import functools
import json
import os

from esmm_jax.data.batching.batches import Batches
from esmm_jax.training import non_finite
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.settings import TrainingOptions
from esmm_jax.training.state import reset_sums
from esmm_jax.training.step import train_step
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy as toy_lib
from tests.training import test_end_to_end
from tests.training.test_end_to_end import metrics
from tests.training.test_feeding import beginning, make_hyper, make_plan
from tests.training.test_whole_runs import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')
data_dir = test_end_to_end.data_dir
INF, NAN = np.inf, np.nan


@pytest.mark.parametrize('value, where, expected', [
    (0.0, 'loss', [True, True]), (INF, 'loss', [True, False]),
    (NAN, 'net', [True, False]), (-INF, 'rows', [True, False]),
    (3e38, 'net', [True, True]),
])
def test_what_is_good(value, where, expected):
  arrays = {
      'loss': np.zeros(2), 'net': np.zeros((2, 3, 4)),
      'rows': np.zeros((5, 2, 3))}
  at = {'loss': 1, 'net': (1, 2, 3), 'rows': (4, 1, 0)}[where]
  arrays[where][at] = value
  loss, net, rows = (jnp.float32(a) for a in arrays.values())
  found = non_finite.good(loss, {'a': net, 'b': jnp.ones((2, 1))}, rows)
  assert found.tolist() == expected


def parts(state, r):
  """What must not change of a replica, as NumPy."""
  by_row = (state.table, state.table_opt)
  by_replica = (state.net, state.stats, state.net_opt)
  cut = lambda axis: lambda x: np.asarray(
      x if x.ndim <= axis else jnp.take(x, r, axis))
  return (
      jax.tree.map(cut(1), by_row), jax.tree.map(cut(0), by_replica),
      {k: float(v[r]) for k, v in state.sums.items()})


def assert_equal(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


@pytest.mark.slow
@pytest.mark.parametrize('dense', [
    False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize('num', [pytest.param(1, marks=pytest.mark.long), 2])
def test_a_step_is_skipped(toy, dense, num):
  """It changes nothing of its replica; the other is as it is without."""
  batches = Batches(
      toy.as_data_source('train'), toy_lib.SCHEMA, 16, compacted=not dense)
  plan = make_plan(batches, dense=dense, skip_ceiling=2)
  plan = plan._replace(model=plan.model.clone(dropout=0.0, norm='batch'))
  hyper = make_hyper(num)
  bad_weights = {
      k: w.at[0].set(INF) for k, w in hyper.loss_weights.items()}
  bad = hyper._replace(loss_weights=bad_weights)
  step = jax.jit(lambda *a: train_step(*a, plan=plan))

  def run(*steps):
    state = beginning(plan, batches, hyper)
    for k, values in steps:
      state = step(state, batches(k), values)
    return state

  before = run((0, hyper), (1, hyper))
  after = run((0, hyper), (1, hyper), (2, bad))
  assert_equal(parts(before, 0)[1][:2], parts(after, 0)[1][:2])
  assert_equal(parts(before, 0)[0][0], parts(after, 0)[0][0])
  assert after.skipped.tolist() == [[1] + [0] * (num - 1)] * 2
  assert (after.bad_step == -1).all() and after.step == 3
  if num == 1:
    assert_equal(parts(before, 0), parts(after, 0))
    gone_on = run((0, hyper), (1, hyper), (2, bad), (3, hyper))
    assert_equal(
        parts(gone_on, 0), parts(run((0, hyper), (1, hyper), (3, hyper)), 0))
  else:
    without = run((0, hyper), (1, hyper), (2, hyper))
    assert_equal(parts(after, 1), parts(without, 1))
  after = run((0, bad), (1, hyper), (2, bad), (3, bad), (4, bad))
  assert after.bad_step.tolist() == [3] + [-1] * (num - 1)
  assert after.skipped[0, 0] == 4
  assert reset_sums(after).skipped.tolist()[1] == [0] * num
  assert np.isfinite(after.table).all()


@pytest.fixture(scope='module')
def stepping(toy):
  """Ceiling -> the batches, a beginning and a compiled step."""
  batches = Batches(toy.as_data_source('train'), toy_lib.SCHEMA, 16)

  @functools.cache
  def make(ceiling):
    plan = make_plan(batches, skip_ceiling=ceiling)
    state = beginning(plan, batches, make_hyper(1))
    return batches, state, jax.jit(lambda *a: train_step(*a, plan=plan))

  return make


@pytest.mark.slow
@pytest.mark.parametrize('ceiling, bad_steps, expected', [
    (0, [0], 0), (0, [0, 1], 0), (0, [0, 2], 0), (0, [1, 2], 1),
    (1, [0], -1), (1, [0, 1], 1), (1, [0, 1, 2], 1), (1, [0, 2], 2),
    (2, [0, 1], -1), (2, [0, 1, 2], 2),
])
def test_the_step_that_is_named(stepping, ceiling, bad_steps, expected):
  """The first that is too many, also where that is the very first."""
  batches, state, step = stepping(ceiling)
  hyper = make_hyper(1)
  bad_weights = {
      k: w.at[0].set(INF) for k, w in hyper.loss_weights.items()}
  bad = hyper._replace(loss_weights=bad_weights)
  for k in range(3):
    state = step(state, batches(k), bad if k in bad_steps else hyper)
  assert state.bad_step.tolist() == [expected]


@pytest.mark.parametrize('policy, ceiling, words', [
    ('ignore', 1, ["non_finite is 'ignore'", 'skip, stop']),
    ('skip', 0, ['non_finite_ceiling is 0', 'in [1, ']),
])
def test_policies_that_cannot_be(policy, ceiling, words):
  with pytest.raises(InputError) as e:
    TrainingOptions(non_finite=policy, non_finite_ceiling=ceiling)
  assert all(w in str(e.value) for w in words), str(e.value)


def test_stop_skips_none():
  assert TrainingOptions(non_finite='stop').skip_ceiling == 0
  options = TrainingOptions(non_finite='skip', non_finite_ceiling=7)
  assert options.skip_ceiling == 7


# Whole runs.


def short(**more):
  return smoke('esmm', **{
      'dataset.num_train': 5000, 'log_every': 3, 'evals_per_epoch': 2,
      'num_epochs': 1, **more})


@pytest.fixture
def poisoned(monkeypatch):
  """The batches of steps 4 and 7, from 0, have a click that is no number."""
  iterate = Batches.iterate

  def poisoning(self, start, stop):
    for step, batch in enumerate(iterate(self, start, stop), start):
      if step in (4, 7):
        batch.labels['click'][3] = NAN
      yield batch

  monkeypatch.setattr(Batches, 'iterate', poisoning)


@pytest.mark.slow
def test_skipped_and_counted(poisoned, data_dir, tmp_path):
  results = train_and_evaluate(
      short(non_finite='skip'), str(tmp_path), data_dir)
  assert results['skipped_steps'] == 2 and results['steps'] == 10
  lines = [m for m in metrics(tmp_path) if 'train/loss' in m]
  assert [m.get('train/skipped') for m in lines] == [None, 1, None, 1, None]
  assert all(0 < m['train/loss'] < 2 for m in lines)
  assert not os.path.exists(tmp_path / 'non_finite')


@pytest.mark.slow
def test_stopped_and_written_down(poisoned, data_dir, tmp_path):
  with pytest.raises(FloatingPointError) as e:
    train_and_evaluate(short(), str(tmp_path), data_dir)
  folder = tmp_path / 'non_finite'
  for part in ('not finite at step 5 ', 'looked at step 5', str(folder)):
    assert part in str(e.value)
  report = json.loads((folder / 'report.json').read_text('utf-8'))
  assert report['step'] == 4 and report['losses']['train/loss'] == 'nan'
  assert report['batch'] == {'label.click': 1}
  assert report['parameters']['table'] > 0
  assert 'net/tower_ctr/out/kernel' in report['parameters']
  batch, state = (np.load(folder / f'{n}.npz') for n in ('batch', 'state'))
  assert np.flatnonzero(np.isnan(batch['label.click'])).tolist() == [3]
  assert batch['slots'].shape[0] == 512
  rows = state['table_rows']
  assert state['table'].shape == (len(rows), 4)
  assert rows.tolist() == batch['rows'][: len(rows)].tolist()


@pytest.mark.slow
def test_too_many_are_skipped(data_dir, tmp_path):
  config = short(non_finite='skip', non_finite_ceiling=3, learning_rate=1e38)
  with pytest.raises(FloatingPointError, match='for the [4-9]th time'):
    train_and_evaluate(config, str(tmp_path), data_dir)
  report = json.loads((tmp_path / 'non_finite' / 'report.json').read_text())
  assert report['parameters'] == {}

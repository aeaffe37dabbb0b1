"""The state that a run begins with: rows, moments and network of another."""

import contextlib
import json
import os

from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.parallel import axes
from esmm_jax.training.step import train_step
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import read_schema
import jax
import numpy as np
import pytest

from tests.warm_start import days

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
OPTIMIZERS = {
    'adam': {'weight_decay': 1e-3},
    'adam in bfloat16': {'table_moments': 'bfloat16'},
    'adagrad': {'optimizer__name': 'adagrad'},
    'momentum': {'optimizer__name': 'sgd', 'optimizer__momentum': 0.9},
    'sgd': {'optimizer__name': 'sgd'},
    'row-wise': {'table_optimizer': 'rowwise_adagrad'},
}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('days'))


@pytest.fixture(scope='module')
def first(root):
  """A run on the first day, with batch norm."""
  return days.train(root, 'first', 1, model__norm='batch')[0]


def saved(run, part='state'):
  """Path -> array of a run's last checkpoint."""
  with contextlib.closing(Checkpoints(run, read_only=True)) as checkpoints:
    tree = checkpoints.restore_as_saved()[part]
  return leaves(tree)


def leaves(tree):
  return {
      axes.names(path): np.asarray(leaf)
      for path, leaf in jax.tree.leaves_with_path(tree)
      if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)}


def ids(run):
  """Table -> values, and the first row of each in the one table."""
  encoder = Encoder.load(os.path.join(run, 'encoder'))
  schema = read_schema(run)
  return {t: (encoder.values(t), schema.offsets[t]) for t in schema.offsets}


def matching_rows(old, new):
  """Rows of the old and the new table with one meaning; rows of new values."""
  pairs, fresh = [], []
  for table, (values, offset) in ids(new).items():
    before, start = ids(old)[table]
    place = {value: k for k, value in enumerate(before)}
    pairs += [(start, offset), (start + 1, offset + 1)]
    for k, value in enumerate(values, 2):
      if value in place:
        pairs.append((start + 2 + place[value], offset + k))
      else:
        fresh.append(offset + k)
  return np.array(pairs).T, np.array(fresh)


@pytest.mark.parametrize('name', [
    pytest.param(n, marks=[] if n == 'adam' else pytest.mark.long)
    for n in OPTIMIZERS])
def test_rows_and_moments(root, name):
  """Bit by bit: old values have their rows, new ones those of a fresh run."""
  changes = OPTIMIZERS[name]
  base, _ = days.train(root, f'base {name}', 1, **changes)
  tree = days.config(days.write(root, 2), seed=5, **changes)
  warm = tree.copy_and_resolve_references()
  warm.init_from = base
  with days.before_the_first_step(root, f'warm {name}', warm) as (_, state):
    found = leaves(state)
  # A fresh run with the same vocabulary.
  tree.dataset.vocabulary_of = base
  with days.before_the_first_step(root, f'fresh {name}', tree) as (_, state):
    fresh = leaves(state)
  (old, new), others = matching_rows(base, os.path.join(root, f'warm {name}-0'))
  before = saved(base)
  assert len(old) > 60 and len(others) > 30
  taken = 0
  for path, leaf in found.items():
    if path[0] in ('table', 'table_opt') and leaf.ndim > 1:
      np.testing.assert_array_equal(leaf[new], before[path][old])
      np.testing.assert_array_equal(leaf[others], fresh[path][others])
      assert (leaf[new] != fresh[path][new]).any()
      taken += 1
    elif path[0] in ('net', 'stats', 'net_opt', 'table_opt'):
      np.testing.assert_array_equal(leaf, before[path])
      taken += 1
    else:
      np.testing.assert_array_equal(leaf, fresh[path])
  assert taken > 4 and found[('step',)] == 0
  if 'adam' in name:
    (count,) = (v for p, v in found.items() if p[0] == 'net_opt'
                and p[-1] == 'count')
    assert count == before[('step',)] > 0


def test_values_that_do_not_come_again_stay(root, first):
  tree = days.config(
      days.write(root, 2), init_from=first, model__norm='batch')
  with days.before_the_first_step(root, 'stay', tree) as (job, state):
    report = job.program.builder.report
    stats = leaves(state.stats)
  before, after = ids(first), ids(os.path.join(root, 'stay-0'))
  for table in before:
    old, new = before[table][0], after[table][0]
    assert new[:len(old)] == old and report['new_values'][table] == (
        len(new) - len(old))
  assert report['new_values']['user'] == days.USERS // 2
  assert report['new_values']['hour'] == 0
  today = set(days.day(2)['user'].to_pylist())
  assert set(before['user'][0]) - today
  scalings = [
      Encoder.load(os.path.join(run, 'encoder')).scaling('price')
      for run in (first, os.path.join(root, 'stay-0'))]
  assert scalings[0] == scalings[1]
  assert stats and all(
      (leaf == saved(first)[('stats', *path)]).all()
      for path, leaf in stats.items())


@pytest.mark.long
def test_the_selected_parameters_and_the_last_moments(root):
  """Of a run whose best evaluation is not its last."""
  base, results = days.train(
      root, 'selecting', 1, selection__metric='valid/ctr/logloss',
      selection__mode='max', num_epochs=2)
  assert results['selected_step'] < results['steps']
  tree = days.config(days.write(root, 1), init_from=base)
  with days.before_the_first_step(root, 'selected', tree) as (_, state):
    table, moments = np.asarray(state.table), leaves(state.table_opt)
  np.testing.assert_array_equal(table, saved(base, 'best')[('table',)])
  assert (table != saved(base)[('table',)]).any()
  assert moments[('count',)] == results['steps']


def test_replicas_and_new_seeds(root, first):
  """Side by side: old rows are alike, new ones are of each one's seed."""
  trees = [
      days.config(days.write(root, 2), init_from=first, init_seed=k,
                  model__norm='batch')
      for k in range(2)]
  with days.before_the_first_step(root, 'pair', *trees) as (_, state):
    table = np.asarray(state.table)
    moments = leaves(state.net_opt)
  (old, new), others = matching_rows(first, os.path.join(root, 'pair-0'))
  before = saved(first)
  for r in range(2):
    np.testing.assert_array_equal(table[new, r], before[('table',)][old, 0])
    for path, leaf in moments.items():
      np.testing.assert_array_equal(
          leaf[r] if leaf.ndim else leaf,
          before[('net_opt', *path)][0] if leaf.ndim else (
              before[('net_opt', *path)]))
  assert (table[others, 0] != table[others, 1]).all()


@pytest.mark.long
def test_a_run_equals_steps_from_the_state_of_the_other(root, first):
  """Its last parameters are those of `train_step` from there, bit by bit."""
  change = dict(model__norm='batch', num_epochs=2, seed=3)
  tree = days.config(days.write(root, 1), init_from=first, **change)
  with days.before_the_first_step(root, 'stepped', tree) as (job, state):
    program = job.program
    step = jax.jit(
        lambda state, batch: train_step(
            state, batch, program.hyper, plan=program.plan))
    for k in range(program.total_steps):
      state = step(state, program.batches(k))
    expected = leaves(state.params)
  workdir, results = days.train(root, 'warm', 1, init_from=first, **change)
  assert results['steps'] == program.total_steps
  found = saved(workdir)
  for path, leaf in expected.items():
    np.testing.assert_array_equal(leaf, found[path])


@pytest.mark.long
def test_one_epoch_after_another_is_two(root):
  """Up to the order of sums, where a batch is the whole log.

  An epoch's order is of the seed and of its number in the run; so smaller
  batches are others than those of one longer run.
  """
  options = dict(batch_size=2048, learning_rate=0.05)
  two, _ = days.train(root, 'two', 1, num_epochs=2, **options)
  one, _ = days.train(root, 'one', 1, **options)
  again, _ = days.train(root, 'again', 1, init_from=one, **options)
  found, expected, begin = saved(again), saved(two), saved(one)
  for path in expected:
    if path[0] in ('table', 'net', 'net_opt', 'table_opt'):
      np.testing.assert_allclose(
          found[path], expected[path], rtol=1e-4, atol=1e-6)
  assert np.abs(expected[('table',)] - begin[('table',)]).max() > 0.01
  assert found[('step',)] == 1


@pytest.mark.long
def test_weight_decay_may_differ(root):
  """Which puts the moments of the network one level deeper."""
  base, _ = days.train(root, 'base without', 1)
  tree = days.config(days.write(root, 1), init_from=base, weight_decay=1e-3)
  with days.before_the_first_step(root, 'with', tree) as (_, state):
    found = leaves(state.net_opt)
  before = saved(base)
  assert found
  for path, leaf in found.items():
    np.testing.assert_array_equal(leaf, before[('net_opt', *path[1:])])


@pytest.mark.long
def test_a_damaged_checkpoint_is_refused(root, tmp_path):
  base, _ = days.train(root, 'to damage', 1)
  steps = (n for n in os.listdir(f'{base}/checkpoints') if n.isdigit())
  step = max(steps, key=int)
  path = f'{base}/checkpoints/{step}/tables'
  (file,) = (n for n in os.listdir(path) if n.startswith('state.table-'))
  with open(f'{path}/{file}', 'r+b') as f:
    f.write(b'damage')
  with pytest.raises(InputError, match='init_from=.*is damaged.*Train that'):
    days.train(root, 'on damage', 1, init_from=base)
  assert not os.path.exists(os.path.join(root, 'on damage', 'config.json'))


@pytest.mark.long
def test_what_config_json_says(root, first):
  workdir, _ = days.train(
      root, 'recorded', 2, init_from=first, model__norm='batch')
  with open(os.path.join(workdir, 'config.json'), encoding='utf-8') as f:
    record = json.load(f)
  assert record['init_from'] == record['dataset']['vocabulary_of'] == first
  assert len(record['init_sha256']) == 16
  assert len(record['dataset']['vocabulary_sha256']) == 16
  with open(os.path.join(first, 'config.json'), encoding='utf-8') as f:
    before = json.load(f)
  assert 'init_from' not in before and 'init_sha256' not in before
  assert not {'vocabulary_of', 'vocabulary_sha256'} & before['dataset'].keys()

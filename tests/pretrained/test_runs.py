"""Runs with vectors: trained, resumed, predicted, exported, continued."""

import os
import shutil
import subprocess
import sys

import esmm_jax
from esmm_jax.embeddings.vectors import name_of
from esmm_jax.serving import exporting, model_inputs
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import read_schema
import numpy as np
from pyarrow import parquet
import pytest

from tests import ROOT
from tests.pretrained import on_devices, samples
from tests.warm_start import days
from tests.warm_start.test_takeover import ids, saved

pytestmark = [pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
NUMBERS = ('examples_per_second', 'train_seconds')


def numbers(results):
  return {k: v for k, v in results.items() if k not in NUMBERS}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('vectors'))


@pytest.fixture(scope='module')
def run(root):
  """Two epochs; the vectors' files are moved away afterwards."""
  folder = os.path.join(root, 'files')
  os.makedirs(folder)
  result = days.train(
      root, 'first', 1, model__vectors=samples.key(folder), num_epochs=2,
      evals_per_epoch=1, model__norm='batch', run__save_predictions=True)
  os.rename(folder, f'{folder}-away')
  return result


def dense(workdir, table, numbers_of, prefix=''):
  """The vectors by id, from the values of the run's encoder."""
  values = ids(workdir)[table][0]
  whole = np.zeros((len(values) + 2, numbers_of.shape[1]), np.float32)
  for k, value in enumerate(values, 2):
    number = int(value.removeprefix(prefix))
    if number < len(numbers_of):
      whole[k] = numbers_of[number]
  return whole


def frozen(workdir):
  """Column -> the vectors that the last checkpoint has."""
  schema, state = read_schema(workdir), saved(workdir)
  return {
      name: state[('stats', 'vectors', name_of(schema, name))][0]
      for name in ('item', 'tags')}


def test_frozen_ones_are_those_of_the_file_after_training(run):
  workdir, results = run
  items = samples.numbers(60, 6, 0)[: samples.ITEMS]
  tags = samples.numbers(samples.TAGS, 5, 1)
  after = frozen(workdir)
  np.testing.assert_array_equal(after['item'], dense(workdir, 'item', items))
  np.testing.assert_array_equal(
      after['tags'], dense(workdir, 'tags', tags, 't'))
  assert not after['item'][:2].any() and after['item'].any(axis=1).sum() == 20
  moments = [p for p in saved(workdir) if p[0].endswith('_opt')]
  assert moments and not [p for p in moments if 'vectors' in p]
  # Of two projections to 4 numbers, which the towers read as 8 inputs more.
  state = saved(workdir)
  trained = [v.size for p, v in state.items() if p[0] in ('table', 'net')]
  assert ('stats', 'tower_ctr', 'hidden', 'norm_0', 'mean') in state, [
      p for p in state if p[0] == 'stats']
  assert results['num_params'] == sum(trained)
  assert state[('net', 'input', 'vectors_1_item', 'kernel')].shape == (1, 6, 4)
  assert state[('net', 'input', 'vectors_3_tags', 'kernel')].shape == (1, 5, 4)


def test_others_are_the_first_rows_of_the_table(root):
  """Of both embeddings; the first-order weights behind them are as drawn."""
  changes = dict(model__share_embeddings=False, model__interaction='deepfm')
  tree = days.config(
      days.write(root, 1), model__vectors=samples.key(root), **changes)
  plain = days.config(days.write(root, 1), **changes)
  with days.before_the_first_step(root, 'rows', tree) as (job, state):
    table = np.asarray(state.table)[:, 0]
    offset = job.program.schema.offsets['user']
  with days.before_the_first_step(root, 'plain', plain) as (_, state):
    before = np.asarray(state.table)[:, 0]
  users = samples.numbers(samples.USERS, 4, 2)
  whole = dense(os.path.join(root, 'rows-0'), 'user', users, 'u')
  has = whole.any(axis=1)
  assert has.sum() == samples.USERS
  expected = before.copy()
  assert expected.shape[1] == 10
  expected[offset : offset + len(whole), :4][has] = whole[has]
  expected[offset : offset + len(whole), 5:9][has] = whole[has]
  np.testing.assert_array_equal(table, expected)


def test_predicted_and_exported_without_the_files(run, tmp_path):
  workdir, results = run
  predictor = esmm_jax.load(workdir)
  log = days.day(1)
  scores = predictor.predict(log)
  builder_rows = parquet.read_table(
      os.path.join(workdir, 'predictions', 'test.parquet'))
  assert builder_rows.num_rows < log.num_rows
  # The scores that the run itself wrote are among them, to the bit.
  wrote = np.sort(builder_rows['p_ctcvr'].to_numpy())
  near = np.sort(scores['p_ctcvr'])
  at = np.clip(np.searchsorted(near, wrote), 1, len(near) - 1)
  gap = np.minimum(abs(near[at] - wrote), abs(near[at - 1] - wrote))
  assert gap.max() < 1e-6
  evaluation = predictor.evaluate(log)
  assert evaluation['rows'] == days.ROWS and evaluation['ctr/auc'] > 0.6
  folder = str(tmp_path / 'exported')
  exporting.export(predictor, folder)
  call, params = exporting.load(folder)
  items = frozen(workdir)['item']
  np.testing.assert_array_equal(params['stats.vectors.1_item'][0], items)
  encoded = predictor.encode(log, 'log')
  features = model_inputs.features(predictor.schema, encoded)
  exported = call(params, features)
  for name in ('p_ctr', 'p_cvr', 'p_ctcvr'):
    np.testing.assert_allclose(exported[name], scores[name], atol=1e-6)
  # The vectors count: without them the scores are others.
  zero = {k: v * 0 if 'vectors' in k else v for k, v in params.items()}
  assert np.abs(call(zero, features)['p_ctr'] - scores['p_ctr']).max() > 1e-3
  assert results['selected_step'] == results['steps']


def test_resumed_to_the_bit_without_the_files(root, run):
  """From the checkpoint of the first epoch; a changed file is refused."""
  workdir, results = run
  before = saved(workdir)
  steps = sorted(
      int(n) for n in os.listdir(f'{workdir}/checkpoints') if n.isdigit())
  assert len(steps) == 2
  again = os.path.join(root, 'again')
  shutil.copytree(workdir, again)
  shutil.rmtree(f'{again}/checkpoints/{steps[1]}')
  os.remove(f'{again}/checkpoints/{steps[1]}.seal.json')
  os.remove(f'{again}/results.json')
  folder = os.path.join(root, 'files')
  changes = dict(
      model__vectors=read_config(workdir), num_epochs=2, evals_per_epoch=1,
      model__norm='batch', run__save_predictions=True)
  _, resumed = days.train(root, 'again', 1, **changes)
  assert numbers(resumed) == numbers(results)
  after = saved(again)
  assert after.keys() == before.keys()
  for path, leaf in before.items():
    np.testing.assert_array_equal(leaf, after[path])
  shutil.copytree(f'{folder}-away', folder)
  try:
    assert days.train(root, 'again', 1, **changes)[1] == resumed
    os.replace(samples.items(root, seed=9), samples.items(folder))
    with pytest.raises(InputError, match='model.vectors_sha256 is .* here and'):
      days.train(root, 'again', 1, **changes)
  finally:
    shutil.rmtree(folder)
  with pytest.raises(InputError, match='items-20-0.parquet cannot be read: No'):
    days.train(root, 'new', 1, **changes)


def read_config(workdir):
  return esmm_jax.load(workdir).config.model.vectors


@pytest.fixture(scope='module')
def pair(root):
  return on_devices.pair(root, 'pair')


def test_side_by_side_as_alone(root, pair):
  """Replicas have the same vectors, and each its own network."""
  workdirs, results = pair
  tree = days.config(
      days.write(root, 1), init_seed=1, model__vectors=samples.key(root))
  alone = os.path.join(root, 'alone')
  result = train_and_evaluate(tree, alone, os.path.join(root, 'data'))
  assert results[1]['test/ctcvr/auc'] == pytest.approx(
      result['test/ctcvr/auc'], abs=1e-3)
  require_near(workdirs[1], alone)


def require_near(one, two):
  one, two = saved(one), saved(two)
  assert one.keys() == two.keys()
  for path, leaf in one.items():
    if 'vectors' in path:
      np.testing.assert_array_equal(leaf, two[path])
    else:
      np.testing.assert_allclose(leaf, two[path], atol=1e-4, err_msg=str(path))


@pytest.mark.parametrize('sizes', [(2, 1, 2)])
def test_several_devices_as_one(root, pair, sizes):
  """Of replicas, of examples and of the tables' rows."""
  name = f'mesh {sizes}'
  done = subprocess.run(
      [sys.executable, '-m', 'tests.pretrained.on_devices', root, name,
       *map(str, sizes)],
      cwd=ROOT, text=True, capture_output=True, timeout=300,
      env=dict(os.environ, JAX_PLATFORMS='cpu',
               XLA_FLAGS='--xla_force_host_platform_device_count=4'))
  assert done.returncode == 0, done.stdout + done.stderr
  for k in range(2):
    require_near(pair[0][k], os.path.join(root, f'{name} {k}'))


def test_goes_on_with_vectors_of_new_values(root):
  """The day after, the file has more items; those of old ones must be same."""
  base, _ = days.train(
      root, 'day 1', 1, model__vectors=f'item:file={samples.items(root)}')
  more = f'item:file={samples.items(root, rows=30)}'
  tree = days.config(
      days.write(root, 2), init_from=base, model__vectors=more)
  with days.before_the_first_step(root, 'day 2', tree) as (_, state):
    now = np.asarray(state.stats['vectors']['1_item'][0])
    net = np.asarray(state.net['input']['vectors_1_item']['kernel'])
  np.testing.assert_array_equal(
      net, saved(base)[('net', 'input', 'vectors_1_item', 'kernel')])
  workdir = os.path.join(root, 'day 2-0')
  np.testing.assert_array_equal(
      now, dense(workdir, 'item', samples.numbers(60, 6, 0)[:30]))
  other = f'item:file={samples.items(root, seed=9)}'
  tree = days.config(
      days.write(root, 2), init_from=base, model__vectors=other)
  with pytest.raises(InputError, match="column 'item' has another vector here"):
    train_and_evaluate(
        tree, os.path.join(root, 'other'), os.path.join(root, 'data'))


@pytest.mark.parametrize('key, message', [
    ('itm:file={items}', "model.vectors: itm is no column of ids .*'item'"),
    ('price:file={items}', 'price is no column of ids that the model reads'),
    ('item:file={tags}', "item: no value of .*tags.npz is a value of the col"),
    ('item:file={items}:frozen=False',
     'have 6 numbers and model.embed_dim is 4'),
])
def test_refused_before_anything_is_written(root, key, message):
  files = {'items': samples.items(root), 'tags': samples.tags(root)}
  with pytest.raises(InputError, match=message) as e:
    days.train(root, 'refused', 1, model__vectors=key.format(**files))
  assert '\n' not in str(e.value)
  assert not os.path.exists(os.path.join(root, 'refused', 'config.json'))


def test_few_rows_have_a_vector(root, capsys):
  path = samples.items(root, rows=3)
  days.train(root, 'few', 1, model__vectors=f'item:file={path}')
  told = ' '.join(capsys.readouterr())
  items = days.day(1)['item'].to_numpy()
  assert '3 of 24 values and' in told
  shown = float(told.partition('24 values and ')[2].partition('%')[0])
  assert shown == pytest.approx(100 * np.mean(items < 3), abs=3)
  assert f'{shown}% of the training rows have a vector of {path}' in told

"""Several devices give what one gives, and only rows of tables travel.

`python -m pytest -s -m long tests/parallel/test_devices.py` prints the
differences.
"""

import json

from esmm_jax.parallel.layout import Layout, MeshOptions
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
import jax
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.parallel import meshes

# Replicas, examples, rows.
MESHES = ((2, 2, 2), (1, 8, 1), (1, 1, 8), (1, 2, 4), (2, 1, 4))


def parameters(folder):
  """Arrays of a run's last checkpoint, by path."""
  checkpoints = Checkpoints(str(folder))
  arrays = checkpoints.restore_as_saved()
  checkpoints.close()
  return {
      jax.tree_util.keystr(path): numbers(leaf)
      for path, leaf in jax.tree.leaves_with_path(arrays)}


def numbers(leaf):
  if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
    leaf = jax.random.key_data(leaf)
  leaf = np.asarray(leaf)
  if leaf.dtype == np.uint16:  # The bits of bfloat16.
    return (leaf.astype(np.uint32) << 16).view(np.float32)
  return leaf


def largest_difference(a, b):
  a, b = parameters(a), parameters(b)
  assert a.keys() == b.keys()
  assert {k: v.shape for k, v in a.items()} == {
      k: v.shape for k, v in b.items()}
  differences = {
      k: np.abs(a[k].astype(np.float64) - b[k].astype(np.float64)).max()
      for k in a if a[k].size}
  return max(differences.values())


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def alone(tmp_path_factory, data_dir):
  """Two runs side by side on one device."""
  folder = tmp_path_factory.mktemp('alone')
  result = meshes.call('train', (1, 1, 1), folder, data_dir, devices=1)
  return folder, result


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [
    (2, 2, 2),
    pytest.param((1, 1, 8), marks=pytest.mark.long),
    pytest.param((1, 8, 1), marks=pytest.mark.long),
])
def test_rows_travel_and_tables_do_not(sizes):
  result = meshes.call('rows', *sizes, devices=8)
  replicas, _, rows = sizes
  assert result['parts'] == 1
  assert result['part'] == [
      -(-meshes.NUM_ROWS // rows), meshes.NUM_REPLICAS // replicas,
      meshes.WIDTH]
  # No more numbers than those of the rows that are taken.
  most = result['touched'] * meshes.NUM_REPLICAS // replicas * meshes.WIDTH
  assert all(size <= most for size, _ in result['moves']), result
  assert any(kind == 'all-reduce' for _, kind in result['moves']) == (rows > 1)
  assert most < result['table'] / 20


@pytest.mark.slow
@pytest.mark.parametrize('sizes', [
    (1, 2, 4), pytest.param((1, 8, 1), marks=pytest.mark.long)])
def test_a_gradient_for_cuda_adds_up_on_each_device(sizes):
  """24,000 places of 500 rows: sums travel, values and places do not."""
  result = meshes.call('sums', *sizes, devices=8)
  assert result['error'] <= 4e-5  # 1e-6 of 48 values.
  whole = 500 * meshes.NUM_REPLICAS * meshes.WIDTH
  assert result['moves'] == [[whole, 'all-reduce']]


@pytest.mark.long
@pytest.mark.parametrize('sizes', [(2, 2, 2), (1, 2, 2)])
def test_devices_hold_their_shares(sizes):
  """25 steps of Adam, over three epochs: as with batches of the host."""
  lines = meshes.call(
      'alike', *sizes, devices=np.prod(sizes), module='feeds',
      JAX_DISABLE_MOST_OPTIMIZATIONS='1')
  for data, line in lines.items():
    print(f'mesh {sizes}, {data}: largest difference {line["worst"]:.2e}')
    assert line['worst'] <= 1e-5 and line['moved'] > 0.05
    assert line['hashes'][0] == line['hashes'][1]
    assert line['traces'] == [1, 1] and line['stays']
    parts = sizes[1] * sizes[2]
    share = -(-line['rows'] // parts)
    assert line['shares'] == [share] * np.prod(sizes)


@pytest.mark.long
def test_what_is_exchanged_is_said():
  """The compiled programs' sums over devices, but for some numbers a term."""
  lines = meshes.call('exchanged', 1, 2, 4, devices=8, module='feeds')
  for line in lines.values():
    (streamed, resident), (step, batch) = line['said'], line['moves']
    print(line)
    more = sum(step.values()) - streamed['gradients'] - streamed['rows']
    assert set(step) == {'all-reduce'} and 0 <= more <= 100
    assert streamed['rows'] > 0
    assert not streamed['examples'] and not streamed['lists']
    assert sum(batch.values()) == resident['examples'] > 0


@pytest.mark.long
@pytest.mark.parametrize('sizes', MESHES)
def test_eight_devices_are_as_one(sizes, alone, tmp_path, data_dir):
  """40 steps of SGD in float32, with two replicas."""
  folder, expected = alone
  result = meshes.call('train', sizes, tmp_path, data_dir, devices=8)
  for k in range(2):
    worst = largest_difference(folder / str(k), tmp_path / str(k))
    print(f'mesh {sizes}, replica {k}: largest difference {worst:.2e}')
    assert worst <= 1e-6
    assert result[k]['traces'] == 1
    assert result[k]['steps'] == expected[k]['steps'] == 40
    assert result[k]['num_params'] == expected[k]['num_params']
    assert result[k]['test/ctcvr/logloss'] == pytest.approx(
        expected[k]['test/ctcvr/logloss'], rel=1e-5)


@pytest.mark.long
@pytest.mark.parametrize('devices', [1, 2, 8])
def test_a_run_of_eight_devices_is_used(devices, tmp_path, data_dir):
  """Scored and calibrated by a process that sees so many devices or fewer."""
  few = ('dataset.num_train=4000', 'evals_per_epoch=1')
  meshes.call('train', (1, 2, 4), tmp_path, data_dir, *few, devices=8)
  with_eight = meshes.call(
      'use', tmp_path / '0', data_dir, devices=devices)
  assert with_eight['devices'] == devices
  with open(tmp_path / '0' / 'results.json', encoding='utf-8') as f:
    results = json.load(f)
  assert with_eight['logloss'] == pytest.approx(
      results['test/ctcvr/logloss'], rel=1e-6)


@pytest.mark.long
@pytest.mark.parametrize('most, settings', [
    (1e-5, ("optimizer.name='adam'", 'learning_rate=1e-3')),
    (1e-5, ("table_optimizer='adagrad'",)),
    (1e-5, ("table_optimizer='rowwise_adagrad'", 'embedding_l2=0.1')),
    # A moment may be rounded the other way, by one bit of its last place.
    (1e-2, ("table_optimizer='adam'", "table_moments='bfloat16'")),
])
def test_every_optimizer_of_the_table(most, settings, tmp_path, data_dir):
  """Three steps: later Adam makes steps of the signs of noise."""
  few = (*settings, 'dataset.num_train=1500', 'evals_per_epoch=1')
  one, eight = tmp_path / 'one', tmp_path / 'eight'
  meshes.call('train', (1, 1, 1), one, data_dir, *few, devices=1)
  meshes.call('train', (1, 2, 4), eight, data_dir, *few, devices=8)
  worst = largest_difference(one / '0', eight / '0')
  print(f'{settings}: largest difference {worst:.2e}')
  assert worst <= most


@pytest.mark.long
@pytest.mark.parametrize('settings', [
    ("balancing.name='gradvac'",),
    ("balancing.name='famo'",),
    ("balancing.name='pcgrad'", "balancing.gram='representation'"),
])
def test_balanced_runs(settings, tmp_path, data_dir):
  """The products of gradients are of all devices' examples and rows."""
  few = (*settings, 'dataset.num_train=1500', 'evals_per_epoch=1')
  one, eight = tmp_path / 'one', tmp_path / 'eight'
  meshes.call('train', (1, 1, 1), one, data_dir, *few, devices=1)
  meshes.call('train', (1, 2, 4), eight, data_dir, *few, devices=8)
  worst = largest_difference(one / '0', eight / '0')
  print(f'{settings}: largest difference {worst:.2e}')
  assert worst <= 1e-5


@pytest.mark.long
@pytest.mark.parametrize('before, after', [
    ((1, 2, 4), (1, 1, 1)), ((1, 1, 1), (2, 2, 2)), ((1, 8, 1), (1, 1, 8))])
def test_another_mesh_resumes(before, after, alone, tmp_path, data_dir):
  """A run that stops at its first checkpoint, and the rest elsewhere."""
  folder, _ = alone
  stopped = meshes.call(
      'train', before, tmp_path, data_dir, 'stop', devices=np.prod(before))
  assert stopped == 'stopped'
  meshes.call('train', after, tmp_path, data_dir, devices=np.prod(after))
  for k in range(2):
    worst = largest_difference(folder / str(k), tmp_path / str(k))
    print(f'{before}, then {after}: largest difference {worst:.2e}')
    assert worst <= 1e-6


WEIGHTED = """
from configs import common, esmm


def get_config(variant=''):
  config = esmm.get_config('smoke')
  config.dataset = common.tabular()
  config.dataset.update(files={log!r}, id='user,item', weight='w')
  return config
"""


@pytest.mark.long
def test_weights_of_rows(tmp_path, data_dir):
  """Half of the rows weigh 3: four devices divide by the sum of all weights."""
  rng = np.random.default_rng(0)
  click = rng.random(8000) < 0.4
  log = {'user': rng.integers(0, 300, 8000), 'item': rng.integers(0, 40, 8000),
         'click': click.astype(int), 'conversion': (
             click & (rng.random(8000) < 0.3)).astype(int),
         'w': np.where(rng.random(8000) < 0.5, 3.0, 0.25)}
  parquet.write_table(pa.table(log), tmp_path / 'log.parquet')
  config = tmp_path / 'weighted.py'
  config.write_text(WEIGHTED.format(log=str(tmp_path / 'log.parquet')))
  one, four = tmp_path / 'one', tmp_path / 'four'
  spec = f'config={config}'
  meshes.call('train', (1, 1, 1), one, data_dir, spec, devices=1)
  result = meshes.call('train', (1, 2, 2), four, data_dir, spec, devices=4)
  worst = largest_difference(one / '0', four / '0')
  print(f'weights: largest difference {worst:.2e}')
  assert worst <= 1e-6 and result[0]['traces'] == 1


@pytest.mark.parametrize('options, words', [
    ({'replicas': 1, 'data': 3, 'rows': 1}, 'mesh.data=3 .* 3 devices'),
    ({'replicas': 1, 'data': 0, 'rows': 2}, 'there are 1. Their product'),
])
def test_a_mesh_of_other_devices(options, words):
  with pytest.raises(InputError, match=words):
    Layout(MeshOptions(**options), jax.devices()[:1])


def test_what_cannot_be_shared():
  layout = Layout(None, jax.devices()[:1])
  assert layout.padded(7) == 7 and layout.everywhere is None
  layout.num_parts, layout.num_replicas = 4, 2
  layout.check_batch_size(8, 'batch_size')
  with pytest.raises(InputError, match='eval_batch_size is 6; .* by the 4'):
    layout.check_batch_size(6, 'eval_batch_size')
  layout.check_replicas(4)
  with pytest.raises(InputError, match='mesh.replicas is 2; .* side by side'):
    layout.check_replicas(3)

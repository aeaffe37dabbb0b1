"""The simulated log through raw files of Ali-CCP and back."""

import os

from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.data.ali_ccp.writer import RANGES
from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import Simulator
from esmm_jax.data.simulator.process import LogProcess
from esmm_jax.data.simulator.raw import PROFILE, TRUTH, write_raw_files
from esmm_jax.types import InputError
import numpy as np
import pytest

pytestmark = pytest.mark.slow

DIALS = dict(num_train=20_000, num_valid=2_000, num_test=4_000)
ROWS = {'train': 22_000, 'test': 4_000}


@pytest.fixture(scope='module')
def config():
  return simulator_config('tiny', **DIALS)


@pytest.fixture(scope='module')
def raw(config, tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('raw'))
  done = []
  write_raw_files(config, folder, done.append)
  assert sum(done) == 26_000
  return folder


@pytest.fixture(scope='module')
def ali_ccp(raw, tmp_path_factory):
  data_dir = str(tmp_path_factory.mktemp('data'))
  return AliCcp.from_options(
      data_dir=data_dir, raw_dir=raw, min_count=1, weight_dtype='float32'
  ).prepare()


@pytest.mark.parametrize('raw_split', ['train', 'test'])
def test_labels_and_ids_come_back(config, ali_ccp, raw_split):
  """Row by row what the simulator has, though read from text."""
  splits = ('train', 'valid') if raw_split == 'train' else ('test',)
  process = LogProcess(config)
  low = 0 if raw_split == 'train' else ROWS['train']
  shown, outcomes = process.simulate(0)
  world = process.world
  seen = []
  vocabulary = {
      f.name: ali_ccp.vocabulary(f.name) for f in ali_ccp.schema.fields
  }

  def number(field, ids):
    """The simulator's numbers; -1 missing, -2 not seen in training."""
    kept = vocabulary[field] - RANGES[field][0]
    lookup = np.concatenate([[-1, -2], kept])
    return lookup[ids]

  def same(found, expected, field):
    unseen = found == -2
    assert unseen.sum() == 0 or raw_split == 'test' or split == 'valid', field
    np.testing.assert_array_equal(found[~unseen], expected[~unseen], field)
    assert unseen.mean() < 0.3, field

  for split in splits:
    source = ali_ccp.as_data_source(split)
    columns = source.joined(0, len(source))
    row = columns['sample_id'] - 1 + low
    seen.append(row)
    click = outcomes.click[row]
    np.testing.assert_array_equal(columns['click'], click)
    np.testing.assert_array_equal(
        columns['conversion'], click * outcomes.conversion_if_clicked[row]
    )
    user, item = shown.user[row], shown.item[row]
    same(number('101', columns['101']), user, '101')
    for name, field in PROFILE.items():
      same(number(field, columns[field]), world.profile[name][user], field)
    for field, values in (
        ('205', item),
        ('206', world.category[item]),
        ('207', world.shop[item]),
        ('216', world.brand[item]),
        ('301', shown.position[row]),
    ):
      same(number(field, columns[field]), values, field)
    met = shown.seen_count[row] > 0
    same(
        number('508', columns['508']),
        np.where(met, world.category[item], -1),
        '508',
    )
    np.testing.assert_allclose(
        columns['508.weight'], shown.seen_count[row] * met, atol=6e-6
    )
    categories, weights, lengths = world.history_table(8)
    history = columns['109_14']
    np.testing.assert_array_equal(np.diff(history.offsets), lengths[user])
    kept = np.arange(8) < lengths[user][:, None]
    np.testing.assert_allclose(history.weights, weights[user][kept], atol=6e-6)
    same(
        number('109_14', history.values), categories[user][kept], '109_14'
    )
  row = np.sort(np.concatenate(seen))
  np.testing.assert_array_equal(row, np.arange(low, low + ROWS[raw_split]))


def test_the_truth_stands_beside(config, raw):
  builder = Simulator(config=config)
  for split, low in (('train', 0), ('test', 22_000)):
    expected = builder.columns(low, low + ROWS[split])
    for name in TRUTH:
      found = np.load(os.path.join(raw, f'truth_{split}', f'{name}.npy'))
      np.testing.assert_array_equal(found, expected[name])
  with pytest.raises(InputError, match='_train.csv already exists'):
    write_raw_files(config, raw)


@pytest.mark.parametrize('name', [
    'sample_skeleton_train.csv', 'common_features_train.csv',
    'sample_skeleton_test.csv', 'common_features_test.csv', 'truth_train',
    'truth_test'])
def test_published_files_are_not_written_over(config, tmp_path, name):
  (tmp_path / name).write_text('mine')
  with pytest.raises(InputError, match=f'{name} already exists'):
    write_raw_files(config, str(tmp_path))
  assert [p.name for p in tmp_path.iterdir()] == [name]
  assert (tmp_path / name).read_text() == 'mine'


def test_what_does_not_fit_is_refused(tmp_path):
  with pytest.raises(InputError, match='stages is 3'):
    write_raw_files(simulator_config('cart'), str(tmp_path))
  many = simulator_config('tiny', users=500_000)
  with pytest.raises(InputError, match='500000 values of field 101'):
    write_raw_files(many, str(tmp_path))
  assert not os.listdir(tmp_path)


@pytest.mark.parametrize('rows', [0, ROWS['train'] - 1, ROWS['train'] + 1])
def test_a_fault_in_the_middle(config, raw, rows, tmp_path):
  """In the file of either split; the next try has the same bytes."""
  folder = str(tmp_path / 'raw')

  def fail(num, done=[0]):
    done[0] += num
    if done[0] > rows:
      raise OSError('the disk is full')

  with pytest.raises(OSError, match='the disk is full'):
    write_raw_files(config, folder, fail)
  assert not [n for n in os.listdir(folder) if not n.endswith('.csv')]
  write_raw_files(config, folder)
  names = [n for n in sorted(os.listdir(raw)) if n.endswith('.csv')]
  for name in names:
    with open(os.path.join(raw, name), 'rb') as a:
      with open(os.path.join(folder, name), 'rb') as b:
        assert a.read() == b.read()

"""What was written is looked for before it counts as sound."""

import json
import os
import shutil

from esmm_jax.workdir import read_back
from esmm_jax.workdir.checkpoint import Checkpoints
import jax
import jax.numpy as jnp
import pytest

SMALL = {
    'step': jnp.int32(3),
    'key': jax.random.key(1),
    'net.kernel': jnp.ones((3, 2)),
    'rough': jnp.ones(7, jnp.bfloat16),
}
LARGE = {'table': jnp.ones((20, 30))}
POSITION = {'runs': [{'best': float('nan'), 'step': 3}]}


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  folder = tmp_path_factory.mktemp('run')
  checkpoints = Checkpoints(str(folder), num_rows=17)
  tree = {'net': {'kernel': SMALL['net.kernel']}, **LARGE}
  tree |= {name: SMALL[name] for name in ('step', 'key', 'rough')}
  checkpoints.save(5, tree, POSITION)
  checkpoints.close()
  return folder / 'checkpoints' / '5'


def test_all_is_there(whole):
  read_back.require(str(whole), SMALL, LARGE, POSITION, 17)


def without(path):
  return lambda folder: os.remove(folder / path)


def halved(path):
  return lambda folder: os.truncate(
      folder / path, (folder / path).stat().st_size // 2)


def without_database(folder):
  for path in folder.glob('arrays/**/d/*'):
    path.unlink()


HARMS = {
    'no list of arrays': (without('arrays/_METADATA'), '_METADATA'),
    'not merged, as orbax leaves it in a folder [1]': (
        without('arrays/manifest.ocdbt'), 'has no manifest.ocdbt'),
    'no arrays': (without_database, 'Error'),
    'no index of tables': (without('tables/index.json'), 'index.json'),
    'half a table': (halved('tables/table-0-0.bin'), '1020 bytes, not 2040'),
    'no table': (without('tables/table-0-0.bin'), 'table-0-0.bin'),
    'no position': (without('position/metadata'), 'position'),
}


@pytest.mark.parametrize('name', HARMS)
def test_a_part_that_is_missing(name, whole, tmp_path):
  harm, words = HARMS[name]
  folder = tmp_path / '5'
  shutil.copytree(whole, folder)
  harm(folder)
  with pytest.raises((ValueError, OSError), match=words):
    read_back.require(str(folder), SMALL, LARGE, POSITION, 17)


@pytest.mark.parametrize('small, large, position, words', [
    ({'more': jnp.ones(2)}, {}, {}, 'has no array more'),
    ({'step': jnp.ones(2)}, {}, {}, r'step has \[\], not \(2,\)'),
    ({}, {'table': jnp.ones((20, 31))}, {}, r'has the tables .*\(17, 31\)'),
    ({}, {'more': jnp.ones((20, 30))}, {}, 'has the tables'),
    ({}, {}, {'runs': []}, 'metadata is not what was written'),
])
def test_another_one_was_to_be_written(whole, small, large, position, words):
  with pytest.raises(ValueError, match=words):
    read_back.require(
        str(whole), SMALL | small, LARGE | large, POSITION | position, 17)


def test_a_part_of_an_array(whole, tmp_path):
  """An array in parts, of which the list of keys lacks one."""
  folder = tmp_path / '5'
  shutil.copytree(whole, folder)
  import tensorstore

  store = tensorstore.KvStore.open({
      'driver': 'ocdbt', 'base': f'file://{folder}/arrays/'}).result()
  keys = [k.decode() for k in store.list().result()]
  assert json.loads(store.read('net.kernel/.zarray').result().value)
  (part,) = (k for k in keys if k.startswith('net.kernel/') and 'z' not in k)
  store.write(part, None).result()
  with pytest.raises(ValueError, match='net.kernel has 0 of 1 parts'):
    read_back.require(str(folder), SMALL, LARGE, POSITION, 17)

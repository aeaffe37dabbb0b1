"""Sharded arrays in files: any shards, any parts, the same numbers."""

import json
import os

from esmm_jax.embeddings import files as table_files
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
from hypothesis import given, HealthCheck, settings, strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytestmark = pytest.mark.slow

HERE = jax.sharding.SingleDeviceSharding(jax.devices()[0])
DTYPES = ('float32', 'bfloat16', 'uint16', 'int32')


def array(dtype, shape=(7, 2, 3)):
  numbers = np.arange(np.prod(shape)).reshape(shape) % 251
  return jnp.asarray(numbers, dtype)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('part', [1, 100, 1 << 26])
def test_what_is_written_is_read(tmp_path, dtype, part):
  """In parts of a row, of some rows and of all."""
  a = array(dtype)
  table_files.write(
      str(tmp_path), {'a.b': a, 'one': array(dtype, (5,))}, part_bytes=part)
  saved = table_files.saved(str(tmp_path))
  assert list(saved) == ['a.b', 'one']
  assert saved['a.b'].shape == (7, 2, 3) and saved['a.b'].dtype == a.dtype
  got = table_files.read(
      str(tmp_path), saved['a.b'], HERE, part_bytes=part)
  assert got.dtype == a.dtype and got.sharding == HERE
  assert np.array_equal(got, a)
  one = table_files.read(str(tmp_path), saved['one'], HERE, part_bytes=part)
  assert np.asarray(one, np.float32).tolist() == [0, 1, 2, 3, 4]


def test_the_files_as_they_are(tmp_path):
  table_files.write(str(tmp_path), {'t': array('float32', (2, 1, 2))})
  assert sorted(os.listdir(tmp_path)) == ['index.json', 't-0-0-0.bin']
  with open(tmp_path / 'index.json', encoding='utf-8') as f:
    assert json.load(f) == {
        't': {
            'shape': [2, 1, 2],
            'dtype': 'float32',
            'shards': {'t-0-0-0.bin': [[0, 2], [0, 1], [0, 2]]},
        }
    }
  raw = np.fromfile(tmp_path / 't-0-0-0.bin', np.float32)
  assert raw.tolist() == [0, 1, 2, 3]


def cuts(draw, size):
  """Boundaries that divide 0 to size."""
  if size == 1:
    return [0, 1]
  inner = draw(st.sets(st.integers(1, size - 1), max_size=3))
  return [0, *sorted(inner), size]


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_region_of_any_shards(tmp_path, data):
  """Shards that other devices wrote, cut along any axis."""
  shape = tuple(data.draw(st.integers(1, n)) for n in (9, 3, 4))
  whole = np.asarray(array('float32', shape))
  shards = {}
  bounds = [cuts(data.draw, n) for n in shape]
  for row in zip(bounds[0], bounds[0][1:]):
    for replica in zip(bounds[1], bounds[1][1:]):
      for column in zip(bounds[2], bounds[2][1:]):
        region = (row, replica, column)
        name = f't-{row[0]}-{replica[0]}-{column[0]}.bin'
        whole[tuple(slice(*r) for r in region)].tofile(tmp_path / name)
        shards[name] = region
  entry = table_files.Saved(shape, np.dtype(np.float32), shards)
  assert np.array_equal(table_files.read(str(tmp_path), entry, HERE), whole)
  region = []
  for n in shape:
    first = data.draw(st.integers(0, n - 1))
    region.append((first, data.draw(st.integers(first + 1, n))))
  out = np.full([b - a for a, b in region], np.nan, np.float32)
  table_files.read_region(str(tmp_path), entry, tuple(region), out)
  assert np.array_equal(out, whole[tuple(slice(*r) for r in region)])


# In a checkpoint.


def tree(step, rows=4):
  return {
      'state': {
          'table': jnp.full((rows, 1, 2), float(step)),
          'table_opt': (jnp.int32(step), {'mu': jnp.full((rows, 1, 2), 0.5)}),
          'net': {'w': jnp.full((1, 3), 2.0)},
          'keys': jax.vmap(jax.random.key)(jnp.arange(2)),
      },
      'best': {},
  }


def test_tables_lie_in_files_and_the_rest_does_not(tmp_path):
  checkpoints = Checkpoints(str(tmp_path))
  checkpoints.save(3, tree(3), {'at': 3})
  folder = tmp_path / 'checkpoints' / '3' / 'tables'
  assert set(os.listdir(folder)) >= {
      'index.json', 'state.table-0-0-0.bin', 'state.table_opt.1.mu-0-0-0.bin'}
  got, position = checkpoints.restore(tree(0))
  assert position == {'at': 3}
  assert jax.tree.structure(got) == jax.tree.structure(tree(3))
  for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(tree(3)), strict=True):
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    assert a.dtype == b.dtype and np.array_equal(a, b)
  saved = checkpoints.restore_as_saved()['state']
  assert saved['table'].shape == (4, 1, 2) and int(saved['table_opt']['0']) == 3
  assert np.array_equal(saved['table_opt']['1']['mu'], np.full((4, 1, 2), 0.5))
  checkpoints.close()


def test_shapes_are_enough_to_restore(tmp_path):
  """A resumed run initialises no state first."""
  checkpoints = Checkpoints(str(tmp_path))
  checkpoints.save(3, tree(3), {})
  like = jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=HERE),
      jax.eval_shape(lambda: tree(0)))
  got, _ = checkpoints.restore(like)
  assert np.array_equal(got['state']['table'], np.full((4, 1, 2), 3.0))
  checkpoints.close()


@pytest.mark.parametrize('rows', [3, 5])
def test_a_table_of_another_size_is_refused(tmp_path, rows):
  checkpoints = Checkpoints(str(tmp_path))
  checkpoints.save(3, tree(3), {})
  with pytest.raises(InputError, match='does not fit this run') as e:
    checkpoints.restore(tree(0, rows))
  assert f'({rows}, 1, 2)' in str(e.value) and '(4, 1, 2)' in str(e.value)
  checkpoints.close()

"""The axes of what training carries: declared once, for every attribute."""

import dataclasses

from esmm_jax.parallel import axes
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.state import replica, TrainState
from esmm_jax.workdir.checkpoint import Checkpoints
import jax
from jax.sharding import PartitionSpec
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training.test_step import ADAM, make_plan, SCHEMA, start

V, R = SCHEMA.num_rows, 2


@pytest.fixture(scope='module')
def state():
  return start(make_plan(ADAM, model={'norm': 'batch'}), seeds=range(R))


def test_every_attribute_is_declared():
  assert [f.name for f in dataclasses.fields(TrainState)] == list(
      axes.ATTRIBUTES)


def test_the_axes_are_those_that_a_state_has(state):
  """Of every leaf: the size of its replica axis, and what is not divided."""
  for path, leaf in jax.tree.leaves_with_path(state):
    found = axes.axes_of(path, leaf)
    name = axes.names(path)[0]
    if leaf.ndim == 0:
      assert found == axes.SHARED, path
      continue
    assert found == axes.ATTRIBUTES[name], path
    assert leaf.shape[found.replica] == R, path
    assert (found == axes.BY_ROW) == (leaf.shape[:2] == (V, R)), path


@pytest.mark.parametrize('r', [0, 1])
def test_one_replica_of_a_state(state, r):
  part = replica(state, r)
  for (path, whole), cut in zip(
      jax.tree.leaves_with_path(state), jax.tree.leaves(part), strict=True):
    if jax.dtypes.issubdtype(whole.dtype, jax.dtypes.prng_key):
      whole, cut = jax.random.key_data(whole), jax.random.key_data(cut)
    name = axes.names(path)[0]
    if not whole.ndim:
      expected = whole
    elif name in ('table', 'table_opt', 'skipped'):
      expected = whole[:, r : r + 1]
    else:
      expected = whole[r : r + 1]
    assert np.array_equal(cut, expected), path
  params = replica(state.params, r)
  assert np.array_equal(params['table'], part.table)
  assert jax.tree.all(jax.tree.map(np.array_equal, params['net'], part.net))


def with_a_layer_called_table():
  """A checkpoint's tree; the layer has more rows than the tables."""
  layer = {'table': {'kernel': jnp.arange(150.0).reshape(50, 3)}}
  return {
      'state': {
          'table': jnp.ones((8, 1, 2)),
          'net': layer,
          'net_opt': ({'mu': layer}, jnp.int32(3)),
          'table_opt': ({'mu': jnp.ones((8, 1, 2))},),
      },
      'best': {'table': jnp.ones((8, 1, 2)), 'net': layer},
  }


def test_a_layer_called_table_is_of_the_network_in_a_checkpoint(tmp_path):
  """The tables have 7 rows and one more for the mesh, which is not written."""
  tree = with_a_layer_called_table()
  checkpoints = Checkpoints(str(tmp_path), num_rows=7)
  checkpoints.save(1, tree, {})
  restored, _ = checkpoints.restore(tree)
  checkpoints.close()
  for path, leaf in jax.tree.leaves_with_path(tree):
    got = restored
    for part in path:
      got = got[part.key if hasattr(part, 'key') else part.idx]
    if leaf.shape == (8, 1, 2):
      got, leaf = got[:7], leaf[:7]
    assert np.array_equal(got, leaf), path
  tables = tmp_path / 'checkpoints' / '1' / 'tables'
  assert {p.name.split('-')[0] for p in tables.glob('*.bin')} == {
      'state.table', 'state.table_opt.0.mu', 'best.table'}


def test_a_layer_called_table_is_of_the_network_on_a_mesh():
  tree = with_a_layer_called_table()
  specs = jax.tree.map(lambda s: s.spec, Layout().shardings(tree))
  by_replica = PartitionSpec('replica')
  by_row = PartitionSpec('rows', 'replica')
  layer = {'table': {'kernel': by_replica}}
  assert specs['state']['net'] == layer and specs['best']['net'] == layer
  assert specs['state']['net_opt'] == ({'mu': layer}, PartitionSpec())
  assert specs['state']['table'] == specs['best']['table'] == by_row
  assert specs['state']['table_opt'] == ({'mu': by_row},)

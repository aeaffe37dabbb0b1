"""Optimizers of large tables against their formulas in float64."""

import types

from configs import esmm
from esmm_jax.optim import lazy, network, tables
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.optim.tables import lazily_in_bfloat16, rounded, rowwise_adagrad
from esmm_jax.training import memory
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

V, R, D = 9, 2, 6
SETTINGS = OptimizerOptions(
    name='adam', b1=0.9, b2=0.999, eps=1e-8, initial_accumulator=0.1,
    momentum=0.0)
ROWS = np.array([1, 4, 7, 9, 10], np.int32)  # The last two are padding.


def gradients(steps, seed=0):
  rng = np.random.default_rng(seed)
  grads = rng.standard_normal((steps, len(ROWS), R, D)).astype(np.float32)
  grads[:, 3:] = 0
  return grads


@pytest.mark.parametrize('num_tables', [1, 2, 3])
def test_rowwise_adagrad(num_tables):
  tx = rowwise_adagrad(SETTINGS, num_tables)
  table = jnp.zeros((V, R, D))
  state = tx.init(table)
  assert state.shape == (V, R, num_tables) and state.dtype == np.float32
  G = np.full((V, R, num_tables), 0.1)
  for g in gradients(4):
    directions, state = tx.update(g, state, table[:5], ROWS, V)
    parts = g.astype(np.float64).reshape(5, R, num_tables, -1)
    G[ROWS[:3]] += (parts[:3] ** 2).mean(-1)
    want = parts[:3] / (np.sqrt(G[ROWS[:3]]) + 1e-8)[..., None]
    np.testing.assert_allclose(
        directions[:3], want.reshape(3, R, D), rtol=1e-6)
    np.testing.assert_allclose(state, G, rtol=1e-6)
  untouched = np.setdiff1d(np.arange(V), ROWS)
  assert (np.asarray(state)[untouched] == np.float32(0.1)).all()


def test_rowwise_adagrad_on_all_rows_is_the_same():
  lazy, dense = (rowwise_adagrad(SETTINGS, 2, d) for d in (False, True))
  table, every = jnp.zeros((V, R, D)), np.arange(V, dtype=np.int32)
  a, b = lazy.init(table), dense.init(table)
  for g in np.random.default_rng(1).standard_normal((3, V, R, D), np.float32):
    x, a = lazy.update(g, a, table, every, V)
    y, b = dense.update(g, b, table, every, V)
    np.testing.assert_array_equal(x, y)
  np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize('make', [
    lambda: rowwise_adagrad(SETTINGS, 2),
    lambda: lazily_in_bfloat16(network.optimizer(SETTINGS)),
    lambda: lazy.lazily(network.optimizer(SETTINGS)),
])
def test_a_replica_that_is_not_good_keeps_its_state(make):
  tx, table = make(), jnp.zeros((V, R, D))
  first, g, bad = gradients(3)
  bad[:, 0] = np.nan
  before = tx.update(first, tx.init(table), table[:5], ROWS, V)[1]
  good = jnp.array([False, True])
  _, after = tx.update(bad, before, table[:5], ROWS, V, good)
  _, without = tx.update(bad, before, table[:5], ROWS, V)
  for a, b, c in zip(*map(jax.tree.leaves, (after, before, without))):
    if a.ndim:
      np.testing.assert_array_equal(a[:, 0], b[:, 0])
      np.testing.assert_array_equal(a[:, 1], c[:, 1])
  del g


def numbers(bits):
  """float64 [...] of a bfloat16's bits, which are a float32's upper half."""
  return (np.asarray(bits, np.uint32) << 16).view(np.float32).astype(np.float64)


def test_adam_with_moments_in_bfloat16():
  """A bfloat16 has eight bits: moments are within a 128th."""
  tx = lazily_in_bfloat16(network.optimizer(SETTINGS))
  table = jnp.zeros((V, R, D))
  state = tx.init(table)
  sizes = {
      x.dtype.name for x in jax.tree.leaves(state.inner) if x.shape[:1] == (V,)}
  assert sizes == {'uint16'}  # The bits of a bfloat16.
  mu, nu = np.zeros((3, R, D)), np.zeros((3, R, D))
  for t, g in enumerate(gradients(30), 1):
    directions, state = tx.update(g, state, table[:5], ROWS, V)
    g = g[:3].astype(np.float64)
    mu, nu = 0.9 * mu + 0.1 * g, 0.999 * nu + 0.001 * g**2
    want = mu / (1 - 0.9**t) / (np.sqrt(nu / (1 - 0.999**t)) + 1e-8)
    # Errors add up over the ten steps that the first moment remembers.
    np.testing.assert_allclose(directions[:3], want, atol=0.04)
    moment = numbers(state.inner.nu)[ROWS[:3]]
    np.testing.assert_allclose(moment, nu, rtol=0.06)
  assert not numbers(state.inner.nu)[[0, 2, 8]].any()


def test_a_replica_rounds_its_moments_as_it_does_alone():
  tx = lazily_in_bfloat16(network.optimizer(SETTINGS))
  table = jnp.zeros((V, R, D))

  def train(replicas):
    part = table[:, replicas]
    state = tx.init(part)
    for g in gradients(3):
      directions, state = tx.update(g[:, replicas], state, part[:5], ROWS, V)
    return directions, state.inner.mu, state.inner.nu

  together = train(slice(None))
  for r in range(R):
    alone = train(slice(r, r + 1))
    for a, b in zip(together, alone, strict=True):
      np.testing.assert_array_equal(a[:, r], b[:, 0])


def test_rounding_is_right_in_the_mean():
  x = jnp.float32([1.0, 1.001, -3.14159, 1e-30, 0.0, 65504.0])
  many = jax.vmap(lambda k: rounded(x, k))(
      jax.random.split(jax.random.key(0), 20_000))
  assert many.dtype == jnp.uint16
  many = numbers(many)
  mean = many.mean(0)
  # Neighbours are a 128th apart: the mean's error is a 20,000th of x at most.
  np.testing.assert_allclose(mean, np.asarray(x, np.float64), rtol=1.5e-4)
  for k, value in enumerate(np.asarray(x)):
    low, high = float(many[:, k].min()), float(many[:, k].max())
    assert low <= value <= high
    assert len(set(many[:, k].tolist())) <= 2
  assert (many[:, 0] == 1).all() and (many[:, 4] == 0).all()


def test_why_the_nearest_would_not_do():
  """The second moment of a gradient that has become ten times as large."""
  nu = nearest = exact = 1.0
  key = jax.random.key(1)
  nu = jnp.ones(256)
  nearest = jnp.ones(256)
  for step in range(1000):
    exact = 0.999 * exact + 0.001 * 100
    nu = jax.lax.bitcast_convert_type(
        rounded(0.999 * nu + 0.1, jax.random.fold_in(key, step)),
        jnp.bfloat16).astype(jnp.float32)
    nearest = (0.999 * nearest.astype(jnp.float32) + 0.1).astype(jnp.bfloat16)
  assert exact == pytest.approx(63.6, abs=0.1)
  assert float(nu.mean()) == pytest.approx(exact, rel=0.02)
  assert float(nearest.astype(jnp.float32).mean()) < 0.6 * exact


# Names.


def settings(**changes):
  config = esmm.get_config()
  config.update_from_flattened_dict(changes)
  return Settings.read(config)


def make(num_tables, **changes):
  options = settings(**changes)
  return tables.table_optimizer(
      options.table, options.optimizer, num_tables)


def request(num_rows, replicas, capacity, **changes):
  options = settings(**changes)
  return memory.Request(
      num_rows, 1, replicas, capacity, options.model.embed_dim, options.table,
      options.optimizer, options.run.mesh, options.selection.keeps)


@pytest.mark.parametrize('changes, words', [
    ({'table_optimizer': 'adamw'}, ["'adamw'", 'rowwise_adagrad']),
    ({'table_moments': 'float16'}, ["'float16'", 'bfloat16']),
    ({'table_moments': 'bfloat16', 'table_optimizer': 'sgd'}, ['adam']),
])
def test_options_that_cannot_be(changes, words):
  with pytest.raises(InputError) as e:
    make(1, **changes)
  assert all(w in str(e.value) for w in words), str(e.value)


def test_the_table_has_an_optimizer_of_its_own():
  table = jnp.zeros((V, R, D))
  shapes = lambda **c: [
      (x.shape, x.dtype.name)
      for x in jax.tree.leaves(make(2, **c).init(table))]
  whole = ((V, R, D), 'float32')
  assert shapes() == [((), 'int32'), whole, whole]
  assert shapes(table_optimizer='adagrad') == [whole]
  assert shapes(table_optimizer='sgd') == []
  assert shapes(table_optimizer='rowwise_adagrad') == [((V, R, 2), 'float32')]
  assert shapes(**{'optimizer.name': 'sgd', 'table_optimizer': 'adagrad'}) == [
      whole]


# Memory.


def test_a_table_of_50_million_rows_is_refused():
  """Table 3.6, moments 7.2, the best one so far 3.6."""
  with pytest.raises(InputError) as e:
    memory.check(request(50_000_000, 1, 50_000), 12.0)
  for part in (
      'table 50,000,000 rows x 18 x 4 B = 3.60 GB',
      'state of adam 50,000,000 x 1 x 18 x 4 B + 50,000,000 x 1 x 18 x 4 B ='
      ' 7.20 GB',
      'best table so far', 'together 14.43 GB, but only 12.00 GB are available',
      "table_optimizer='rowwise_adagrad': 7.43 GB",
      "table_moments='bfloat16': 10.83 GB",
      "selection.metric='' (the last parameters count): 10.83 GB",
      "selection.metric='' and table_optimizer='rowwise_adagrad': 3.83 GB",
      'model.embed_dim=9: 7.21 GB', 'min_count',
  ):
    assert part in str(e.value), part
  with pytest.raises(InputError, match='together 28.86 GB'):
    memory.check(request(50_000_000, 2, 50_000), 24.0)
  for change in (
      {'table_optimizer': 'rowwise_adagrad'}, {'table_moments': 'bfloat16'},
      {'selection.metric': ''}, {'model.embed_dim': 9}):
    memory.check(request(50_000_000, 1, 50_000, **change), 12.0)


def test_how_much_there_is(monkeypatch, tmp_path):
  limit = tmp_path / 'memory.max'
  available = lambda: memory.available([str(limit)])
  whole = available()
  assert whole > 1e8
  limit.write_text('max\n')
  assert available() == pytest.approx(whole, rel=0.5)
  limit.write_text('12345678\n')
  if jax.default_backend() == 'cpu':
    assert available() == 12345678
  device = types.SimpleNamespace(memory_stats=lambda: {'bytes_limit': 5e9})
  monkeypatch.setattr(memory.jax, 'local_devices', lambda: [device])
  assert memory.available() == 5e9

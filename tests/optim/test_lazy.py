"""Optimizers on the touched rows, against the dense ones and float64 numpy."""

import math

from esmm_jax.embeddings.lookup import gather_rows, scatter_rows
from esmm_jax.optim import lazy, network
import jax
import jax.numpy as jnp
import numpy as np
import pytest

V, R, D = 9, 2, 3
OPTIONS = dict(
    name='adam', b1=0.8, b2=0.95, eps=1e-6, initial_accumulator=0.1,
    momentum=0.0)
# Rows of each step; row 4 is never touched, row 7 first in the last step.
STEPS = [[0, 2, 3], [1, 2, 8], [0, 1, 2, 3, 5, 6], [8], [0, 2, 7]]
RATE = 0.1


def options(**changes):
  return {**OPTIONS, **changes}


def start():
  return np.random.default_rng(0).normal(size=(V, R, D)).astype(np.float32)


def gradients(step, num):
  rng = np.random.default_rng([1, step])
  return rng.normal(size=(num, R, D)).astype(np.float32)


def pad(rows, capacity):
  """Padding ids from V on, as `compact` gives them."""
  rest = capacity - len(rows)
  return jnp.array([*rows, *range(V, V + rest)], jnp.int32)


def run_lazily(tx, steps=STEPS, capacity=7, garbage=0.0, compiled=True):
  """Returns the tables and states after each step."""
  row_tx = lazy.lazily(tx)
  table = jnp.asarray(start())
  state = row_tx.init(table)
  history = [(table, state)]

  def one(table, state, grads, rows):
    touched = gather_rows(table, rows)
    directions, state = row_tx.update(grads, state, touched, rows, V)
    return scatter_rows(table, rows, touched - RATE * directions), state

  if compiled:
    one = jax.jit(one)
  for k, rows in enumerate(steps):
    grads = np.full((capacity, R, D), garbage, np.float32)
    grads[: len(rows)] = gradients(k, len(rows))
    table, state = one(table, state, grads, pad(rows, capacity))
    history.append((table, state))
  return history


def run_densely(tx, steps=STEPS):
  row_tx = lazy.densely(tx)
  table = jnp.asarray(start())
  state = row_tx.init(table)
  for k, rows in enumerate(steps):
    grads = np.zeros((V, R, D), np.float32)
    grads[rows] = gradients(k, len(rows))
    directions, state = row_tx.update(grads, state, table, None, V)
    table = table - RATE * directions
  return table


def reference(name, steps=STEPS, momentum=0.0):
  """The textbook rules in float64, on the touched rows alone.

  Adam's step count is that of all steps.
  """
  o = OPTIONS
  table = start().astype(np.float64)
  m, v = np.zeros_like(table), np.zeros_like(table)
  s = np.full_like(table, o['initial_accumulator'])
  for k, rows in enumerate(steps):
    g = gradients(k, len(rows)).astype(np.float64)
    if name == 'adam':
      m[rows] = o['b1'] * m[rows] + (1 - o['b1']) * g
      v[rows] = o['b2'] * v[rows] + (1 - o['b2']) * g**2
      m_hat = m[rows] / (1 - o['b1'] ** (k + 1))
      v_hat = v[rows] / (1 - o['b2'] ** (k + 1))
      direction = m_hat / (np.sqrt(v_hat) + o['eps'])
    elif name == 'adagrad':
      s[rows] += g**2
      direction = g / np.sqrt(s[rows] + o['eps'])
    else:
      m[rows] = g + momentum * m[rows]
      direction = m[rows]
    table[rows] -= RATE * direction
  return table


CASES = [
    ('adam', 0.0), ('adagrad', 0.0), ('sgd', 0.0), ('sgd', 0.9),
]


def make(name, momentum=0.0):
  return network.optimizer(
      network.OptimizerOptions(**options(name=name, momentum=momentum)))


@pytest.mark.parametrize('name, momentum', CASES)
def test_lazily_against_float64(name, momentum):
  table, _ = run_lazily(make(name, momentum))[-1]
  np.testing.assert_allclose(
      table, reference(name, momentum=momentum), rtol=2e-5, atol=2e-6)


def test_every_optimizer_is_tested():
  assert {n for n, _ in CASES} == set(network.OPTIMIZERS)


# Operation by operation, not compiled: fused, the two round differently.


@pytest.mark.parametrize('name', ['sgd', 'adagrad'])
def test_lazily_is_densely_where_untouched_rows_rest_anyway(name):
  """Bit for bit, over steps that touch different rows."""
  table, _ = run_lazily(make(name), compiled=False)[-1]
  np.testing.assert_array_equal(table, run_densely(make(name)))


@pytest.mark.parametrize('name, momentum', CASES)
@pytest.mark.parametrize('capacity', [V, V + 3])
def test_lazily_is_densely_when_every_row_is_touched(name, momentum, capacity):
  """Bit for bit, with more room than rows, too: padding changes nothing."""
  steps = [list(range(V))] * 4
  tx = make(name, momentum)
  table, _ = run_lazily(tx, steps, capacity, compiled=False)[-1]
  np.testing.assert_array_equal(table, run_densely(tx, steps))


@pytest.mark.parametrize('name, momentum', CASES)
def test_untouched_rows_and_their_state_stay_bit_for_bit(name, momentum):
  history = run_lazily(make(name, momentum))
  for k, rows in enumerate(STEPS):
    before, after = history[k], history[k + 1]
    rest = [i for i in range(V) if i not in rows]
    leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after))
    for old, new in leaves:
      assert old.shape == new.shape
      if old.ndim == 3:
        np.testing.assert_array_equal(old[np.array(rest)], new[np.array(rest)])
        changed = old[np.array(rows)] != new[np.array(rows)]
        assert changed.any(axis=(1, 2)).all()


def test_dense_adam_does_move_untouched_rows():
  """The documented difference of the two."""
  table, _ = run_lazily(make('adam'))[-1]
  dense = run_densely(make('adam'))
  assert np.abs(table[1] - dense[1]).min() > 1e-4
  np.testing.assert_array_equal(table[4], dense[4])


def test_the_step_count_is_shared():
  _, state = run_lazily(make('adam'))[-1]
  assert int(state.count) == len(STEPS)


@pytest.mark.parametrize('name, momentum', CASES)
@pytest.mark.parametrize('garbage', [5.0, 1e30, math.nan])
def test_padding_rows_are_dropped(name, momentum, garbage):
  """Whatever their gradient."""
  want = run_lazily(make(name, momentum))[-1]
  got = run_lazily(make(name, momentum), garbage=garbage)[-1]
  jax.tree.map(np.testing.assert_array_equal, got, want)


def test_replicas_do_not_mix():
  """A gradient in one replica leaves the other alone."""
  row_tx = lazy.lazily(make('adam'))
  table = jnp.asarray(start())
  rows = jnp.arange(V)
  grads = jnp.zeros((V, R, D)).at[:, 1].set(1.0)
  directions, _ = row_tx.update(grads, row_tx.init(table), table, rows, V)
  assert not np.any(directions[:, 0]) and np.all(directions[:, 1])


def test_gather_and_scatter_rows():
  leaf = jnp.arange(10.0).reshape(5, 2)
  rows = jnp.array([1, 3, 5, 6])
  got = gather_rows(leaf, rows)
  assert got.tolist() == [[2, 3], [6, 7], [0, 0], [0, 0]]
  got = scatter_rows(leaf, rows, jnp.full((4, 2), -1.0))
  assert got.tolist() == [[0, 1], [-1, -1], [4, 5], [-1, -1], [8, 9]]


@pytest.mark.parametrize('condition, expected, count', [
    ([False, True], [[0] * 3, [1] * 3], 5),
    ([False, False], [[0] * 3, [0] * 3], 4),
    ([[True, False, False], [False, True, True]], [[1, 0, 0], [0, 1, 1]], 5),
    ([[False, True, False]], [[0, 1, 0]] * 2, 5),
], ids=str)
def test_tree_where(condition, expected, count):
  """Leading axes, or single elements; a scalar is new if any of them is."""
  new = {'a': jnp.ones((2, 3)), 'count': jnp.int32(5)}
  old = {'a': jnp.zeros((2, 3)), 'count': jnp.int32(4)}
  got = lazy.tree_where(jnp.array(condition), new, old)
  assert got['a'].tolist() == expected and got['count'] == count


def test_dense_state_of_a_replica_that_is_not_good():
  """As that of touched rows, which test_tables.py holds."""
  row_tx, table = lazy.densely(make('adam')), jnp.asarray(start())
  before = row_tx.init(table)
  grads = jnp.asarray(gradients(0, V))
  _, every = row_tx.update(grads, before, table, None, V)
  _, got = row_tx.update(
      grads, before, table, None, V, jnp.array([False, True]))
  np.testing.assert_array_equal(got.mu[:, 0], before.mu[:, 0])
  np.testing.assert_array_equal(got.mu[:, 1], every.mu[:, 1])
  assert got.count == 1

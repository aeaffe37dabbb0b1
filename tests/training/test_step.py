"""The step: parts of a batch, replicas, touched rows, one compilation."""

import functools

from esmm_jax.data.batching.compacting import Compacter
from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy, network
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.schema import Field, Schema
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.state import init_state, reset_sums, StepSpec
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.step import train_step
from esmm_jax.types import Batch
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]

SCHEMA = Schema((
    Field('user', vocab_size=50),
    Field('item', vocab_size=30),
    Field('tags', 'ids', vocab_size=20, max_len=3, combiner='mean'),
    Field('age', 'float'),
))
BATCH = 64
ADAM = OptimizerOptions('adam')
SGD = OptimizerOptions('sgd')
# The others are in the long tests.
_OFTEN = ('mmoe',)
WEIGHTS = {'ctr': 1.0, 'ctcvr': 1.0, 'cvr_clicked': 0.5}


def make_batch(seed, capacity=100, padded=3):
  rng = np.random.default_rng(seed)
  offsets = np.array([0, 50, 80, 80, 80])
  ids = rng.integers(0, [50, 30, 20, 20, 20], (BATCH, 5)) + offsets
  rows, slots = Compacter(SCHEMA.num_rows)(ids.astype(np.int32), capacity)
  click = (rng.random(BATCH) < 0.5).astype(np.float32)
  where = np.ones(BATCH, np.float32)
  where[BATCH - padded :] = 0
  return Batch(
      rows,
      slots,
      (rng.random((BATCH, 3)) < 0.7).astype(np.float32),
      rng.standard_normal((BATCH, 1)).astype(np.float32),
      {
          'click': click,
          'conversion': click * (rng.random(BATCH) < 0.5).astype(np.float32),
      },
      where,
  )


def make_plan(
    optimizer=None, dense=False, model=None, name='shared_embedding', **options
):
  tx = network.optimizer(optimizer or SGD)
  module = MODELS[name](SCHEMA, (8, 4), **(model or {}))
  return StepSpec(
      model=module,
      terms=ESTIMATORS['entire_space'].terms,
      outputs=functools.partial(funnel.outputs, tasks=SCHEMA.tasks),
      row_tx=(lazy.densely if dense else lazy.lazily)(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      dense=dense,
      **options,
  )


def make_hyper(rates, weights=None):
  num = len(rates)
  weights = weights or {k: [w] * num for k, w in WEIGHTS.items()}
  return TracedHyperparameters(
      jnp.asarray(rates, jnp.float32),
      {k: jnp.asarray(w, jnp.float32) for k, w in weights.items()},
  )


def start(plan, seeds=(0,), scale=0.5):
  return init_state(
      plan, SCHEMA.num_rows, 4, list(seeds), make_batch(0), list(WEIGHTS), scale
  )


def steps(plan, state, hyper, batches):
  step_fn = jax.jit(functools.partial(train_step, plan=plan))
  for batch in batches:
    state = step_fn(state, batch, hyper)
  return state


def assert_close(a, b, tolerance):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def parameters(state):
  return {'table': state.table, 'net': state.net}


@pytest.mark.parametrize('parts', [
    pytest.param(2, marks=pytest.mark.long), 4,
    pytest.param(8, marks=pytest.mark.long)])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(parts):
  # Each part has another share of clicks: means of means would differ.
  hyper = make_hyper([0.5])
  whole, parted = make_plan(), make_plan(micro_batches=parts)
  batches = [make_batch(k) for k in range(3)]
  a = steps(whole, start(whole), hyper, batches)
  b = steps(parted, start(parted), hyper, batches)
  assert_close(parameters(a), parameters(b), 2e-6)
  assert_close(a.sums, b.sums, 2e-6)


def test_lazy_sgd_equals_dense_sgd():
  hyper = make_hyper([0.5])
  lazy, dense = make_plan(), make_plan(dense=True)
  batches = [make_batch(k) for k in range(4)]
  whole = [b._replace(rows=b.rows[:0], slots=b.rows[b.slots]) for b in batches]
  a = steps(lazy, start(lazy), hyper, batches)
  b = steps(dense, start(dense), hyper, whole)
  assert_close(parameters(a), parameters(b), 1e-6)


def test_lazy_adam_leaves_rows_alone_that_no_batch_touched():
  plan = make_plan(ADAM, model=dict(activation='tanh'))  # No dead units.
  before = start(plan)
  batch = make_batch(1)
  after = steps(plan, before, make_hyper([0.1]), [batch])
  touched = np.zeros(SCHEMA.num_rows, bool)
  touched[batch.rows[batch.rows < SCHEMA.num_rows]] = True
  assert 0 < touched.sum() < SCHEMA.num_rows
  changed = (np.asarray(after.table) != np.asarray(before.table)).any((1, 2))
  assert not changed[~touched].any()
  # List padding and padding examples touch rows without a gradient.
  real = batch.rows[batch.slots[batch.where > 0, :2]]
  assert changed[real].all()


def test_padding_rows_of_a_batch_do_not_matter():
  plan = make_plan(ADAM)
  batch = make_batch(1, padded=5)
  rubbish = batch._replace(
      floats=np.where(batch.where[:, None] > 0, batch.floats, 99.0),
      labels={
          k: np.where(batch.where > 0, v, 1 - v)
          for k, v in batch.labels.items()
      },
  )
  a = steps(plan, start(plan), make_hyper([0.1]), [batch])
  b = steps(plan, start(plan), make_hyper([0.1]), [rubbish])
  assert_close(parameters(a), parameters(b), 0)
  assert_close(a.sums, b.sums, 0)


@pytest.mark.parametrize('optimizer', [
    pytest.param(SGD, marks=pytest.mark.long), ADAM], ids=['sgd', 'adam'])
def test_a_replica_gives_what_it_gives_alone(optimizer):
  plan = make_plan(optimizer, model={'dropout': 0.2}, clip_norm=1.0)
  rates, ratios = [0.1, 0.01, 0.03], [1.0, 4.0, 0.0]
  batches = [make_batch(k) for k in range(20)]
  weights = {'ctr': [1.0] * 3, 'ctcvr': ratios, 'cvr_clicked': [0.0] * 3}
  together = steps(
      plan, start(plan, (5, 6, 7)), make_hyper(rates, weights), batches
  )
  for r, seed in enumerate((5, 6, 7)):
    mine = {k: v[r : r + 1] for k, v in weights.items()}
    alone = steps(
        plan, start(plan, (seed,)), make_hyper(rates[r : r + 1], mine), batches
    )
    tolerance = 1e-6 if optimizer is SGD else 1e-5
    assert_close(together.table[:, r], alone.table[:, 0], tolerance)
    for x, y in zip(jax.tree.leaves(together.net), jax.tree.leaves(alone.net)):
      np.testing.assert_allclose(x[r], y[0], rtol=1e-4, atol=tolerance)


@pytest.mark.parametrize(
    'optimizer',
    [
        OptimizerOptions('sgd', momentum=0.9),
        pytest.param(OptimizerOptions('adagrad'), marks=pytest.mark.long),
    ],
    ids=['momentum', 'adagrad'],
)
def test_a_replica_that_skips_a_step_gives_what_it_gives_alone(optimizer):
  """A row of the second replica is nan, and one batch of three reads it."""
  plan = make_plan(optimizer, skip_ceiling=2)
  batches = [make_batch(k) for k in range(3)]
  elsewhere = np.concatenate([batches[0].rows, batches[2].rows])
  row = np.setdiff1d(batches[1].rows, elsewhere)[0]

  def run(seeds):
    state = start(plan, seeds)
    broken = jnp.array([seed == 6 for seed in seeds])[:, None]
    table = state.table.at[row].set(
        jnp.where(broken, jnp.nan, state.table[row]))
    hyper = make_hyper([0.1] * len(seeds))
    return steps(plan, state.replace(table=table), hyper, batches)

  both = run((5, 6))
  assert both.skipped[0].tolist() == [0, 1] and both.bad_step.max() == -1
  for r, seed in enumerate((5, 6)):
    alone = run((seed,))
    for name in ('table', 'table_opt'):
      for x, y in zip(*(jax.tree.leaves(getattr(s, name))
                        for s in (both, alone)), strict=True):
        np.testing.assert_allclose(x[:, r], y[:, 0], rtol=1e-6, atol=1e-6)
    for name in ('net', 'net_opt', 'sums'):
      for x, y in zip(*(jax.tree.leaves(getattr(s, name))
                        for s in (both, alone)), strict=True):
        np.testing.assert_allclose(x[r], y[0], rtol=1e-5, atol=1e-6)


def test_weight_decay_is_decoupled_and_of_kernels_only():
  """p - rate * (Adam's first direction + weight_decay * p), in float64."""
  rate, decay, batch = 0.1, 0.25, make_batch(1)
  plain = make_plan(ADAM)
  plan = plain._replace(
      net_tx=network.network_optimizer(ADAM, weight_decay=decay))
  before = start(plan)
  # Biases begin at 0, where decay would not be seen.
  net = jax.tree.map(lambda p: p + 0.1, before.net)
  before = before.replace(net=net)
  state = steps(plan, before, make_hyper([rate]), [batch])
  without = steps(
      plain, start(plain).replace(net=net), make_hyper([rate]), [batch])
  np.testing.assert_array_equal(state.table, without.table)
  # The first moments over their share are the gradients; see Adam.
  (adam, *_) = state.net_opt
  kinds = set()
  for path, got in jax.tree.leaves_with_path(state.net):
    old, mu = before.net, adam.mu
    for part in path:
      old, mu = old[part.key], mu[part.key]
    p, g = np.float64(old), np.float64(mu) / (1 - 0.9)
    kind = path[-1].key
    kinds.add(kind)
    direction = g / (np.abs(g) + 1e-8) + decay * p * (kind == 'kernel')
    np.testing.assert_allclose(got, p - rate * direction, atol=2e-6)
  assert kinds == {'kernel', 'bias'}
  for path, got in jax.tree.leaves_with_path(without.net):
    decayed = state.net
    for part in path:
      decayed = decayed[part.key]
    same = np.array_equal(got, decayed)
    assert same == (path[-1].key != 'kernel'), path


def test_a_replica_that_breaks_does_not_touch_the_others():
  plan = make_plan(SGD)
  batches = [make_batch(k) for k in range(6)]
  both = steps(plan, start(plan, (1, 2)), make_hyper([0.1, 1e30]), batches)
  alone = steps(plan, start(plan, (1,)), make_hyper([0.1]), batches)
  assert both.bad_step[0] == -1
  assert 0 < both.bad_step[1] < 6
  assert not np.isfinite(both.table[:, 1]).all()
  assert_close(both.table[:, 0], alone.table[:, 0], 1e-6)


def test_the_step_is_compiled_once():
  plan = make_plan(ADAM)
  step_fn = jax.jit(
      functools.partial(train_step, plan=plan), donate_argnums=0
  )
  state = start(plan)
  for k in range(5):
    state = step_fn(state, make_batch(k), make_hyper([0.1]))
  assert step_fn._cache_size() == 1
  assert int(state.step) == 5


def test_sums_are_those_of_the_steps_since_the_report():
  plan = make_plan(SGD)
  hyper = make_hyper([0.0])  # Nothing moves: each step has the same loss.
  state = steps(plan, start(plan), hyper, [make_batch(1)] * 3)
  first = float(state.sums['loss'][0])
  terms = sum(WEIGHTS[k] * float(state.sums[k][0]) for k in WEIGHTS)
  np.testing.assert_allclose(first, terms, rtol=1e-6)
  assert int(state.steps_since_report) == 3
  state = reset_sums(state)
  assert int(state.steps_since_report) == 0
  assert float(state.sums['loss'][0]) == 0
  state = steps(plan, state, hyper, [make_batch(1)])
  np.testing.assert_allclose(float(state.sums['loss'][0]), first / 3, rtol=1e-6)


def test_clip_norm_bounds_the_step():
  plan = make_plan(SGD, clip_norm=0.01)
  before = start(plan)
  after = steps(plan, before, make_hyper([1.0]), [make_batch(1)])
  moved = jax.tree.map(jnp.subtract, parameters(after), parameters(before))
  np.testing.assert_allclose(optax.tree.norm(moved), 0.01, rtol=1e-3)


def test_embedding_l2_pulls_the_touched_rows_only():
  batch = make_batch(1)
  plain, pulled = make_plan(SGD), make_plan(SGD, embedding_l2=0.25)
  a = steps(plain, start(plain), make_hyper([0.1]), [batch])
  b = steps(pulled, start(pulled), make_hyper([0.1]), [batch])
  expected = np.array(a.table)
  rows = batch.rows[batch.rows < SCHEMA.num_rows]
  expected[rows] -= 0.1 * 0.25 * np.asarray(start(plain).table)[rows]
  np.testing.assert_allclose(b.table, expected, atol=1e-6)


def test_prediction_looks_up_the_rows_that_training_touched():
  plan = make_plan(SGD)
  state, batch = start(plan, (3, 4)), make_batch(2)
  small = state.table[np.minimum(batch.rows, SCHEMA.num_rows - 1)]
  whole = batch._replace(rows=batch.rows[:0], slots=batch.rows[batch.slots])
  logits, gates = predict_step(
      state.table, state.net, state.stats, whole, plan=plan)
  assert not gates
  for r in range(2):
    net = jax.tree.map(lambda x, r=r: x[r], state.net)
    expected = plan.model.apply({'params': net}, small[:, r], batch)
    for task in ('ctr', 'cvr'):
      np.testing.assert_allclose(logits[task][r], expected[task], atol=1e-6)
    p = jax.nn.sigmoid(expected['ctr']) * jax.nn.sigmoid(expected['cvr'])
    np.testing.assert_allclose(
        jax.nn.sigmoid(logits['ctcvr'][r]), p, rtol=1e-5
    )


def test_tower_l2_pulls_the_kernels_of_towers_only():
  batch, rate = make_batch(1), 0.1
  model = dict(name='shared_bottom', model=dict(shared_units=(5,)))
  plain, pulled = make_plan(**model), make_plan(tower_l2=0.25, **model)
  before = start(plain).net
  a = steps(plain, start(plain), make_hyper([rate]), [batch]).net
  b = steps(pulled, start(pulled), make_hyper([rate]), [batch]).net
  for path, got in jax.tree_util.tree_leaves_with_path(b):
    names = [p.key for p in path]
    old, plain_new = before, a
    for name in names:
      old, plain_new = old[name], plain_new[name]
    pull = names[0].startswith('tower') and names[-1] == 'kernel'
    want = plain_new - rate * 0.25 * old * pull
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert pull == (not np.allclose(got, plain_new, atol=1e-4)), names


def test_use_of_gates():
  """Sums over the real examples; padding has no weight in them."""
  plan = make_plan(name='mmoe', model=dict(num_experts=3, expert_units=(4,)))
  state, batch = start(plan, (3, 4)), make_batch(2, padded=20)
  whole = batch._replace(rows=batch.rows[:0], slots=batch.rows[batch.slots])
  _, gates = predict_step(
      state.table, state.net, state.stats, whole, plan=plan)
  assert set(gates) == {'gate_ctr', 'gate_cvr'}
  real = batch.where > 0
  for r in range(2):
    small = state.table[np.minimum(batch.rows, SCHEMA.num_rows - 1), r]
    net = jax.tree.map(lambda x, r=r: x[r], state.net)
    _, sown = plan.model.apply({'params': net}, small, batch, mutable=['gates'])
    for name, use in gates.items():
      weights = np.float64(sown['gates'][name]['weights'][0])[real]
      np.testing.assert_allclose(
          use['load'][r], weights.sum(axis=0), rtol=1e-5)
      entropy = -(weights * np.log(weights)).sum()
      np.testing.assert_allclose(use['entropy'][r], entropy, rtol=1e-5)


@pytest.mark.parametrize(
    'name',
    [
        pytest.param(name, marks=[pytest.mark.long] * (name not in _OFTEN))
        for name in MODELS
    ],
)
def test_every_model_trains_in_replicas(name):
  """Two seeds side by side: as each alone; the loss falls; one trace."""
  plan = make_plan(ADAM, name=name)
  step_fn = jax.jit(functools.partial(train_step, plan=plan))
  batch = make_batch(1)

  def run(seeds):
    state, losses = start(plan, seeds), []
    for _ in range(12):
      state = step_fn(
          reset_sums(state), batch, make_hyper([0.01] * len(seeds)))
      losses.append(np.array(state.sums['loss']))
    return state, losses

  both, losses = run((0, 1))
  assert (losses[-1] < losses[0]).all()
  assert step_fn._cache_size() == 1
  for r, seed in enumerate((0, 1)):
    alone, _ = run((seed,))
    for a, b in zip(jax.tree.leaves(both.net), jax.tree.leaves(alone.net)):
      np.testing.assert_allclose(a[r], b[0], atol=2e-3)

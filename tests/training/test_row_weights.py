"""Weights of rows: a row of weight k is k rows, and 1 is no weight.

The loss of a batch is sum_k c_k sum_i v_i l_k(i) / sum_i v_i, over the rows of
each term.
"""

import dataclasses
import functools

from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy, network
from esmm_jax.training.gradients import gradients
from esmm_jax.training.state import init_state, StepSpec
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import optimization
from tests.training import test_step as steps

pytestmark = pytest.mark.usefixtures('quick_compilation')
SCHEMA = dataclasses.replace(steps.SCHEMA, weight='row_weight')
SAMPLING = {'unclicked_rate': 1.0, 'conversion_copies': 3.0}
# Estimator, its options and the rates of sampling.
CASES = {
    'entire_space': ('entire_space', {}, {}),
    'impressions': ('entire_space', {'cvr_normalization': 'impressions'}, {}),
    'click_space': ('click_space', {}, {}),
    'end_to_end': ('end_to_end', {}, {}),
    'unbias': ('unbias', {'form': 'weighting', 'propensity_floor': 0.3}, {}),
    'ips': ('ips', {'propensity_floor': 0.3}, SAMPLING),
    'snips': ('ips', {'normalization': 'self'}, {}),
    'sampled': ('click_space', {}, SAMPLING),
}


def make(case, weighted=True, replicas=1, **options):
  """The step's specification, its options, and a state."""
  name, chosen, rates = CASES[case]
  estimator = ESTIMATORS[name]
  schema = SCHEMA if weighted else steps.SCHEMA
  tx = network.optimizer(steps.ADAM)
  plan = StepSpec(
      model=MODELS['shared_embedding'](schema, (8, 4), **options.pop('m', {})),
      terms=functools.partial(estimator.terms, tasks=schema.tasks, **chosen),
      outputs=functools.partial(funnel.outputs, tasks=schema.tasks),
      row_tx=lazy.lazily(tx), net_tx=tx, schedule=lambda step: 1.0,
      needs_uniform=estimator.needs_uniform or bool(rates),
      sampled=bool(rates), **options)
  weights = {k: w or 0.5 for k, w in estimator.weights(schema.tasks).items()}
  stack = lambda values: {
      k: jnp.full(replicas, v, jnp.float32) for k, v in values.items()}
  hyper = TracedHyperparameters(
      jnp.full(replicas, 0.1), stack(weights), stack(rates))
  state = init_state(
      plan, schema.num_rows, 4, list(range(replicas)), steps.make_batch(0),
      list(weights), 0.5)
  return plan, hyper, state


def with_weights(batch, weights):
  weights = np.array(weights, np.float32)
  return batch._replace(labels={**batch.labels, 'row_weight': weights})


def graded(case, batch, weighted=True, replicas=1, **options):
  """Gradients of network and table rows, and the means of the terms."""
  plan, hyper, state = make(case, weighted, replicas, **options)
  touched = state.table[np.minimum(batch.rows, steps.SCHEMA.num_rows - 1)]
  net, rows, _, means, *_ = jax.jit(functools.partial(gradients, plan))(
      state.net, touched, state.stats, batch, state.keys, hyper, jnp.int32(0),
      {})
  return jax.device_get((net, rows, means))


def assert_close(a, b, most=2e-6):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=1e-5, atol=most)


def assert_same(a, b):
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_array_equal(x, y)


def doubled():
  """A batch with weights 0, 1, 2; and one with each row as often as that."""
  batch = steps.make_batch(3, padded=24)
  weights = np.random.default_rng(0).integers(0, 3, steps.BATCH)
  copies = np.repeat(np.arange(40), weights[:40])
  assert 20 < len(copies) <= steps.BATCH
  at = np.append(copies, np.zeros(steps.BATCH - len(copies), int))
  take = lambda x: x[at]
  where = (np.arange(steps.BATCH) < len(copies)).astype(np.float32)
  copied = batch._replace(
      slots=take(batch.slots), weights=take(batch.weights),
      floats=take(batch.floats), where=where,
      labels={k: take(v) for k, v in batch.labels.items()})
  return with_weights(batch, weights), copied


OFTEN = ('entire_space',)
SELDOM = [
    c if c in OFTEN else pytest.param(c, marks=pytest.mark.long) for c in CASES]


@pytest.mark.slow
@pytest.mark.parametrize('case', SELDOM)
def test_a_row_of_weight_two_is_two_rows(case):
  weighted, copied = doubled()
  assert_close(graded(case, weighted), graded(case, copied, weighted=False))


@pytest.mark.slow
@pytest.mark.parametrize('case', SELDOM)
def test_the_scale_of_the_weights_does_not_count(case):
  weighted, _ = doubled()
  weights = weighted.labels['row_weight']
  small = with_weights(weighted, weights * 1e-4)
  assert_close(graded(case, weighted), graded(case, small))


@pytest.mark.slow
@pytest.mark.parametrize('optimized', [
    False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize('case', SELDOM)
@pytest.mark.parametrize('options', [
    {'micro_batches': 2},
    *(pytest.param(o, marks=pytest.mark.long) for o in (
        {}, {'replicas': 2}, {'m': {'norm': 'batch', 'dropout': 0.1}}))],
    ids=str)
def test_weight_one_is_no_weight(case, options, optimized):
  """To the bit, whatever XLA makes of it."""
  states = []
  with optimization.set_to(optimized):
    for weighted in (True, False):
      plan, hyper, state = make(case, weighted, **dict(options))
      step = jax.jit(functools.partial(train_step, plan=plan))
      for k in range(3):
        batch = steps.make_batch(k)
        if weighted:
          batch = with_weights(batch, batch.where)
        state = step(state, batch, hyper)
      states.append((state.table, state.net, state.sums, state.stats))
  assert_same(*states)


@pytest.mark.slow
@pytest.mark.parametrize('case', SELDOM)
def test_parts_of_a_batch_are_the_whole(case):
  weighted, _ = doubled()
  assert_close(graded(case, weighted), graded(case, weighted, micro_batches=4))


def test_the_formula():
  """Against NumPy, term by term; batch norm does not see the weights."""
  weighted, _ = doubled()
  plan, hyper, state = make('click_space', m={'norm': 'batch'})
  touched = state.table[np.minimum(weighted.rows, SCHEMA.num_rows - 1)]

  @jax.jit
  def computed(state, touched, batch):
    computed = gradients(
        plan, state.net, touched, state.stats, batch, state.keys, hyper,
        state.step, {})
    stats, means = computed.stats, computed.means
    one = lambda tree: jax.tree.map(lambda x: x[0], tree)
    logits, updated = plan.model.apply(
        {'params': one(state.net), 'batch_stats': one(state.stats)},
        touched[:, 0], batch._replace(labels={}), train=True,
        mutable=['batch_stats'], rngs={'dropout': state.keys[0]})
    return stats, means, logits, updated['batch_stats']

  stats, means, logits, expected = computed(state, touched, weighted)
  jax.tree.map(
      lambda x, y: np.testing.assert_allclose(x[0], y, rtol=1e-6), stats,
      expected)
  v = weighted.labels['row_weight'] * weighted.where
  y = {k: np.asarray(label, np.float64) for k, label in weighted.labels.items()}
  loss = lambda z, y: np.logaddexp(0, z) - y * z
  ctr = loss(np.asarray(logits['ctr'], np.float64), y['click'])
  cvr = loss(np.asarray(logits['cvr'], np.float64), y['conversion'])
  clicked = v * y['click']
  expected = {
      'ctr': (v * ctr).sum() / v.sum(),
      'cvr_clicked': (clicked * cvr).sum() / clicked.sum()}
  for key, value in expected.items():
    assert means[key][0] == pytest.approx(value, rel=1e-5)
  assert means['loss'][0] == pytest.approx(sum(expected.values()), rel=1e-5)


@pytest.mark.slow
def test_a_batch_without_weight_moves_nothing():
  weighted, _ = doubled()
  net, rows, means = graded(
      'entire_space', with_weights(weighted, np.zeros(steps.BATCH)))
  for gradient in jax.tree.leaves((net, rows)):
    assert not gradient.any()
  assert all(value == 0 for value in means.values())

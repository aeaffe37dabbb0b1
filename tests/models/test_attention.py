"""Lists that are combined by attention to a target: Deep Interest Network."""

import functools

from esmm_jax.data.batching.compacting import Compacter
from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.models import MODELS
from esmm_jax.models.attention import attend
from esmm_jax.optim import lazy, network
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.schema import Field, Schema
from esmm_jax.training.state import init_state, StepSpec
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.models.test_models import OPTIONS

pytestmark = pytest.mark.usefixtures('quick_compilation')

# Columns: user, item; past (3), seen (3), tags (2).
PAST = dict(kind='ids', vocab_size=12, max_len=3, table='item')
ATTENDS = dict(combiner='attention', target='item')
SCHEMA = Schema((
    Field('user', vocab_size=8),
    Field('item', vocab_size=12),
    Field('past', **PAST, **ATTENDS, weighted=True),
    Field('seen', **PAST, **ATTENDS),
    Field('tags', 'ids', vocab_size=5, max_len=2, combiner='mean'),
    Field('price', 'float'),
))
D, U = 2, 25


def linear(units=(4,)):
  """Outputs are linear in the input vector: all else is the formula's."""
  return MODELS['shared_embedding'](
      SCHEMA, tower_units=(), attention_units=units)


def example(model, seed=0, size=6):
  """Random parameters, a table and a batch, whose first lists are empty."""
  batch = toy.random_batch(size, model.schema, U, seed)
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(U, D * model.num_tables)).astype(np.float32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), table, batch)
  params = jax.tree.map(
      lambda x: rng.normal(0.1, 0.6, x.shape).astype(np.float32),
      shapes['params'])
  return params, table, batch


@functools.cache
def compiled(model):
  return jax.jit(lambda params, table, batch: model.apply(
      {'params': params}, table, batch))


def unit_of(unit, e, t):
  """a(e, t), in float64."""
  x = np.concatenate([e, t, e - t, e * t])
  k = 0
  while f'dense_{k}' in unit:
    x = x @ unit[f'dense_{k}']['kernel'] + unit[f'dense_{k}']['bias']
    slope = unit[f'activation_{k}']['slope']
    x = np.where(x > 0, x, slope * x)
    k += 1
  return (x @ unit['out']['kernel'] + unit['out']['bias'])[0]


def logits_of(params, table, batch, task='ctr'):
  """The outputs of `linear`, one example and one entry after the other."""
  params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
  table = np.asarray(table, np.float64)
  outputs = []
  for i in range(len(batch.slots)):
    rows, weights = table[batch.slots[i]], batch.weights[i]
    vector = [rows[0], rows[1]]
    for k in range(2):
      unit = params[f'shared_attention_{k}']
      entries = range(3 * k, 3 * k + 3)
      vector.append(sum(
          unit_of(unit, rows[2 + j], rows[1]) * weights[j] * rows[2 + j]
          for j in entries))
    total = weights[6:].sum() or 1.0
    vector.append((weights[6:, None] * rows[8:]).sum(axis=0) / total)
    x = np.concatenate([*vector, batch.floats[i]])
    out = params[f'tower_{task}']['out']
    outputs.append((x @ out['kernel'] + out['bias'])[0])
  return np.array(outputs)


@pytest.mark.parametrize('units', [
    pytest.param((), marks=pytest.mark.long), (4,),
    pytest.param((5, 3), marks=pytest.mark.long)])
def test_the_formula(units):
  model = linear(units)
  params, table, batch = example(model)
  logits = compiled(model)(params, table, batch)
  for task in ('ctr', 'cvr'):
    np.testing.assert_allclose(
        logits[task], logits_of(params, table, batch, task), rtol=2e-5)


def test_gradients():
  """Of every number, the rows of the table and the target's among them."""
  model = linear()
  params, table, batch = example(model, size=3)
  gradients = jax.jit(jax.grad(
      lambda *args: model.apply({'params': args[0]}, args[1], batch)[
          'ctr'].sum(), (0, 1)))(params, table)
  params, table = jax.tree.map(
      lambda x: np.asarray(x, np.float64), (params, table))
  leaves, tree = jax.tree.flatten((params, table))
  for leaf, gradient in zip(leaves, jax.tree.leaves(gradients), strict=True):
    for at in np.ndindex(leaf.shape):
      before, sides = leaf[at], []
      for step in (1e-6, -1e-6):
        leaf[at] = before + step
        sides.append(logits_of(*jax.tree.unflatten(tree, leaves), batch).sum())
      leaf[at] = before
      wanted = (sides[0] - sides[1]) / 2e-6
      np.testing.assert_allclose(gradient[at], wanted, rtol=1e-4, atol=1e-5)


def test_padding_and_order_of_entries():
  model = linear()
  params, table, batch = example(model)
  run = functools.partial(compiled(model), params, table)
  logits = run(batch)
  slots, weights = batch.slots.copy(), batch.weights.copy()
  padded = np.nonzero(weights == 0)
  assert len({*padded[1]} & {*range(6)}) > 2
  slots[:, 2:][padded] = (slots[:, 2:][padded] + 1) % U
  changed = run(batch._replace(slots=slots))
  order = [2, 0, 1]
  turned = run(batch._replace(
      slots=np.hstack([slots[:, :2], slots[:, 2:5][:, order], slots[:, 5:]]),
      weights=np.hstack([weights[:, :3][:, order], weights[:, 3:]])))
  for task, values in logits.items():
    np.testing.assert_array_equal(changed[task], values)
    np.testing.assert_allclose(turned[task], values, rtol=1e-5)


def test_an_empty_list_is_zero():
  """Whatever lies in its padding, the target too."""
  model = linear()
  params, table, batch = example(model)
  empty = batch._replace(weights=np.zeros_like(batch.weights))
  logits = compiled(model)(params, table, empty)
  x = np.zeros((6, 5 * D + 1))
  x[:, : 2 * D] = table[batch.slots[:, :2]].reshape(6, -1)
  x[:, -1:] = batch.floats
  out = params['tower_ctr']['out']
  np.testing.assert_allclose(
      logits['ctr'], (x @ out['kernel'] + out['bias'])[:, 0], rtol=1e-5)


@pytest.mark.long
def test_training_begins_with_the_sum():
  """The last bias is 1; the other numbers are small, like embeddings."""
  model = linear()
  _, table, batch = example(model)
  table = table / 1000
  params = jax.jit(model.init)(jax.random.key(0), table, batch)['params']
  for k in range(2):
    assert params[f'shared_attention_{k}']['out']['bias'] == 1
  logits = compiled(model)(params, table, batch)
  fields = [f if f.kind != 'ids' or f.name == 'tags' else Field(
      f.name, **PAST, weighted=f.weighted) for f in SCHEMA.fields]
  summed = MODELS['shared_embedding'](Schema(tuple(fields)), tower_units=())
  params = {k: v for k, v in params.items() if k.startswith('tower')}
  wanted = compiled(summed)(params, table, batch)
  np.testing.assert_allclose(logits['ctr'], wanted['ctr'], atol=1e-4)


@pytest.mark.long
def test_networks_that_share_nothing_have_a_unit_each():
  model = MODELS['single_task'](SCHEMA, tower_units=(3,))
  params, table, batch = example(model)
  assert {n for n in params if 'attention' in n} == {
      f'tower_{task}_attention_{k}' for task in ('ctr', 'cvr') for k in (0, 1)}
  gradient = jax.jit(jax.grad(
      lambda p: model.apply({'params': p}, table, batch)['ctr'].sum()))(params)
  for name, leaves in gradient.items():
    moved = any(np.any(g) for g in jax.tree.leaves(leaves))
    assert moved == ('ctr' in name), name


@pytest.mark.long
@pytest.mark.parametrize('name', MODELS)
def test_every_architecture(name):
  """An entry, its weight and the target change every output."""
  options = {
      k: v for k, v in OPTIONS[name][0].items() if k not in ('match_params',)}
  model = MODELS[name](SCHEMA, **options)
  params, table, batch = example(model)
  batch = batch._replace(weights=np.ones_like(batch.weights))
  run = functools.partial(compiled(model), params, table)
  logits = run(batch)
  assert any('attention' in n for n in params)
  for column in (1, 2, 7):
    slots = batch.slots.copy()
    slots[1, column] = (slots[1, column] + 1) % U
    changed = run(batch._replace(slots=slots))
    for task, values in logits.items():
      assert np.isfinite(values).all()
      assert (np.asarray(changed[task] != values) == (
          np.arange(6) == 1)).all(), (task, column)


def step_of(dense, num=1, micro_batches=1):
  """Two steps of `num` replicas; the table after them, and the networks."""
  tx = network.optimizer(OptimizerOptions('sgd'))
  model = MODELS['shared_embedding'](SCHEMA, (5,))
  plan = StepSpec(
      model=model,
      terms=ESTIMATORS['entire_space'].terms,
      outputs=functools.partial(funnel.outputs, tasks=SCHEMA.tasks),
      row_tx=(lazy.densely if dense else lazy.lazily)(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      dense=dense,
      micro_batches=micro_batches,
  )
  terms = ('ctr', 'ctcvr', 'cvr_clicked')
  whole = toy.random_batch(8, SCHEMA, U)
  rows, slots = Compacter(U)(whole.slots, 30)
  batch = whole if dense else whole._replace(rows=rows, slots=slots)
  state = init_state(
      plan, U, D, list(range(num)), batch, [*terms], 0.5)
  ones = jnp.ones(num)
  hyper = TracedHyperparameters(0.1 * ones, dict.fromkeys(terms, ones))
  take = jax.jit(functools.partial(train_step, plan=plan))
  for _ in range(2):
    state = take(state, batch, hyper)
  return state


@pytest.mark.long
def test_touched_rows_are_updated_as_the_whole_table():
  """Rows of entries and targets, each once; others stay as they are."""
  dense, lazily = step_of(True), step_of(False)
  parts, pair = step_of(False, micro_batches=2), step_of(False, num=2)
  for other in (lazily, parts):
    np.testing.assert_allclose(other.table, dense.table, rtol=1e-5, atol=1e-7)
  np.testing.assert_allclose(
      pair.table[:, :1], lazily.table, rtol=1e-5, atol=1e-7)
  for leaf, wanted, one in zip(*(jax.tree.leaves(s.net) for s in (
      lazily, dense, pair))):
    np.testing.assert_allclose(leaf, wanted, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one[:1], leaf, rtol=1e-4, atol=1e-6)


def test_first_order_weights_are_combined_and_do_not_weigh():
  """Of two embeddings, each of two numbers and a weight behind them."""
  rng = np.random.default_rng(0)
  entries, target = rng.normal(size=(5, 3, 6)), rng.normal(size=(5, 6))
  weights = rng.random((5, 3))
  units = [
      lambda e, t: jnp.sum(e * t[:, None], axis=-1),
      lambda e, t: jnp.sum(e - t[:, None], axis=-1),
  ]
  got = attend(units, entries, target, weights, first_order=1)
  e, t = entries.reshape(5, 3, 2, 3), target.reshape(5, 2, 3)
  a = np.stack([
      (e[:, :, 0, :2] * t[:, None, 0, :2]).sum(-1),
      (e[:, :, 1, :2] - t[:, None, 1, :2]).sum(-1),
  ], axis=-1)
  wanted = (a * weights[..., None])[..., None] * e
  np.testing.assert_allclose(got, wanted.sum(1).reshape(5, 6), rtol=1e-5)

"""The parts that architectures are made of, and the options of all of them."""

import functools

from esmm_jax.models import MODELS
from esmm_jax.models.adatt import NativeWeights
from esmm_jax.models.experts import Gate, GATES
from esmm_jax.models.layers import MLP, LayerOptions
from esmm_jax.models.single_task import tower_params
from esmm_jax.schema import Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy


pytestmark = pytest.mark.usefixtures('quick_compilation')

D, U = 2, 50  # Embedding dimension, rows of the table.
INPUTS = 4 * D + 2
EXPERTS = dict(tower_units=(4,), expert_units=(5,), activation='tanh')
SMALL = {
    'adatt': EXPERTS,
    'aitm': dict(tower_units=(4, 4)),
    'dbmtl': dict(tower_units=(4,), shared_units=(5,)),
    'mmoe': EXPERTS,
    'ple': EXPERTS,
    'shared_bottom': dict(tower_units=(4,), shared_units=(5,)),
    'shared_embedding': dict(tower_units=(4, 4)),
    'single_task': dict(tower_units=(4, 4)),
    'stem': EXPERTS,
}


def shapes_of(model, batch=None):
  """Of all variables, nothing computed."""
  batch = toy.random_batch(2, model.schema) if batch is None else batch
  table = jnp.zeros((U, D * model.num_tables))
  return jax.eval_shape(model.init, jax.random.key(0), table, batch)


def make(name, schema=toy.SCHEMA, seed=0, **options):
  """A small model, random variables and a table."""
  model = MODELS[name](schema, **{**SMALL[name], **options})
  rng = np.random.default_rng(seed)

  def number(path, x):
    value = rng.normal(0.2, 0.6, x.shape)
    return jnp.asarray(
        np.abs(value) + 0.5 if path[-1].key == 'var' else value, x.dtype)

  variables = jax.tree_util.tree_map_with_path(number, shapes_of(model))
  table = jnp.asarray(rng.normal(size=(U, D * model.num_tables)), jnp.float32)
  return model, variables, table


# Gates.


def gate_weights(num, dropout, train, rows=4000):
  """Of a gate on random inputs, and the softmax without dropout."""
  x = jax.random.normal(jax.random.key(1), (rows, 3))
  where = jnp.ones(rows)
  gate = Gate(num, LayerOptions(), dropout=dropout)
  kernel = jax.random.normal(jax.random.key(2), (3, num))
  variables = {'params': {'out': {'kernel': kernel}}}
  scores = np.float64(x) @ np.float64(kernel)
  plain = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
  got = jax.jit(gate.apply, static_argnums=3)(
      variables, x, where, train, rngs={'dropout': jax.random.key(3)})
  return np.asarray(got), plain


@pytest.mark.parametrize('num, dropout', [(2, 0.5), (3, 0.8), (5, 0.1)])
def test_gate_dropout(num, dropout):
  """The kept experts share all weight; if all would be dropped, none is."""
  got, plain = gate_weights(num, dropout, train=True)
  mask = got > 0
  assert (got[~mask] == 0).all() and mask.any(axis=1).all()
  np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-6)
  want = np.where(mask, plain, 0)
  want /= want.sum(axis=1, keepdims=True)
  np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-7)
  # An expert is dropped unless it is kept or all are dropped.
  rate = dropout - dropout**num
  error = 5 * np.sqrt(rate * (1 - rate) / len(got))
  np.testing.assert_allclose((~mask).mean(axis=0), rate, atol=error)
  alone, all_kept = (mask.sum(axis=1) == n for n in (1, num))
  assert alone.any() and all_kept.any()


def test_gates_drop_nothing_in_evaluation_or_without_dropout():
  for dropout, train in ((0.8, False), (0.0, True)):
    got, plain = gate_weights(4, dropout, train)
    np.testing.assert_allclose(got, plain, rtol=2e-5)


def test_gate_dropout_has_a_gradient_at_extreme_scores():
  """The score of a dropped expert may be far above those of the kept ones."""
  x, where = jnp.full((64, 1), 1e4), jnp.ones(64)
  gate = Gate(3, LayerOptions(), dropout=0.5)
  params = {'params': {'out': {'kernel': jnp.array([[-1.0, 0.0, 1.0]])}}}

  def total(params):
    rngs = {'dropout': jax.random.key(0)}
    weights = gate.apply(params, x, where, True, rngs=rngs)
    return jnp.sum(weights * jnp.arange(3)), weights

  grads, weights = jax.jit(jax.grad(total, has_aux=True))(params)
  assert np.isfinite(grads['params']['out']['kernel']).all()
  assert set(np.unique(weights)) == {0, 1} and (weights[:, 0] == 1).any()


@pytest.mark.parametrize('name', [
    'mmoe', *(pytest.param(n, marks=pytest.mark.slow)
              for n in ('adatt', 'ple', 'stem'))])
def test_models_hand_gate_dropout_on(name):
  """To every gate, in training only."""
  model, variables, table = make(name, gate_dropout=0.5)
  batch = toy.random_batch(40)

  @functools.partial(jax.jit, static_argnums=0)
  def run(train):
    return model.apply(variables, table, batch, train=train, mutable=[GATES],
                       rngs={'dropout': jax.random.key(0)})

  for train in (True, False):
    _, sown = run(train)
    gates = jax.tree.leaves(sown[GATES])
    assert len(gates) == sum('gate' in n and 'native' not in n
                             for n in variables['params'])
    for weights in gates:
      assert (weights == 0).any() == train
      np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize('dropout', [1.0, -0.1])
def test_gate_dropout_is_a_probability(dropout):
  with pytest.raises(InputError, match='model.gate_dropout is'):
    gate_weights(2, dropout, train=True)


def test_native_weights_at_the_start():
  """Uniform in +-1/sqrt(m), another draw for each seed."""
  keys = jax.random.split(jax.random.key(0), 4)
  for num in (1, 4, 400):
    init = lambda key, num=num: NativeWeights(num).init(key, jnp.ones((num, 1)))
    many = np.asarray(jax.jit(jax.vmap(init))(keys)['params']['weights'])
    bound = num**-0.5
    assert (np.abs(many) <= bound).all()
    assert len(np.unique(many, axis=0)) == len(keys)
  assert many.min() < -0.99 * bound and many.max() > 0.99 * bound
  np.testing.assert_allclose(many.std(), bound / 3**0.5, rtol=0.05)


# Groups of fields.


def test_fields_reach_the_network_of_their_group_only():
  groups = (('user', 'price'), ('history',))
  model, variables, table = make(
      'shared_embedding', groups=groups, group_units=(3,), activation='tanh')
  batch = toy.random_batch(6)
  batch = batch._replace(weights=np.ones_like(batch.weights))

  @jax.jit
  def group_outputs(batch):
    outputs, state = model.apply(
        variables, table, batch, mutable=['intermediates'],
        capture_intermediates=lambda module, _: isinstance(module, MLP))
    result = state['intermediates']
    return [*(result[f'shared_group_{k}']['__call__'][0] for k in (0, 1)),
            outputs['ctr']]

  want = group_outputs(batch)
  floats = {f.name: k for k, f in enumerate(toy.SCHEMA.float_fields)}
  for field in toy.SCHEMA.fields:
    if field.kind == 'float':
      value = batch.floats.copy()
      value[:, floats[field.name]] += 1
      other = batch._replace(floats=value)
    else:
      value = batch.slots.copy()
      value[:, toy.SCHEMA.row_part.columns[field.name]] += 1
      other = batch._replace(slots=value % U)
    got = group_outputs(other)
    moved = [bool(np.any(a != b)) for a, b in zip(got, want)]
    assert moved == [field.name in g for g in groups] + [True], field.name


@pytest.mark.parametrize('options, words', [
    (dict(groups=(('user', 'prize'),)), "'prize'"),
    (dict(groups=(('user',), ('price', 'user'))), "'user' twice"),
    (dict(groups=(('user', 'user'),)), "'user' twice"),
    (dict(groups=(('user',),), share_embeddings=False), 'share_embeddings'),
])
def test_wrong_groups(options, words):
  with pytest.raises(InputError, match=words):
    shapes_of(MODELS['shared_embedding'](toy.SCHEMA, **options))


# Sizes.


@pytest.mark.parametrize('tasks', [FUNNEL, CART_FUNNEL], ids=len)
@pytest.mark.parametrize('target', [5_000, 60_000, 1_000_000])
def test_matched_parameters(target, tasks):
  schema = Schema(toy.SCHEMA.fields, tasks)
  model = MODELS['single_task'](schema, match_params=target)
  shapes = shapes_of(model)['params']
  total = sum(x.size for x in jax.tree.leaves(shapes))
  assert abs(total - target) <= 0.01 * target
  widths = [shapes['tower_ctr']['hidden'][f'dense_{k}']['bias'].size
            for k in range(3)]
  np.testing.assert_allclose(
      np.array(widths) / widths[0], np.array([360, 200, 80]) / 360, atol=0.04)


def test_too_few_parameters_to_match():
  """The smallest network has width 1 everywhere."""
  least = 2 * tower_params(INPUTS, (1, 1, 1))
  assert least == 2 * (INPUTS + 1 + 2 + 2 + 2)
  model = MODELS['single_task'](toy.SCHEMA, match_params=least)
  assert sum(x.size for x in jax.tree.leaves(shapes_of(model))) == least
  for options in (dict(match_params=least - 1), dict(match_params=-1),
                  dict(match_params=100, tower_units=())):
    with pytest.raises(InputError, match='model.match_params asks for'):
      shapes_of(MODELS['single_task'](toy.SCHEMA, **options))


@pytest.mark.parametrize('name, option, count', [
    ('adatt', 'levels', 0),
    ('adatt', 'num_task_experts', 0),
    ('adatt', 'num_shared_experts', -1),
    ('dbmtl', 'num_experts', -1),
    ('mmoe', 'num_experts', 0),
    ('ple', 'levels', 0),
    ('ple', 'num_task_experts', 0),
    ('ple', 'num_shared_experts', -1),
    ('stem', 'levels', -1),
    ('stem', 'num_task_experts', 0),
    ('stem', 'num_shared_experts', 0),
])
def test_counts_that_are_too_small(name, option, count):
  with pytest.raises(InputError, match=f'model.{option} is {count}'):
    shapes_of(MODELS[name](toy.SCHEMA, **{option: count}))


@pytest.mark.parametrize('name', MODELS)
@pytest.mark.parametrize('option, wrong, near', [
    ('activation', 'rellu', 'relu'),
    ('norm', 'bach', 'batch'),
    ('initializer', 'he_norml', 'he_normal'),
    ('dtype', 'bfloat', 'bfloat16'),
])
def test_names_that_are_not_known(name, option, wrong, near):
  with pytest.raises(InputError) as e:
    shapes_of(MODELS[name](toy.SCHEMA, **{option: wrong}))
  start = f"model.{option} is '{wrong}'. Did you mean '{near}'?"
  assert str(e.value).startswith(start)


# Batch statistics.


@pytest.mark.parametrize('options', [
    pytest.param(dict(norm='batch'), marks=pytest.mark.slow),
    pytest.param(dict(activation='dice'), marks=pytest.mark.slow),
    dict(norm='batch', activation='dice')], ids=str)
def test_padded_rows_and_other_replicas_do_not_matter(options):
  """Outputs and statistics are those of a replica alone, without padding."""
  real, rest = toy.random_batch(9), toy.random_batch(4, seed=1)
  rest = rest._replace(where=np.zeros(4, np.float32), floats=rest.floats + 1e3)
  padded = jax.tree.map(lambda *x: np.concatenate(x), real, rest)
  padded = padded._replace(rows=real.rows)
  alone = [make('shared_bottom', seed=s, **options) for s in range(3)]
  model = alone[0][0]

  @jax.jit
  def train(variables, table, batch):
    return model.apply(
        variables, table, batch, train=True, mutable=['batch_stats'])

  variables = jax.tree.map(lambda *x: jnp.stack(x), *(a[1] for a in alone))
  table = jnp.stack([a[2] for a in alone], axis=1)  # [U, R, D]
  many = jax.jit(jax.vmap(train, in_axes=(0, 1, None)))
  got, stats = many(variables, table, padded)
  for r, (_, variables, table) in enumerate(alone):
    want, want_stats = train(variables, table, real)
    for task in want:
      np.testing.assert_allclose(
          got[task][r, :9], want[task], rtol=1e-4, atol=1e-4)
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(want_stats)):
      np.testing.assert_allclose(a[r], b, rtol=1e-4, atol=1e-5)
    old = jax.tree.leaves(variables['batch_stats'])
    new = jax.tree.leaves(want_stats['batch_stats'])
    assert len(old) == len(new) == 6 * len(options)
    assert all((a != b).any() for a, b in zip(old, new))
    # The same rows as examples do change the statistics.
    ones = np.ones(13, np.float32)
    other = train(variables, table, padded._replace(where=ones))[1]
    assert any((abs(a - b) > 1).any() for a, b in zip(
        jax.tree.leaves(other), jax.tree.leaves(want_stats)))


@pytest.mark.parametrize('ratio', [1.0, 30.0, 1000.0, 10_000.0])
@pytest.mark.parametrize('options', [
    dict(norm='batch'), dict(activation='dice')])
def test_the_variance_of_a_batch_does_not_cancel(ratio, options):
  """Units of mean/std 1000, say: the running variance is that of the batch."""
  rng = np.random.default_rng(0)
  where = jnp.asarray(np.arange(512) < 500, jnp.float32)
  x = jnp.asarray(rng.normal(ratio, 1.0, (512, 1)), jnp.float32)
  mlp = MLP((1,), LayerOptions(**options))
  variables = mlp.init(jax.random.key(0), x, where, True)
  variables = {**variables, 'params': jax.tree_util.tree_map_with_path(
      lambda path, v: v * 0 + 1.0 if path[-1].key == 'kernel' else v,
      variables['params'])}
  _, changed = mlp.apply(variables, x, where, True, mutable=['batch_stats'])
  for path, var in jax.tree_util.tree_leaves_with_path(changed['batch_stats']):
    if path[-1].key == 'var':
      # 0.9 of the first value, 1, and a tenth of the batch's.
      want = np.var(np.asarray(x, np.float64)[:500])
      np.testing.assert_allclose((var[0] - 0.9) / 0.1, want, rtol=1e-4)

"""Every architecture: one list of what each must do, and what must not leak.

Outputs are tested in test_architectures.py, against golden values. Most of
the time is compilation, so the tests of a model share its programs: outputs of
`SIZE` examples, those in training, and the gradients of all losses.
"""

import dataclasses
import functools
import re

from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.models import MODELS
from esmm_jax.models.experts import GATES
from esmm_jax.models.layers import ACTIVATIONS
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.toy import SCHEMA

pytestmark = pytest.mark.usefixtures('quick_compilation')

D, U = 4, 50  # Embedding dimension, rows of the table.
SIZE = 9  # Examples of most batches: a program is compiled for each size.

# Options that a model is tested with; a new model is tested with its defaults.
UNITS = dict(tower_units=(6, 5))
EXPERTS = dict(tower_units=(5,), expert_units=(6,))
OPTIONS = {
    'single_task': [
        dict(UNITS),
        dict(UNITS, match_params=900),
        dict(UNITS, cross_layers=1),
        dict(UNITS, interaction='fm'),
        dict(UNITS, interaction='deepfm'),
    ],
    'shared_embedding': [
        dict(UNITS),
        dict(UNITS, share_embeddings=False),
        dict(UNITS, norm='batch', dropout=0.5),
        dict(UNITS, norm='layer', activation='prelu', cross_layers=2),
        dict(tower_units=(7,), activation='tanh', cross_layers=1, cross_rank=2),
        dict(UNITS, groups=(('user', 'tags'), ('price',)), group_units=(3,)),
        dict(tower_units=()),
        dict(tower_units=(), interaction='deepfm'),
        dict(UNITS, interaction='fm', cross_layers=1, activation='tanh'),
        dict(UNITS, interaction='deepfm', groups=(('user', 'tags'),),
             group_units=(3,)),
    ],
    'shared_bottom': [
        dict(UNITS, shared_units=(7,)),
        dict(UNITS, shared_units=(7,), activation='dice'),
        dict(UNITS, shared_units=(7,), interaction='deepfm'),
    ],
    'mmoe': [
        dict(EXPERTS, num_experts=3, gate_dropout=0.3),
        dict(EXPERTS, num_experts=2, one_gate=True),
        dict(EXPERTS, num_experts=2, interaction='fm'),
        dict(EXPERTS, num_experts=2, interaction='deepfm'),
    ],
    'ple': [
        dict(EXPERTS, levels=1, num_task_experts=2),
        dict(EXPERTS, levels=2, num_shared_experts=2, gate_dropout=0.3),
        dict(EXPERTS, levels=1, interaction='deepfm'),
    ],
    'dbmtl': [
        dict(UNITS, shared_units=(7,), relation_units=(4,)),
        dict(UNITS, shared_units=(), relation_units=(4,), num_experts=2,
             expert_units=(6,)),
        dict(UNITS, relation_units=(4,), interaction='deepfm'),
    ],
    'aitm': [
        dict(UNITS),
        dict(UNITS, stop_gradient=True),
        dict(UNITS, interaction='deepfm'),
    ],
    'stem': [
        dict(EXPERTS, gate_units=(4,)),
        dict(EXPERTS, gate_units=(), levels=2, num_task_experts=2),
        dict(EXPERTS, gate_units=(4,), interaction='fm'),
        dict(EXPERTS, gate_units=(4,), interaction='deepfm'),
    ],
    'adatt': [
        dict(EXPERTS, levels=1),
        dict(EXPERTS, levels=2, num_shared_experts=1),
        dict(EXPERTS, levels=1, interaction='deepfm'),
    ],
}
# The first options of each model are tried in `make test`, the others in the
# long tests; batch and layer norm have no others.
CASES = [
    pytest.param(
        (name, options),
        id=str((name, options)),
        marks=[pytest.mark.long] * (k > 0 and 'norm' not in options),
    )
    for name in MODELS
    for k, options in enumerate(OPTIONS.get(name, [{}]))
]
# Two tasks, three in a chain, and two events after the click, one of them a
# value. Options that name tasks or fields fit all of them.
TASKS = {
    'cart': CART_FUNNEL,
    'regression': (
        *FUNNEL, Task('play_time', 'play_time', 'ctr', kind='regression')),
}


@functools.cache
def compiled(model, train):
  """(variables, table, batch, key) -> logits, and new statistics and gates."""

  def run(variables, table, batch, key):
    return model.apply(
        variables,
        table,
        batch,
        train=train,
        rngs={'dropout': key},
        mutable=['batch_stats', GATES],
    )

  return jax.jit(run)


@functools.cache
def compiled_gradients(model):
  """(variables, table, batch) -> loss -> its gradients, a task's and `loss`.

  In evaluation mode: running statistics, so that batch norm does not cancel
  biases.
  """

  def losses(params, table, rest, batch):
    logits = model.apply({**rest, 'params': params}, table, batch)
    terms = entire_space(logits, batch.labels, batch.where)
    return {
        **{task: x.sum() for task, x in logits.items()},
        'loss': terms['ctr'][0] + terms['ctcvr'][0],
    }

  @jax.jit
  def run(variables, table, batch):
    rest = dict(variables)
    params = rest.pop('params')
    return jax.jacrev(losses, argnums=(0, 1))(params, table, rest, batch)

  return run


@dataclasses.dataclass
class Instance:
  """A model with its parameters and a table."""

  model: object
  variables: dict
  table: jax.Array

  def __call__(self, batch, **changes):
    """Logits as in evaluation."""
    variables = {**self.variables, **changes}
    run = compiled(self.model, False)
    return run(variables, self.table, batch, jax.random.key(0))[0]

  def gates(self, batch):
    """Gate -> its weights."""
    run = compiled(self.model, False)
    sown = run(self.variables, self.table, batch, jax.random.key(0))[1]
    return {n: v['weights'] for n, v in sown.get(GATES, {}).items()}

  def train(self, batch, seed=0):
    """Logits as in training, and the new statistics."""
    run = compiled(self.model, True)
    logits, updated = run(
        self.variables, self.table, batch, jax.random.key(seed))
    return logits, updated.get('batch_stats', {})

  def gradients(self, batch, scale=1.0):
    """Loss -> gradients of the parameters and of the table times `scale`."""
    return compiled_gradients(self.model)(
        self.variables, self.table * scale, batch)


def make(name, options, schema=SCHEMA, seed=0):
  """A model whose every parameter is random, biases too."""
  return _make(name, tuple(options.items()), schema, seed)


@functools.cache
def _make(name, options, schema, seed):
  model = MODELS[name](schema=schema, **dict(options))
  keys = jax.random.split(jax.random.key(seed), 2)
  table = jax.random.normal(keys[0], (U, model.row_width(D)))
  batch = toy.random_batch(4, schema)
  shapes = jax.eval_shape(model.init, keys[1], table, batch)
  leaves, tree = jax.tree.flatten(shapes)
  rng = np.random.default_rng(seed)
  variables = jax.tree.unflatten(tree, [
      jnp.asarray(rng.normal(0.3, 0.5, x.shape), x.dtype) for x in leaves])
  if 'batch_stats' in variables:
    variables['batch_stats'] = jax.tree.map(
        lambda x: jnp.abs(x) + 0.5, variables['batch_stats'])
  return Instance(model, variables, table)


@pytest.fixture(params=CASES)
def case(request):
  return request.param


@pytest.fixture
def instance(case):
  return make(*case)


def take(batch, index):
  """Some examples of a batch."""
  part = jax.tree.map(lambda x: x[index], batch._replace(rows=batch.where))
  return part._replace(rows=batch.rows)


@pytest.mark.parametrize('size', [
    1, pytest.param(SIZE, marks=pytest.mark.long)])
def test_one_finite_logit_for_each_task_and_example(instance, size):
  """At batch size 1 too."""
  batch = toy.random_batch(size)
  for logits in (instance(batch), instance.train(batch)[0]):
    assert set(logits) == set(instance.model.tasks)
    for x in logits.values():
      assert x.shape == (size,) and x.dtype == jnp.float32
      assert np.isfinite(x).all()


def test_the_tasks_are_there(instance):
  """By name, and of different values."""
  logits = instance(toy.random_batch(SIZE))
  assert list(logits) == ['ctr', 'cvr']
  assert (logits['ctr'] != logits['cvr']).all()


@pytest.mark.slow
@pytest.mark.parametrize('tasks', TASKS)
def test_other_funnels(case, tasks):
  """An output for each task, all different, and a table for each of them."""
  schema = dataclasses.replace(SCHEMA, tasks=TASKS[tasks])
  instance = make(*case, schema)
  logits = instance(toy.random_batch(4, schema))
  assert set(logits) == {t.name for t in TASKS[tasks]} and len(logits) == 3
  values = np.stack(list(logits.values()))
  assert np.isfinite(values).all()
  assert (np.diff(np.sort(values, axis=0), axis=0) > 0).all()
  two = make(*case).model.num_tables
  assert instance.model.num_tables == (two if two == 1 else two + 1)


def test_each_example_alone_is_that_example_in_a_batch(instance):
  batch = toy.random_batch(SIZE)
  together = instance(batch)
  for i in range(SIZE):
    alone = instance(take(batch, slice(i, i + 1)))
    for task in together:
      np.testing.assert_allclose(
          alone[task][0], together[task][i], rtol=1e-5, atol=1e-6)


def test_the_order_of_examples_does_not_matter(instance):
  batch, order = toy.random_batch(SIZE), np.array([3, 8, 0, 2, 1, 7, 4, 6, 5])
  want, got = instance(batch), instance(take(batch, order))
  for task in want:
    np.testing.assert_allclose(got[task], want[task][order], rtol=1e-5)


def test_every_input_matters(instance):
  """Each slot, list weight and float of an example changes each logit."""
  batch = toy.random_batch(SIZE)
  batch = batch._replace(weights=np.ones_like(batch.weights))
  want = instance(batch)
  others = np.arange(SIZE) != 1
  changed = []
  for j in range(batch.slots.shape[1]):
    slots = batch.slots.copy()
    slots[1, j] = (slots[1, j] + 1) % U
    changed.append(batch._replace(slots=slots))
  for name in ('weights', 'floats'):
    for j in range(getattr(batch, name).shape[1]):
      column = getattr(batch, name).copy()
      column[1, j] += 1.5
      changed.append(batch._replace(**{name: column}))
  assert len(changed) == 7 + 5 + 2
  for k, other in enumerate(changed):
    got = instance(other)
    for task in want:
      assert got[task][1] != want[task][1], (k, task)
      np.testing.assert_array_equal(got[task][others], want[task][others])


@pytest.mark.slow
def test_every_parameter_learns(instance):
  """Under the entire-space loss no gradient is 0, nor that of an input."""
  batch = toy.random_batch(64)
  params, table = instance.gradients(batch)['loss']
  for path, g in jax.tree_util.tree_leaves_with_path(params):
    assert np.isfinite(g).all() and np.any(g), jax.tree_util.keystr(path)
  touched = np.unique(np.concatenate(
      [batch.slots[:, :2].ravel(), batch.slots[:, 2:][batch.weights > 0]]))
  assert np.any(table[touched], axis=1).all()
  rest = np.setdiff1d(np.arange(U), touched)
  assert not np.any(table[rest])


def crosses(name, options, path):
  """True if the paper has a task's own part serve another task too."""
  part, last = path[0], options.get('levels', 1) - 1
  level = int(part[-1]) if part[-1].isdigit() else last
  if name in ('ple', 'stem'):  # Through the shared path.
    return part.startswith('expert') and level < last
  if name == 'adatt':  # Each level mixes all experts.
    return part.startswith('expert') or level < last
  if name == 'dbmtl':  # Parents hand on their relation layer.
    return part == 'tower_ctr' and path[1] != 'out' or part == 'gate_ctr'
  if name == 'aitm':
    return (part == 'tower_ctr' and path[1] != 'out'
            and not options.get('stop_gradient'))
  return False


@pytest.mark.slow
def test_whose_loss_moves_what(case, instance):
  """`shared` is moved by every task, all else by its own task alone.

  But for the parts that the papers make both use.
  """
  gradients = instance.gradients(toy.random_batch(64))
  moved = {
      task: {
          path for path, g in flax.traverse_util.flatten_dict(
              gradients[task][0]).items() if np.any(g)}
      for task in instance.model.tasks
  }
  for path in flax.traverse_util.flatten_dict(instance.variables['params']):
    by = {task for task, paths in moved.items() if path in paths}
    if path[0].startswith('shared'):
      assert by == {'ctr', 'cvr'}, path
    elif crosses(*case, path):
      assert by == {'ctr', 'cvr'}, path
    else:
      (task,) = by
      assert task in path[0], path


@pytest.mark.slow
def test_whose_loss_moves_which_embedding(case, instance):
  """One shared table, or a block for each task and, in STEM, a shared one."""
  gradients = instance.gradients(toy.random_batch(64))
  num = instance.model.num_tables
  for k, task in enumerate(instance.model.tasks):
    width = instance.model.row_width(D) // num
    table = gradients[task][1].reshape(U, num, width)
    got = np.any(table, axis=(0, 2))
    if num == 1:
      assert got.all()
    else:
      # STEM's shared path carries all experts on where it has two levels.
      wide = case[0] == 'stem' and case[1].get('levels') == 2
      want = np.ones(num, bool) if wide else np.isin(np.arange(num), (k, 2))
      np.testing.assert_array_equal(got, want)


@pytest.mark.slow
def test_gradients_are_finite_at_extreme_inputs(instance):
  batch = toy.random_batch(64)
  batch = batch._replace(floats=batch.floats * 1e4)
  leaves = jax.tree.leaves(instance.gradients(batch, scale=1e3)['loss'])
  assert leaves and all(np.isfinite(g).all() for g in leaves)


def test_towers_own_their_bias(instance):
  """Click and conversion have different rates."""
  batch = toy.random_batch(SIZE)
  want = instance(batch)
  flat = flax.traverse_util.flatten_dict(instance.variables['params'])
  for task in instance.model.tasks:
    bias = (f'tower_{task}', 'out', 'bias')
    assert flat[bias].shape == (1,)
    params = flax.traverse_util.unflatten_dict({**flat, bias: flat[bias] + 1})
    got = instance(batch, params=params)
    for other in instance.model.tasks:
      np.testing.assert_allclose(
          got[other] - want[other], float(other == task), atol=1e-5)


def test_parameters_are_named_by_their_part(instance):
  parts = {name.split('_')[0] for name in instance.variables['params']}
  assert parts <= {'shared', 'expert', 'gate', 'tower'}
  assert {f'tower_{t}' for t in instance.model.tasks} <= set(
      instance.variables['params'])


def test_replicas(case):
  """Mapped over stacked parameters: what each gives alone."""
  many = [make(*case, seed=s) for s in (0, 1, 2)]
  batch = toy.random_batch(SIZE)
  variables = jax.tree.map(
      lambda *x: jnp.stack(x), *[m.variables for m in many])
  table = jnp.stack([m.table for m in many], axis=1)  # [U, R, D]
  run = jax.jit(jax.vmap(many[0].model.apply, in_axes=(0, 1, None)))
  got = run(variables, table, batch)
  for r, one in enumerate(many):
    for task, want in one(batch).items():
      np.testing.assert_allclose(got[task][r], want, rtol=1e-5, atol=1e-5)


# The network of ESMM, written out again in float64.


def embed64(table, batch, schema):
  """[B, F * D + N]: ids, then pooled lists, then floats."""
  parts = []
  for f in schema.row_part.id_fields:
    parts.append(table[batch.slots[:, schema.row_part.columns[f.name].start]])
  start = 0
  for f in schema.row_part.pooled_fields:
    slots = batch.slots[:, schema.row_part.columns[f.name]]
    pooled = np.zeros((len(slots), table.shape[1]))
    for b, row in enumerate(slots):
      w = batch.weights[b, start : start + f.max_len].astype(np.float64)
      for place, weight in zip(row, w):
        pooled[b] += weight * table[place]
      if f.combiner == 'mean' and w.sum() > 0:
        pooled[b] /= w.sum()
    start += f.max_len
    parts.append(pooled)
  return np.concatenate([*parts, batch.floats.astype(np.float64)], axis=1)


def tower64(params, x, act, num):
  for k in range(num):
    layer = params['hidden'][f'dense_{k}'] if k < num - 1 else params['out']
    x = x @ np.float64(layer['kernel']) + np.float64(layer['bias'])
    if k < num - 1:
      x = act(x)
  return x[:, 0]


SCHEMAS = {
    'all kinds': SCHEMA,
    'sum and mean the other way': dataclasses.replace(SCHEMA, fields=tuple(
        dataclasses.replace(f, combiner='sum' if f.combiner == 'mean' else
                            'mean') if f.kind == 'ids' else f
        for f in SCHEMA.fields)),
    'no lists': SCHEMA.select(['user', 'price', 'item']),
    'no floats': SCHEMA.select(['tags', 'item']),
    'lists only': SCHEMA.select(['tags', 'history']),
    'one id': Schema((Field('user', vocab_size=60),)),
}
ACTS = {'relu': lambda x: np.maximum(x, 0), 'tanh': np.tanh}


@pytest.mark.parametrize('share', [True, False])
@pytest.mark.parametrize('act', ACTS)
@pytest.mark.parametrize('which', SCHEMAS)
def test_shared_embedding_against_float64(which, act, share):
  """All kinds of fields."""
  schema = SCHEMAS[which]
  instance = make('shared_embedding', dict(
      UNITS, activation=act, share_embeddings=share), schema)
  batch = toy.random_batch(11, schema)
  got = instance(batch)
  table = np.float64(instance.table)
  for k, task in enumerate(('ctr', 'cvr')):
    half = table if share else table[:, k * D : (k + 1) * D]
    want = tower64(instance.variables['params'][f'tower_{task}'],
                   embed64(half, batch, schema), ACTS[act], 3)
    np.testing.assert_allclose(got[task], want, rtol=2e-5, atol=2e-5)


def test_empty_lists_are_zero():
  """Of both combiners, whatever ids their padding has; and no nan."""
  instance = make('shared_embedding', UNITS)
  batch = toy.random_batch(SIZE)
  batch = batch._replace(weights=np.zeros_like(batch.weights))
  slots = batch.slots.copy()
  slots[:, 2:] = (slots[:, 2:] + 1) % U
  for task, want in instance(batch).items():
    got = instance(batch._replace(slots=slots))[task]
    np.testing.assert_array_equal(got, want)
    x = embed64(np.float64(instance.table), batch, SCHEMA)
    assert not x[:, 2 * D : 4 * D].any()
  batch = toy.random_batch(64)
  batch = batch._replace(weights=np.zeros_like(batch.weights))
  assert np.isfinite(instance.gradients(batch)['loss'][1]).all()


def test_floats_only():
  schema = SCHEMA.select(['price', 'serial'])
  instance = make('shared_embedding', UNITS, schema)
  batch = toy.random_batch(5, schema)
  want = tower64(instance.variables['params']['tower_ctr'],
                 np.float64(batch.floats), ACTS['relu'], 3)
  np.testing.assert_allclose(instance(batch)['ctr'], want, rtol=1e-5)


def layers(*widths):
  """Weights and biases of a plain network."""
  return sum((a + 1) * b for a, b in zip(widths, widths[1:]))


INPUTS = 4 * D + 2
COUNTS = {
    'single_task': 2 * layers(INPUTS, 6, 5, 1),
    'shared_embedding': 2 * layers(INPUTS, 6, 5, 1),
    'shared_bottom': layers(INPUTS, 7) + 2 * layers(7, 6, 5, 1),
    # Gates have no bias.
    'mmoe': 3 * layers(INPUTS, 6) + 2 * (INPUTS * 3 + layers(6, 5, 1)),
    # Two experts of each task and a shared one: gates of 3.
    'ple': 5 * layers(INPUTS, 6) + 2 * (INPUTS * 3 + layers(6, 5, 1)),
    # The relation of cvr reads its own layer and the parent's.
    'dbmtl': layers(INPUTS, 7) + 2 * layers(7, 6, 5) + layers(5, 4, 1)
    + layers(5 + 4, 4, 1),
    # Transfer with bias; query, key and value without.
    'aitm': 2 * layers(INPUTS, 6, 5, 1) + layers(5, 5) + 3 * 5 * 5,
    'stem': 3 * layers(INPUTS, 6) + 2 * (
        layers(INPUTS, 4, 3) + layers(6, 5, 1)),
    # Two experts a task, gates of 4 with bias, 2 native weights a task.
    'adatt': 4 * layers(INPUTS, 6) + 2 * (
        layers(INPUTS, 4) + 2 + layers(6, 5, 1)),
}


@pytest.mark.parametrize('name', MODELS)
def test_parameter_count(name):
  """Of the first case of each model, from its equations."""
  instance = make(name, OPTIONS[name][0])
  sizes = [x.size for x in jax.tree.leaves(instance.variables['params'])]
  assert sum(sizes) == COUNTS[name]


def test_paper_widths_are_the_default():
  """360 x 200 x 80 on 18 dimensions of 19 fields."""
  fields = tuple(Field(f'f{k}', vocab_size=2) for k in range(19))
  model = MODELS['shared_embedding'](Schema(fields))
  batch = toy.random_batch(1, Schema(fields), num_rows=2)
  shapes = jax.eval_shape(
      model.init, jax.random.key(0), jnp.zeros((2, 18)), batch)
  tower = shapes['params']['tower_cvr']
  kernels = [tower['hidden'][f'dense_{k}']['kernel'].shape for k in range(3)]
  kernels.append(tower['out']['kernel'].shape)
  assert kernels == [(342, 360), (360, 200), (200, 80), (80, 1)]


# Training mode.

DROPOUT = dict(UNITS, dropout=0.5)
NORM = dict(UNITS, norm='batch')


def test_dropout_acts_in_training_only():
  instance = make('shared_embedding', DROPOUT)
  plain = make('shared_embedding', UNITS)
  batch = toy.random_batch(SIZE)
  run = lambda seed: instance.train(batch, seed)[0]
  for task, want in plain(batch).items():
    np.testing.assert_array_equal(instance(batch)[task], want)
    assert not np.array_equal(run(0)[task], want)
    assert not np.array_equal(run(0)[task], run(1)[task])
    np.testing.assert_array_equal(run(0)[task], run(0)[task])


def test_dropout_keeps_the_mean():
  """With one hidden layer the logit is linear in what is dropped."""
  instance = make('shared_embedding', dict(tower_units=(20,), dropout=0.3))
  batch, num = toy.random_batch(3), 5000
  keys = jax.random.split(jax.random.key(0), num)
  run = jax.vmap(
      compiled(instance.model, True), in_axes=(None, None, None, 0))
  many, _ = run(instance.variables, instance.table, batch, keys)
  for task, want in instance(batch).items():
    spread = many[task].std(axis=0) / num**0.5
    assert (spread > 0).all()
    assert (np.abs(many[task].mean(axis=0) - want) < 5 * spread).all()


def norm64(params, x, act, real):
  """A tower of two hidden layers that normalises over the real rows."""
  stats = []
  for k in range(3):
    layer = params['hidden'][f'dense_{k}'] if k < 2 else params['out']
    x = x @ np.float64(layer['kernel']) + np.float64(layer['bias'])
    if k < 2:
      mean, var = x[real].mean(axis=0), x[real].var(axis=0)
      stats.append((mean, var))
      norm = params['hidden'][f'norm_{k}']
      x = (x - mean) / np.sqrt(var + 1e-5)
      x = x * np.float64(norm['scale']) + np.float64(norm['bias'])
      x = act(x)
  return x[:, 0], stats


def test_batch_norm_against_float64():
  """Product, norm over the real examples, activation; statistics move 10 %."""
  instance = make('shared_embedding', NORM)
  batch = toy.random_batch(12)
  where = np.float32([1] * 9 + [0] * 3)
  floats = batch.floats.copy()
  floats[9:] = 1e3  # What padding holds must not matter.
  batch = batch._replace(where=where, floats=floats)
  got, updated = instance.train(batch)
  x = embed64(np.float64(instance.table), batch, SCHEMA)
  for task in got:
    params = instance.variables['params'][f'tower_{task}']
    want, stats = norm64(params, x, ACTS['relu'], where > 0)
    np.testing.assert_allclose(got[task][:9], want[:9], rtol=1e-4, atol=1e-4)
    old = instance.variables['batch_stats'][f'tower_{task}']['hidden']
    new = updated[f'tower_{task}']['hidden']
    for k, (mean, var) in enumerate(stats):
      for key, value in (('mean', mean), ('var', var)):
        np.testing.assert_allclose(
            new[f'norm_{k}'][key],
            0.9 * np.float64(old[f'norm_{k}'][key]) + 0.1 * value,
            rtol=1e-4, atol=1e-4)


def test_padding_does_not_touch_batch_norm():
  """Neither its statistics nor the real rows, whatever padding holds."""
  instance = make('shared_embedding', NORM)
  real = toy.random_batch(9)
  want, want_stats = instance.train(real)
  for garbage in (0.0, 1e3):
    more = toy.random_batch(5, seed=1)
    more = more._replace(
        where=np.zeros(5, np.float32), floats=more.floats + garbage)
    both = jax.tree.map(lambda *x: np.concatenate(x), real, more)
    got, stats = instance.train(both._replace(rows=real.rows))
    for a, b in zip(jax.tree.leaves(stats), jax.tree.leaves(want_stats)):
      np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    for task in want:
      np.testing.assert_allclose(
          got[task][:9], want[task], rtol=1e-3, atol=1e-4)


def test_batch_norm_in_evaluation_uses_what_was_learnt():
  instance = make('shared_embedding', NORM)
  batch = toy.random_batch(SIZE)
  logits = instance(batch)
  _, updated = compiled(instance.model, False)(
      instance.variables, instance.table, batch, jax.random.key(0))
  jax.tree.map(np.testing.assert_array_equal,
               updated['batch_stats'], instance.variables['batch_stats'])
  trained, _ = instance.train(batch)
  for task in logits:
    assert not np.allclose(logits[task], trained[task])


# Other precisions, and what the gates did.


def is_linear(case):
  """True for a model without hidden layers."""
  return case[0] == 'shared_embedding' and not case[1]['tower_units']


@pytest.mark.slow
def test_bfloat16(case):
  """Near the float32 outputs; parameters, logits and gradients are float32."""
  name, options = case
  plain, half = make(*case), make(name, dict(options, dtype='bfloat16'))
  assert {x.dtype for x in jax.tree.leaves(half.variables)} == {
      jnp.dtype('float32')}
  half = dataclasses.replace(
      half, variables=plain.variables, table=plain.table)
  batch = toy.random_batch(SIZE)
  got = half(batch)
  for task, want in plain(batch).items():
    assert got[task].dtype == jnp.float32
    error = np.abs(got[task] - want).max() / np.abs(want).max()
    # A tower without hidden layers has nothing to round.
    assert error == 0 if is_linear(case) else error > 1e-5
    assert error < 0.06
  shapes = jax.eval_shape(
      compiled_gradients(half.model), half.variables, half.table, batch)
  assert {g.dtype for g in jax.tree.leaves(shapes)} == {np.dtype('float32')}


def test_every_layer_computes_in_bfloat16(case):
  """The output of each linear layer, norm and activation between the ends."""
  name, options = case
  half = make(name, dict(options, dtype='bfloat16'))
  batch = toy.random_batch(SIZE)

  def layers(variables, table):
    _, updated = half.model.apply(
        variables, table, batch, train=True,
        rngs={'dropout': jax.random.key(0)}, mutable=True,
        capture_intermediates=True)
    return updated['intermediates']

  shapes = jax.eval_shape(layers, half.variables, half.table)
  inner = {
      path: leaf.dtype.name
      for path, leaf in (
          ('/'.join(str(getattr(k, 'key', k)) for k in keys), leaf)
          for keys, leaf in jax.tree.leaves_with_path(shapes))
      if re.search(r'/(dense|norm|activation)_\d+/__call__', path)}
  assert bool(inner) == (not is_linear(case))
  wrong = {path: kind for path, kind in inner.items() if kind != 'bfloat16'}
  assert not wrong


@pytest.mark.slow
def test_gates_are_reported(case, instance):
  """Weights of every gate, for each example and expert, that sum to 1."""
  sown = instance.gates(toy.random_batch(SIZE))
  gates = {n for n in instance.variables['params']
           if 'gate' in n and 'native' not in n}
  assert set(sown) == gates
  assert bool(gates) == (
      case[0] in ('mmoe', 'ple', 'stem', 'adatt')
      or bool(case[1].get('num_experts')))
  for (weights,) in sown.values():
    assert weights.shape[0] == SIZE and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_activations(activation):
  instance = make('shared_embedding', dict(UNITS, activation=activation))
  batch = toy.random_batch(SIZE)
  for logits in (instance(batch), instance.train(batch)[0]):
    assert all(np.isfinite(x).all() for x in logits.values())

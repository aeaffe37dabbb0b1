"""Outputs of each architecture: golden values, and the errors of others.

Conformance of all models is in test_models.py, parts are in test_layers.py.
"""

import dataclasses
import functools
import json
import re

from esmm_jax.models import MODELS
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
from esmm_jax.types import InputError
from flax.traverse_util import flatten_dict, unflatten_dict
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy
from tests.golden import make_golden
from tests.golden.make_golden import CASES


pytestmark = pytest.mark.usefixtures('quick_compilation')

STORED = json.loads(make_golden.FILE.read_text('utf-8'))
BATCH = toy.random_batch(make_golden.EXAMPLES, num_rows=make_golden.ROWS)

# Golden names -> paths in the Linen tree, one substitution after the other.
PATHS = (
    (r'^tower (\w+)/layer', r'tower_\1/hidden/layer'),
    (r'^tower (\w+)/out', r'tower_\1/out'),
    (r'^(relation|transfer|query|key|value) (\w+)/', r'tower_\2/\1/'),
    (r'^bottom/', 'shared/'),
    (r'^group (\d)/', r'shared_group_\1/'),
    (r'^expert shared (\d)/', r'shared_experts/expert_\1/'),
    (r'^expert shared (\d) (\d)/', r'shared_experts_\1/expert_\2/'),
    (r'^expert (\w+) (\d) (\d)/', r'expert_\1_\2/expert_\3/'),
    (r'^(gate .*)/layer', r'\1/hidden/layer'),
    (r'^gate shared/', 'shared_gate/'),
    (r'^gate shared (\d)/', r'shared_gate_\1/'),
    (r'^gate (\w+) (\d)/', r'gate_\1_\2/'),
    (r'^gate (\w+)/', r'gate_\1/'),
    (r'^native shared (\d)/v', r'shared_gate_native_\1/weights'),
    (r'^native (\w+) (\d)/v', r'gate_native_\1_\2/weights'),
    (r'^cross shared/', 'shared_cross/'),
    (r'^cross (\w+)/', r'tower_\1_cross/'),
    (r'^products shared/V', 'shared_products/float_vectors'),
    (r'^products (\w+)/V', r'tower_\1_products/float_vectors'),
    (r'^fm (\w+)/h', r'tower_\1_fm/product_weights'),
    (r'^fm (\w+)/w', r'tower_\1_fm/float_weights'),
    (r'/layer(\d)/down/', r'/down_\1/'),
    (r'/layer(\d)/dice/', r'/activation_\1/norm/'),
    (r'/layer(\d)/slope', r'/activation_\1/slope'),
    (r'/layer(\d)/(scale|shift|mean|var)', r'/norm_\1/\2'),
    (r'/layer(\d)/', r'/dense_\1/'),
    (r'/(b|shift)$', '/bias'),
    (r'/W$', '/kernel'),
)


def path_of(name):
  for pattern, replacement in PATHS:
    name = re.sub(pattern, replacement, name)
  stats = name.endswith(('/mean', '/var'))
  return ('batch_stats' if stats else 'params', *name.split('/'))


@functools.cache
def golden(name):
  """Outputs and parameters of a golden case."""
  return make_golden.outputs(CASES[name])


def model_of(name, **options):
  case = CASES[name]
  tasks = CART_FUNNEL if case.tasks == make_golden.CART else FUNNEL
  schema = dataclasses.replace(toy.SCHEMA, tasks=tasks)
  return MODELS[case.model](schema, **{**case.options, **options})


def tree_of(values):
  """Golden parameters -> Linen variables and the table."""
  tables = [v for k, v in values.items() if k.startswith('table ')]
  flat = {path_of(k): jnp.float32(v.T) for k, v in values.items()
          if not k.startswith('table ')}
  return unflatten_dict(flat), jnp.float32(np.concatenate(tables, axis=1))


def run(model, variables, table):
  """Task -> outputs. One operation at a time: the cases share many."""
  return model.apply(variables, table, BATCH)


def gradients(model, variables, table, task):
  """Of the sum of one task's outputs: path -> any non-zero, and the table's."""

  def total(params, table):
    return model.apply({**variables, 'params': params}, table, BATCH)[
        task].sum()

  params, table = jax.jit(jax.grad(total, (0, 1)))(variables['params'], table)
  flat = flatten_dict(params, sep='/')
  return {k: bool(np.any(g)) for k, g in flat.items()}, np.asarray(table)


def changed(variables, part):
  """All parameters under the path `part` moved, each by another number."""
  flat, count = flatten_dict(variables, sep='/'), 0
  for path, value in flat.items():
    if path.startswith(f'params/{part}'):
      count += 1
      moves = np.cos(np.arange(value.size)).reshape(value.shape)
      flat[path] = value + 0.1 * count * moves
  assert count
  return unflatten_dict(flat, sep='/')


def assert_same(got, want):
  assert set(got) == set(want)
  for task in want:
    np.testing.assert_array_equal(got[task], want[task])


def assert_close(got, want):
  assert set(got) == set(want)
  for task in want:
    np.testing.assert_allclose(got[task], want[task], rtol=1e-5, atol=1e-5)


# Golden values.


@pytest.mark.parametrize('name', CASES)
def test_golden(name):
  """The outputs, and no parameter that the equations do not have."""
  _, values = golden(name)
  model, (variables, table) = model_of(name), tree_of(values)
  shapes = jax.eval_shape(model.init, jax.random.key(0), table, BATCH)
  assert jax.tree.map(jnp.shape, variables) == jax.tree.map(jnp.shape, shapes)
  got = run(model, variables, table)
  assert {x.dtype for x in got.values()} == {jnp.dtype('float32')}
  assert_close(got, STORED[name]['outputs'])


def test_the_file_is_what_the_program_makes():
  """Run `python -m tests.golden.make_golden` after a change of cases."""
  assert set(STORED) == set(CASES)
  for name, stored in STORED.items():
    outputs, values = golden(name)
    assert make_golden.checksum(values) == stored['parameters'], name
    assert set(outputs) == set(stored['outputs'])
    for task, want in stored['outputs'].items():
      np.testing.assert_allclose(outputs[task], want, rtol=1e-12, atol=1e-12)


def test_every_model_has_golden_values_that_say_something():
  """Outputs differ between the examples: no tower is dead."""
  assert {case.model for case in CASES.values()} == set(MODELS)
  assert make_golden.FILE.stat().st_size < 200_000
  for name, stored in STORED.items():
    for task, values in stored['outputs'].items():
      assert np.ptp(values) > 0.1, (name, task)


# Forms found in public code: same parameters, other outputs.

WRONG = {
    'FuxiCTR: shared gate over shared experts only': (
        'ple square', 'shared_gate_sees_all', False),
    'Merlin: gates of every level read the raw input': (
        'ple square', 'gates_read_raw', True),
    'LibMTL: shared experts read the tasks': (
        'ple square', 'shared_experts_read_tasks', True),
    'parents hand on the probability': (
        'dbmtl one unit', 'hands_on_probability', True),
    'parents hand on the layer before the attention': (
        'aitm of three', 'hands_on_own', True),
    'gates do not read the shared embedding': (
        'stem (1, 1, 1)', 'gates_read_own', True),
    'PLE on several embeddings': ('stem (2, 2, 1)', 'own_experts_only', True),
}


@pytest.mark.parametrize('form', WRONG)
def test_wrong_forms(form):
  """They would fail: far from ours, which are near the right ones."""
  name, option, value = WRONG[form]
  right, values = golden(name)
  wrong, same = make_golden.outputs(CASES[name], **{option: value})
  assert_same(same, values)
  assert_close(run(model_of(name), *tree_of(values)), right)
  last = list(right)[-1]
  assert np.abs(right[last] - wrong[last]).max() > 0.01


# MMoE and PLE.


def test_mmoe_gates_are_one_product():
  variables, _ = tree_of(golden('mmoe')[1])
  shapes = jax.tree.map(jnp.shape, variables['params'])
  for task in ('ctr', 'cvr'):
    assert shapes[f'gate_{task}'] == {'out': {'kernel': (make_golden.WIDTH, 3)}}


def test_mmoe_with_the_same_gates_is_one_gate():
  one, table = tree_of(golden('mmoe one gate')[1])
  params = dict(one['params'])
  gate = params.pop('shared_gate')
  params |= dict(gate_ctr=gate, gate_cvr=gate)
  got = run(model_of('mmoe'), {'params': params}, table)
  assert_same(got, run(model_of('mmoe one gate'), one, table))
  params['gate_cvr'] = jax.tree.map(jnp.negative, gate)
  other = run(model_of('mmoe'), {'params': params}, table)
  np.testing.assert_array_equal(other['ctr'], got['ctr'])
  assert np.abs(other['cvr'] - got['cvr']).min() > 1e-3


def test_one_level_is_customized_gate_control():
  name = 'ple (1, 1, 1)'
  net = make_golden.Net(CASES[name])
  table = net.param('table shared', make_golden.ROWS, make_golden.D)
  got = run(model_of(name), *tree_of(golden(name)[1]))
  for b in range(make_golden.EXAMPLES):
    x = np.concatenate(list(make_golden.fields(BATCH, b, table).values()))
    want = make_golden.cgc(net, {'shared': x})
    assert_close({t: got[t][b] for t in got}, want)


@pytest.mark.parametrize('levels', [1, 2, 3])
def test_the_last_level_has_no_shared_gate(levels):
  model = model_of('ple (2, 2, 1)', levels=levels)
  table = jnp.zeros((make_golden.ROWS, make_golden.D))
  shapes = jax.eval_shape(model.init, jax.random.key(0), table, BATCH)
  gates = {n for n in shapes['params'] if n.startswith('shared_gate')}
  assert gates == {f'shared_gate_{j}' for j in range(levels - 1)}


# DBMTL.


def outputs_with(*edges):
  """Of a model with these edges between three tasks."""
  name = 'dbmtl two parents'
  return run(model_of(name, relations=edges), *tree_of(golden(name)[1]))


def test_the_order_of_edges_does_not_matter():
  got = outputs_with('ctr -> ptr', 'atr->ptr', 'ctr -> ptr')
  assert_same(got, outputs_with('atr -> ptr', 'ctr -> ptr'))


@pytest.mark.parametrize('edges', [
    ('ctr -> like', 'like -> buy'),
    ('buy -> ctr', 'like -> buy'),
    ('ctr -> buy', 'like -> buy', 'like -> ctr'),
    ('like -> ctr', 'buy -> ctr'),
], ids=str)
def test_the_order_of_tasks_does_not_matter(edges):
  """Towers may even be listed before their parents."""
  outputs, variables, rng = [], None, np.random.default_rng(0)
  table = jnp.float32(golden('dbmtl')[1]['table shared'])
  for order in (('like', 'buy'), ('buy', 'like')):
    tasks = (CART_FUNNEL[0], *(Task(n, n, 'ctr') for n in order))
    model = MODELS['dbmtl'](
        dataclasses.replace(toy.SCHEMA, tasks=tasks),
        **{**CASES['dbmtl'].options, 'relations': edges})
    if not variables:
      shapes = jax.eval_shape(model.init, jax.random.key(0), table, BATCH)
      variables = jax.tree.map(
          lambda x: np.float32(rng.normal(size=x.shape)), shapes)
    outputs.append(run(model, variables, table))
    if list(outputs[-1]) != ['ctr', *order]:
      pytest.fail('this compares one order with itself')
  assert_same(outputs[1], outputs[0])


@pytest.mark.parametrize('edges, words', [
    (('atr -> ptr', 'ptr -> atr'), ('atr', 'ptr', 'circle')),
    (('ctr -> ctr',), ('ctr <- ctr',)),
    (('ctr -> prt',), ("'ctr -> prt'", "'prt' is no task", "mean 'ptr'")),
    (('ctr ptr',), ("'ctr ptr'", '"ctr -> cvr"')),
    (('funnel', 'ctr -> ptr'), ("'funnel'",)),
], ids=str)
def test_edges_that_are_wrong(edges, words):
  with pytest.raises(InputError) as e:
    outputs_with(*edges)
  assert all(word in str(e.value) for word in words), e.value


def test_gradients_flow_back_through_relations():
  model, (variables, table) = model_of('dbmtl'), tree_of(golden('dbmtl')[1])
  moved, _ = gradients(model, variables, table, 'cvr')
  ctr = {k: v for k, v in moved.items() if k.startswith('tower_ctr/')}
  assert any(ctr.values()) and ctr == {k: '/out/' not in k for k in ctr}
  moved, _ = gradients(model, variables, table, 'ctr')
  assert not any(v for k, v in moved.items() if k.startswith('tower_cvr/'))


def test_without_edges_towers_are_plain():
  """The relation network is two more hidden layers of the task's own tower."""
  variables, table = tree_of(golden('dbmtl no edges')[1])
  want = run(model_of('dbmtl no edges'), variables, table)
  params = {'shared': variables['params']['shared']}
  for task in want:
    tower = variables['params'][f'tower_{task}']
    hidden = {**tower['hidden'], 'dense_2': tower['relation']['dense_0']}
    params[f'tower_{task}'] = dict(hidden=hidden, out=tower['out'])
  plain = MODELS['shared_bottom'](
      toy.SCHEMA, tower_units=(4, 3, 3), shared_units=(5,), activation='tanh')
  assert_close(run(plain, {'params': params}, table), want)


# AITM.


@pytest.mark.parametrize('stop', [False, True])
def test_stop_gradient(stop):
  """The outputs do not change; the tower before gets a gradient or none."""
  outputs, values = golden('aitm of three')
  model = model_of('aitm of three', stop_gradient=stop)
  variables, table = tree_of(values)
  assert_close(run(model, variables, table), outputs)
  moved, _ = gradients(model, variables, table, 'ptr')
  for task in ('ctr', 'atr'):
    hidden = [v for k, v in moved.items() if k.startswith(f'tower_{task}/')
              and '/out/' not in k]
    assert hidden and set(hidden) == {not stop}
  assert not any(moved[f'tower_{t}/out/bias'] for t in ('ctr', 'atr'))
  assert all(v for k, v in moved.items() if k.startswith('tower_ptr'))


def test_first_tower_is_not_touched_by_the_second():
  variables, table = tree_of(golden('aitm')[1])
  want = run(model_of('aitm'), variables, table)
  got = run(model_of('aitm'), changed(variables, 'tower_cvr'), table)
  np.testing.assert_array_equal(got['ctr'], want['ctr'])
  assert (got['cvr'] != want['cvr']).all()
  got = run(model_of('aitm'), changed(variables, 'tower_ctr/hidden'), table)
  assert (got['cvr'] != want['cvr']).all()


# STEM.


@pytest.mark.parametrize('task, other', [('ctr', 'cvr'), ('cvr', 'ctr')])
def test_forward_reads_all_backward_only_its_own(task, other):
  name = 'stem (1, 1, 1)'
  model, (variables, table) = model_of(name), tree_of(golden(name)[1])
  moved, rows = gradients(model, variables, table, task)
  for path, got in moved.items():
    part = path.split('/')[0]
    assert got == (other not in part), path
  names = ['ctr', 'cvr', 'shared']
  blocks = dict(zip(names, np.split(rows, 3, axis=1)))
  assert not blocks[other].any()
  assert blocks[task].any() and blocks['shared'].any()
  got = run(model, changed(variables, f'expert_{other}_0'), table)
  want = run(model, variables, table)
  assert (got[task] != want[task]).all()
  block = names.index(other) * make_golden.D
  table = table.at[:, block : block + make_golden.D].multiply(-1)
  got = run(model, variables, table)
  assert (got[task] != want[task]).all()


# AdaTT.


def test_own_experts_are_a_residual():
  """Of weight 1 with one expert a unit, learnt with more, or none."""
  for n, learnt in (
      ((2, 1, 0), 0), ((2, 1, 1), 0), ((2, 2, 0), 4), ((2, 2, 1), 5)):
    name = f'adatt {n}'
    right, values = golden(name)
    variables, table = tree_of(values)
    native = [n for n in variables['params'] if 'native' in n]
    assert len(native) == learnt
    without = model_of(name, residual=False)
    shapes = jax.eval_shape(without.init, jax.random.key(0), table, BATCH)
    assert set(shapes['params']) == set(variables['params']) - set(native)
    assert_close(run(model_of(name), variables, table), right)
    got = run(without, variables, table)
    for task in right:
      assert np.abs(got[task] - right[task]).max() > 0.1
    if learnt:  # Weights of 0 are no residual.
      params = {k: jax.tree.map(jnp.zeros_like, v) if k in native else v
                for k, v in variables['params'].items()}
      assert_close(run(model_of(name), {'params': params}, table), got)

"""The gradients of the tasks, weighed: against gradients of whole losses.

The reference differentiates the loss of each term on the whole batch with the
whole table, and combines by the formulas in numpy, in float64.
"""

import functools
import itertools

from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing.binding import bind, traced_options
from esmm_jax.balancing.method import Method
from esmm_jax.balancing.options import BalancingOptions
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.models import MODELS
from esmm_jax.training.gradients import gradients, inputs, weighing
from esmm_jax.training.initial import with_balance
from esmm_jax.training.step import train_step
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.models.test_layers import SMALL
from tests.training import test_step as steps

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]
TERMS = ('ctr', 'ctcvr')
LOSS = {'ctr': 1.0, 'ctcvr': 2.0, 'cvr_clicked': 0.0}


def often(every, *names):
  """Parameters of a test; those with other names are in the long tests."""
  return [
      pytest.param(n, marks=[] if n in names else pytest.mark.long)
      for n in every
  ]


EVERY = often(MODELS, 'shared_embedding')


def constant(gram, losses, counts, state, key):
  """Weighs the tasks with 3 and .5, found to need no gradient."""
  del gram, losses, key
  return jnp.asarray([3.0, 0.5]), state


def constant_of_gram(gram, losses, counts, state, key):
  """The same weights, as if the products were needed for them."""
  del losses, counts, key
  return jnp.asarray([3.0, 0.5]) + 0 * gram[0, 0], state


def make(method, name='shared_embedding', parts=1, loss=None, **options):
  """Plan, weights and state of one replica on the funnel."""
  options = BalancingOptions(name='mine', **options)
  plan = steps.make_plan(
      name=name, model=_small(name), micro_batches=parts)
  plan = plan._replace(balancer=bind(options, method, TERMS))
  hyper = steps.make_hyper(
      [0.1], {k: [w] for k, w in (loss or LOSS).items()})
  state = steps.start(plan)
  return plan, hyper, with_balance(state, plan, hyper, steps.make_batch(0))


def _small(name):
  small = dict(SMALL[name])
  for key in ('schema', 'tower_units'):
    small.pop(key, None)
  return small


def computed(plan, hyper, state, batch):
  touched = state.table[np.minimum(batch.rows, steps.SCHEMA.num_rows - 1)]
  keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(state.keys, 0)
  run = jax.jit(functools.partial(gradients, plan))
  return touched, run(
      state.net, touched, state.stats, batch, keys, hyper, jnp.int32(0),
      state.balance)


def each_gradient(plan, state, touched, batch, loss=None):
  """Term -> the gradient of its weighted mean, by the network and the rows."""

  def mean(name, net, touched):
    logits = plan.model.apply({'params': net}, touched, batch)
    total, count = plan.terms(logits, batch.labels, batch.where)[name]
    return (loss or LOSS)[name] * total / jnp.maximum(count, 1)

  net = jax.tree.map(lambda x: x[0], state.net)
  return {
      k: jax.jit(jax.grad(functools.partial(mean, k), argnums=(0, 1)))(
          net, touched[:, 0])
      for k in TERMS
  }


def flat(tree):
  """Path -> float64."""
  return {
      jax.tree_util.keystr(p): np.asarray(x, np.float64)
      for p, x in jax.tree_util.tree_leaves_with_path(tree)
  }


def is_shared(each, path):
  return all(np.any(flat(e)[path]) for e in each.values())


def products(each, paths):
  """G in float64 over some leaves."""
  leaves = [[flat(each[k])[p] for p in paths] for k in TERMS]
  return np.array([
      [sum((x * y).sum() for x, y in zip(a, b)) for b in leaves]
      for a in leaves
  ])


def assert_near(got, wanted, tolerance=2e-5):
  scale = max(np.abs(w).max() for w in wanted.values())
  for path, value in wanted.items():
    np.testing.assert_allclose(
        got[path], value, rtol=tolerance, atol=tolerance * scale, err_msg=path)


def of_result(result):
  net = jax.tree.map(lambda x: x[0], result.net)
  return flat((net, result.rows[:, 0]))


def test_weights_of_the_state_are_factors_of_the_loss_weights():
  """To the bit, also where the gradients are compared beside it."""
  batch = steps.make_batch(0)
  static = steps.make_plan(model=_small('shared_embedding'))
  scaled = {'ctr': 3.0 * 1.0, 'ctcvr': 0.5 * 2.0, 'cvr_clicked': 0.0}
  hyper = steps.make_hyper([0.1], {k: [w] for k, w in scaled.items()})
  _, wanted = computed(static, hyper, steps.start(static), batch)
  method = Method(constant, towers='weighted')
  for measure in (False, True):
    _, got = computed(*make(method, measure=measure), batch)
    assert (of_result(got).keys()) == (of_result(wanted).keys())
    for path, value in of_result(wanted).items():
      np.testing.assert_array_equal(of_result(got)[path], value)
    # The losses are told with the static weights.
    assert float(got.means['loss'][0]) == pytest.approx(
        float(got.means['ctr'][0] + 2 * got.means['ctcvr'][0]), rel=1e-6)


@pytest.mark.parametrize('parts', [1, 4])
@pytest.mark.parametrize('gram', ['exact', 'representation'])
@pytest.mark.parametrize('name', EVERY)
def test_the_combined_gradient(name, gram, parts):
  """On what two tasks train the weighted sum, elsewhere each task's own.

  Combined before the scatter (representation) it is as after it.
  """
  batch = steps.make_batch(0)
  made = make(Method(constant_of_gram), name, parts, gram=gram)
  touched, got = computed(*made, batch)
  plan, _, state = made
  each = each_gradient(plan, state, touched, batch)
  ctr, ctcvr = (flat(each[k]) for k in TERMS)
  wanted = {}
  for path in ctr:
    if path == '[1]':  # Columns of a table that one task trains have no other.
      columns = np.split(
          np.arange(ctr[path].shape[-1]), plan.model.num_tables)
      wanted[path] = np.zeros_like(ctr[path])
      for c in columns:
        a, b = ctr[path][:, c], ctcvr[path][:, c]
        wanted[path][:, c] = (
            3 * a + 0.5 * b if a.any() and b.any() else a + b)
    elif is_shared(each, path):
      wanted[path] = 3 * ctr[path] + 0.5 * ctcvr[path]
    else:
      wanted[path] = ctr[path] + ctcvr[path]
  assert_near(of_result(got), wanted)


def test_towers_get_the_weighted_gradient_where_that_is_asked():
  batch = steps.make_batch(0)
  made = make(Method(constant_of_gram), towers='weighted')
  touched, got = computed(*made, batch)
  each = each_gradient(made[0], made[2], touched, batch)
  ctr, ctcvr = (flat(each[k]) for k in TERMS)
  assert_near(
      of_result(got), {p: 3 * ctr[p] + 0.5 * ctcvr[p] for p in ctr})


def spy():
  """A method that hands out what it is told, through its state."""

  def weights(gram, losses, counts, state, key):
    del state, key
    return jnp.ones(2) + 0 * gram[0], {
        'gram': gram, 'losses': losses, 'counts': counts}

  def init(num):
    return {
        'gram': jnp.zeros((num, num)), 'losses': jnp.zeros(num),
        'counts': jnp.zeros(num)}

  return Method(weights, init)


def told(made, batch, part=''):
  touched, got = computed(*made, batch)
  return touched, {k: np.asarray(v[0]) for k, v in got.balance[part].items()}


@pytest.mark.parametrize('parts', [1, 4])
@pytest.mark.parametrize('name', EVERY)
def test_products_are_of_the_shared_parameters(name, parts):
  batch = steps.make_batch(0)
  made = make(spy(), name, parts)
  touched, got = told(made, batch)
  each = each_gradient(made[0], made[2], touched, batch)
  num = made[0].model.num_tables
  # A table by columns, so that private embeddings are told apart.
  split = {
      k: (net, dict(enumerate(np.split(np.asarray(rows), num, axis=-1))))
      for k, (net, rows) in each.items()
  }
  paths = [p for p in flat(split['ctr']) if is_shared(split, p)]
  np.testing.assert_allclose(got['gram'], products(split, paths), rtol=2e-5)
  means = {
      k: LOSS[k] * float(t / n)
      for k, (t, n) in made[0].terms(
          made[0].model.apply(
              {'params': jax.tree.map(lambda x: x[0], made[2].net)},
              touched[:, 0], batch),
          batch.labels, batch.where).items()
  }
  np.testing.assert_allclose(
      got['losses'], [means[k] for k in TERMS], rtol=1e-5)
  np.testing.assert_array_equal(got['counts'], [batch.where.sum()] * 2)


@pytest.mark.parametrize('parts', often([1, 4], 4))
def test_products_of_the_representation(parts):
  """Of each example's embeddings: an id that comes twice counts twice."""
  batch = steps.make_batch(0)
  made = make(spy(), parts=parts, gram='representation')
  touched, got = told(made, batch)
  plan, _, state = made
  net = jax.tree.map(lambda x: x[0], state.net)
  x = inputs.embed(plan.model, net, {}, touched[:, 0], batch)

  def mean(name, offset):
    with inputs.added(offset):
      logits = plan.model.apply({'params': net}, touched[:, 0], batch)
    total, count = plan.terms(logits, batch.labels, batch.where)[name]
    return LOSS[name] * total / count

  zeros = [jnp.zeros_like(x[0])]
  each = [
      np.asarray(jax.grad(functools.partial(mean, k))(zeros)[0], np.float64)
      for k in TERMS
  ]
  each = [e[:, :-1] for e in each]  # `age` is a number, no embedding.
  wanted = [[(a * b).sum() for b in each] for a in each]
  np.testing.assert_allclose(got['gram'], wanted, rtol=2e-5)
  _, exact = told(make(spy()), batch)
  assert not np.allclose(got['gram'], exact['gram'], rtol=1e-2)


def test_each_part_is_asked_for_itself():
  batch = steps.make_batch(0)
  made = _each_part('mmoe')
  touched, got = computed(*made, batch)
  each = each_gradient(made[0], made[2], touched, batch)
  paths = [p for p in flat(each['ctr']) if is_shared(each, p)]
  by_part = {
      'tables': [p for p in paths if p == '[1]'],
      'gates': [p for p in paths if "gate" in p],
      'trunk': [p for p in paths if 'experts' in p],
      'towers': [p for p in paths if "'tower" in p],
  }
  assert sorted(sum(by_part.values(), [])) == sorted(paths)
  for part, ours in by_part.items():
    assert ours, part
    np.testing.assert_allclose(
        got.balance[part]['gram'][0], products(each, ours), rtol=2e-5)


def _each_part(name):
  options = BalancingOptions(name='mine', parts='each')
  plan = steps.make_plan(name=name, model=_small(name))
  plan = plan._replace(balancer=bind(options, spy(), TERMS))
  hyper = steps.make_hyper([0.1], {k: [w] for k, w in LOSS.items()})
  state = steps.start(plan)
  return plan, hyper, with_balance(state, plan, hyper, steps.make_batch(0))


def test_a_method_without_a_solution_leaves_static_weights_and_is_counted():

  def unsolvable(gram, losses, counts, state, key):
    del losses, counts, key
    return jnp.full(2, jnp.nan) * gram[0], state + 1

  method = Method(unsolvable, lambda num: jnp.zeros(()))
  batch = steps.make_batch(0)
  touched, got = computed(*make(method), batch)
  assert float(got.means['balancing:degenerate'][0]) == 1
  assert float(got.balance[''][0]) == 0
  each = each_gradient(*make(method)[::2], touched, batch)
  ctr, ctcvr = (flat(each[k]) for k in TERMS)
  assert_near(of_result(got), {p: ctr[p] + ctcvr[p] for p in ctr})


@pytest.mark.parametrize('name', often(
    BALANCERS, 'static', 'random', 'uncertainty', 'pcgrad', 'mgda', 'pcd'))
def test_a_batch_without_clicks_trains_ctr(name):
  """Of the click space: CVR has no row, so CTR is trained as if alone."""
  terms = ('ctr', 'cvr_clicked')
  plan = steps.make_plan(model=_small('shared_embedding'))
  plan = plan._replace(terms=ESTIMATORS['click_space'].terms)
  method, weights = BALANCERS[name], {'ctr': [1.0], 'cvr_clicked': [1.0]}
  extra = {'measure': True} if name == 'static' else {}
  if name == 'replay':
    pytest.skip('it needs a run: tests/training/balanced')
  plan = plan._replace(
      balancer=bind(BalancingOptions(name=name, **extra), method, terms))
  hyper = steps.make_hyper([0.1], weights)
  hyper = hyper._replace(balancing=_traced(name))
  batch = steps.make_batch(0)
  batch = batch._replace(
      labels={k: np.zeros_like(v) for k, v in batch.labels.items()})
  state = steps.init_state(
      plan, steps.SCHEMA.num_rows, 4, [0], batch, list(weights), 0.5)
  state = with_balance(state, plan, hyper, batch)
  _, got = computed(plan, hyper, state, batch)
  for value in jax.tree.leaves((got.net, got.rows, got.means, got.balance)):
    assert np.all(np.isfinite(value))
  moved = lambda task: any(
      np.any(x) for x in jax.tree.leaves(got.net[f'tower_{task}']))
  assert moved('ctr') and not moved('cvr')
  assert np.any(np.asarray(got.rows))
  means = {k: float(v[0]) for k, v in got.means.items()}
  assert means['balancing:present:ctr'] == 1
  assert means['balancing:present:cvr_clicked'] == 0
  assert means['balancing:complete'] == means['balancing:share:ctr'] == 0


def _traced(name, num=1):
  options = traced_options(BalancingOptions(name=name))
  return {k: jnp.full(num, v, jnp.float32) for k, v in options.items()}


def test_a_model_without_shared_parameters_is_refused():
  with pytest.raises(InputError, match='no parameter of SingleTask'):
    _click_space_of('single_task')


def _click_space_of(name):
  plan = steps.make_plan(name=name, model=_small(name))
  plan = plan._replace(
      terms=ESTIMATORS['click_space'].terms,
      balancer=bind(
          BalancingOptions(name='mine'), Method(constant_of_gram),
          ('ctr', 'cvr_clicked')))
  hyper = steps.make_hyper([0.1], {'ctr': [1.0], 'cvr_clicked': [1.0]})
  batch = steps.make_batch(0)
  state = steps.init_state(
      plan, steps.SCHEMA.num_rows, 4, [0], batch, ['ctr', 'cvr_clicked'], 0.5)
  return with_balance(state, plan, hyper, batch)


@pytest.mark.parametrize(
    'function, wanted',
    [
        (constant, (True, False)),
        (constant_of_gram, (False, True)),
        (lambda g, x, n, s, k: (x, s), (False, False)),
        (lambda g, x, n, s, k: (s, s + x), (True, False)),
        (lambda g, x, n, s, k: (s, s + g[0]), (True, True)),
        (lambda g, x, n, s, k: (jax.random.normal(k, (2,)), s), (True, False)),
    ],
)
def test_the_needs_of_a_method_are_found(function, wanted):
  method = Method(function, lambda num: jnp.zeros(num))
  balancer = bind(BalancingOptions(name='mine'), method, TERMS)
  state = {'': jnp.zeros(2)}
  assert weighing.needs(balancer, {}, state, jax.random.key(0)) == wanted


@pytest.mark.long
@pytest.mark.parametrize('sequentially', [True, False])
def test_replicas_have_states_of_their_own(sequentially):
  """Each as it is alone; options that are numbers differ."""
  plan = steps.make_plan(
      model=_small('shared_embedding'), map_replicas_sequentially=sequentially)
  options = BalancingOptions(name='gradvac')
  plan = plan._replace(balancer=bind(options, BALANCERS['gradvac'], TERMS))
  traced = traced_options(options)
  (name,) = traced
  values = traced[name] * np.array([1.0, 0.5])

  def train(replicas):
    weights = {k: [w] * len(replicas) for k, w in LOSS.items()}
    hyper = steps.make_hyper([0.1 * (r + 1) for r in replicas], weights)
    hyper = hyper._replace(
        balancing={name: jnp.asarray(values[replicas], jnp.float32)})
    state = steps.start(plan, replicas)
    state = with_balance(state, plan, hyper, steps.make_batch(0))
    return steps.steps(
        plan, state, hyper, [steps.make_batch(k) for k in range(4)])

  both = train([0, 1])
  alone = [train([r]) for r in range(2)]
  for part in ('balance', 'net', 'sums'):
    joined = jax.tree.map(
        lambda *xs: jnp.concatenate(xs), *(getattr(s, part) for s in alone))
    steps.assert_close(joined, getattr(both, part), 1e-4)
  states = jax.tree.leaves(both.balance)
  assert all(np.any(x[0] != x[1]) for x in states)


def test_it_compiles_once():
  plan, hyper, state = make(BALANCERS['pcgrad'])
  step = jax.jit(functools.partial(train_step, plan=plan))
  for k in range(3):
    state = step(state, steps.make_batch(k), hyper)
  assert step._cache_size() == 1
  pairs = itertools.combinations(TERMS, 2)
  assert {f'balancing:cosine:all:{a}|{b}' for a, b in pairs} <= set(state.sums)


def test_a_term_of_weight_0_costs_no_gradient():
  """The loss of clicked CVR, whose weight is 0 in all replicas."""
  plan, hyper, state = make(BALANCERS['pcgrad'])
  every = plan.balancer._replace(trained=(*TERMS, 'cvr_clicked'))
  step = lambda p: jax.jit(functools.partial(train_step, plan=p))
  products, ends = [], []
  for each in (plan, plan._replace(balancer=every)):
    compiled = step(each).lower(state, steps.make_batch(0), hyper).compile()
    products.append(compiled.as_text().count(' dot('))
    ends.append(step(each)(state, steps.make_batch(0), hyper))
  assert products[0] < products[1]
  steps.assert_close(ends[0].net, ends[1].net, 1e-6)
  steps.assert_close(ends[0].sums, ends[1].sums, 1e-6)


def test_what_a_method_refuses_is_refused_when_it_is_bound():
  with pytest.raises(InputError, match="primary.*'cvr'"):
    bind(
        BalancingOptions(name='pcd', options={'primary': 'cvr'}),
        BALANCERS['pcd'], TERMS)
  whole = Method(lambda gram, losses, counts, state, key: (losses.sum(), state))
  with pytest.raises(InputError, match=r'shape \(\), not one for each of'):
    bind(BalancingOptions(name='mine'), whole, TERMS)

"""Terms whose coefficient is known late: counts from logits, factors.

And what else an estimator may see in a step: its heads and the step.
"""

import functools

from esmm_jax.estimators.contract.dependence import logit_counts
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.models import MODELS
from esmm_jax.tasks import Head
from esmm_jax.training.gradients import gradients
from esmm_jax.training.phases import flops_per_example
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import test_step as steps_lib

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]

WEIGHTS = {'ctr': 1.0, 'cvr_clicked': 0.7}


def losses(logits, labels, where):
  ctr = cross_entropy(logits['ctr'], labels['click'])
  cvr = cross_entropy(logits['cvr'], labels['conversion'])
  return ctr, cvr, where * labels['click']


def self_normalised(logits, labels, where, *, power=1.0):
  """Clicks weigh 1 / pCTR^power, and are divided by the sum of the weights."""
  ctr, cvr, clicked = losses(logits, labels, where)
  p = jax.nn.sigmoid(jax.lax.stop_gradient(logits['ctr']))
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_clicked': sum_and_count(cvr, clicked / p**power),
  }


def plain(logits, labels, where):
  ctr, cvr, clicked = losses(logits, labels, where)
  return {
      'ctr': sum_and_count(ctr, where),
      'cvr_clicked': sum_and_count(cvr, clicked),
  }


def ratio(means):
  return {'cvr_clicked': jnp.minimum(means['ctr'] / means['cvr_clicked'], 0.9)}


def run(terms, parts=1, step=0, model=None, **options):
  """Gradients and means of one replica on one batch."""
  plan = steps_lib.make_plan(
      micro_batches=parts, model=model, **options)._replace(terms=terms)
  hyper = steps_lib.make_hyper([0.5], {k: [w] for k, w in WEIGHTS.items()})
  batch = steps_lib.make_batch(0)
  state = steps_lib.start(plan)
  touched = state.table[np.minimum(batch.rows, steps_lib.SCHEMA.num_rows - 1)]
  net_grads, row_grads, _, means, *_ = jax.jit(
      functools.partial(gradients, plan))(
          state.net, touched, state.stats, batch, state.keys, hyper,
          jnp.int32(step), {})
  return plan, state, touched, batch, (net_grads, row_grads, means)


def of_whole(plan, state, touched, batch, loss):
  """Gradients of `loss(logits, labels, where)` of the whole batch."""

  def total(net, touched):
    logits = plan.model.apply({'params': net}, touched, batch)
    return loss(logits, batch.labels, batch.where)

  net = jax.tree.map(lambda x: x[0], state.net)
  net, rows = jax.grad(total, argnums=(0, 1))(net, touched[:, 0])
  return jax.tree.map(lambda x: x[None], net), rows[:, None]


def test_which_counts_depend_on_logits():
  batch = steps_lib.make_batch(0)
  zeros = {t: jnp.zeros_like(batch.where) for t in ('ctr', 'cvr')}
  found = lambda terms: logit_counts(terms, zeros, batch.labels, batch.where)
  assert found(self_normalised) == ['cvr_clicked']
  assert found(plain) == []
  # Through a function that is traced apart, and through both branches.
  assert found(jax.jit(lambda *a: self_normalised(*a)))[-1] == 'cvr_clicked'
  assert found(functools.partial(self_normalised, power=0.0)) == ['cvr_clicked']


@pytest.mark.parametrize('parts', [1, 4])
def test_a_count_from_logits_is_that_of_the_whole_batch(parts):
  """A self-normalised mean: its gradient typed as one formula."""

  def loss(logits, labels, where):
    ctr, cvr, clicked = losses(logits, labels, where)
    w = clicked / jax.nn.sigmoid(jax.lax.stop_gradient(logits['ctr']))
    return (jnp.sum(where * ctr) / jnp.sum(where)
            + 0.7 * jnp.sum(w * cvr) / jnp.sum(w))

  *parts_of_run, (net, rows, means) = run(self_normalised, parts)
  want = of_whole(*parts_of_run, loss)
  steps_lib.assert_close((net, rows), want, 1e-6)
  plan, state, touched, batch = parts_of_run
  one = jax.tree.map(lambda x: x[0], state.net)
  logits = plan.model.apply({'params': one}, touched[:, 0], batch)
  np.testing.assert_allclose(
      means['loss'][0], loss(logits, batch.labels, batch.where), rtol=1e-6)


@pytest.mark.parametrize('parts', [1, 4])
def test_a_factor_from_the_losses_of_the_batch(parts):
  """weight x min(mean ctr / mean cvr, .9), without a gradient in the factor."""

  def loss(logits, labels, where):
    ctr, cvr, clicked = losses(logits, labels, where)
    a = jnp.sum(where * ctr) / jnp.sum(where)
    b = jnp.sum(clicked * cvr) / jnp.sum(clicked)
    factor = jax.lax.stop_gradient(jnp.minimum(a / b, 0.9))
    return a + 0.7 * factor * b

  *parts_of_run, (net, rows, means) = run(plain, parts, rescale=ratio)
  want = of_whole(*parts_of_run, loss)
  steps_lib.assert_close((net, rows), want, 1e-6)
  factor = min(float(means['ctr'][0] / means['cvr_clicked'][0]), 0.9)
  np.testing.assert_allclose(
      means['loss'][0],
      means['ctr'][0] + 0.7 * factor * means['cvr_clicked'][0], rtol=1e-6)


def test_the_step_is_seen():
  def terms(logits, labels, where, *, step):
    found = plain(logits, labels, where)
    total, count = found['cvr_clicked']
    return found | {'cvr_clicked': (total * jnp.minimum(step / 10, 1), count)}

  means = [run(terms, step=k, sees_step=True)[-1][-1]['cvr_clicked'][0]
           for k in (0, 5, 10, 99)]
  np.testing.assert_allclose(
      np.array(means) / means[-1], [0, 0.5, 1, 1], rtol=1e-6)


@pytest.mark.parametrize('name', MODELS)
def test_heads_are_towers_like_that_of_their_task(name):
  """They add a tower and no table, expert or gate, and change no task."""
  schema = steps_lib.SCHEMA
  batch = steps_lib.make_batch(0)
  bare = MODELS[name](schema)
  headed = MODELS[name](schema, heads=(Head('twin', 'cvr'), Head('c', 'ctr')))
  assert headed.num_tables == bare.num_tables
  table = jax.random.normal(
      jax.random.key(1), (schema.num_rows + 1, bare.num_tables * 4))
  rows = table[np.minimum(batch.rows, schema.num_rows)]
  init = lambda m: m.init(jax.random.key(0), rows, batch)['params']
  net, more = init(bare), init(headed)
  assert set(more) - set(net) == {'tower_twin', 'tower_c'}
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)
  assert shapes(more['tower_twin']) == shapes(net['tower_cvr'])
  assert shapes(more['tower_c']) == shapes(net['tower_ctr'])
  for key, values in net.items():
    steps_lib.assert_close(values, more[key], 0)
  # With the tower of its task a head gives the task's output.
  more = more | {'tower_twin': more['tower_cvr'], 'tower_c': more['tower_ctr']}
  outputs = headed.apply({'params': more}, rows, batch)
  assert list(outputs) == ['ctr', 'cvr', 'twin', 'c']
  np.testing.assert_array_equal(outputs['twin'], outputs['cvr'])
  np.testing.assert_array_equal(outputs['c'], outputs['ctr'])
  alone = bare.apply({'params': net}, rows, batch)
  np.testing.assert_array_equal(outputs['ctr'], alone['ctr'])


def test_heads_are_no_operations_of_a_prediction():
  heads = (Head('twin', 'cvr'), Head('other', 'ctr'))
  bare = steps_lib.make_plan()
  headed = bare._replace(model=bare.model.clone(heads=heads))
  batch = steps_lib.make_batch(0)
  assert flops_per_example(headed, 4, batch) == flops_per_example(
      bare, 4, batch) > 0

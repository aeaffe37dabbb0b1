"""Doubly robust estimators in the step, with every architecture."""

import functools

from esmm_jax.estimators import contract, ESTIMATORS
from esmm_jax.models import MODELS
from esmm_jax.training.state import init_state, reset_sums
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.training import test_step as steps

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


def train(name, model, options=None, weights=None, parts=1, num=5):
  """Returns the network after Adam's steps, and the terms' means of each."""
  bound = contract.bind(
      name, ESTIMATORS[name], options or {}, steps.SCHEMA.tasks)
  plan = steps.make_plan(
      steps.ADAM, name=model, model={'heads': bound.needs.heads},
      micro_batches=parts)
  plan = plan._replace(terms=bound.terms, rescale=bound.rescale)
  weights = bound.weights | (weights or {})
  stack = lambda values: {
      k: jnp.full(1, v, jnp.float32) for k, v in values.items()}
  hyper = TracedHyperparameters(
      jnp.full(1, 0.01), stack(weights), options=stack(bound.traced))
  state = init_state(
      plan, steps.SCHEMA.num_rows, 4, [0], steps.make_batch(0), list(weights),
      0.5)
  step_fn = jax.jit(functools.partial(train_step, plan=plan))
  means = []
  for k in range(num):
    state = step_fn(reset_sums(state), steps.make_batch(k % 2), hyper)
    means.append({k: float(v[0]) for k, v in state.sums.items()})
  return {'net': state.net, 'table': state.table}, means


@pytest.mark.parametrize('model', MODELS)
def test_the_error_head_trains_the_network_that_ips_trains(model):
  """All of it but the head, whose own loss is left out."""
  options = {'propensity_floor': 0.1}
  want, _ = train('ips', model, options)
  got, _ = train(
      'doubly_robust', model, options | {'error_head': True},
      {'imputation': 0.0})
  leaves = dict(jax.tree_util.tree_leaves_with_path(got['net']))
  shared = jax.tree_util.tree_leaves_with_path(want['net'])
  assert len(leaves) > len(shared)
  for path, value in shared:
    other = leaves[path]
    np.testing.assert_allclose(other, value, atol=2e-6, err_msg=str(path))
  # Where each output has a table, the head's comes last.
  width = want['table'].shape[-1]
  np.testing.assert_allclose(
      got['table'][..., :width], want['table'], atol=2e-6)


@pytest.mark.parametrize('model', MODELS)
@pytest.mark.parametrize(
    'name, options',
    [
        ('doubly_robust', {'imputation': 'mrdr'}),
        ('doubly_robust', {
            'error_head': True, 'imputation_normalization': 'impressions'}),
        ('stable_dr', {}),
    ],
    ids=['labels', 'errors', 'stable'])
def test_every_architecture_trains(name, options, model):
  """Each term that is a loss falls."""
  after, means = train(name, model, options, num=30)
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(after))
  losses = {'ctr', 'imputation', 'cvr_entire', 'cvr_clicked', 'propensity'}
  for term in losses & means[0].keys():
    if term != 'cvr_entire':  # Its guesses change.
      assert means[-2][term] < means[0][term], term


def test_parts_of_a_batch_give_the_step_of_the_whole():
  """Also of M^2, which is no sum of rows."""
  whole, means = train('stable_dr', 'shared_embedding')
  parted, means_of_parts = train('stable_dr', 'shared_embedding', parts=4)
  steps.assert_close(whole, parted, 5e-5)
  for a, b in zip(means, means_of_parts):
    assert a == pytest.approx(b, rel=1e-3, abs=1e-5)

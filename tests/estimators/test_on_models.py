"""Every estimator on every architecture: built, stepped, in parts, replicas."""

import functools

from esmm_jax.estimators import ESTIMATORS, funnel
from esmm_jax.models import MODELS
from esmm_jax.optim import lazy, network
from esmm_jax.training import parts
from esmm_jax.training.state import init_state, StepSpec
from esmm_jax.training.state import TracedHyperparameters
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.estimators.test_conformance import bound, CASES, COLUMNS
from tests.models.test_layers import SMALL
from tests.training.test_step import make_batch, SCHEMA, SGD

pytestmark = pytest.mark.usefixtures('quick_compilation')
# The architecture of tests that need one.
OFTEN = 'shared_bottom'
# Of the cases whose steps are compared in parts, that which is no long test.
IN_PARTS = 'normalization=self'
# Traced option -> a value that acts in the first steps.
OTHER = {
    'propensity_floor': 0.6, 'gamma': 0.5, 'alpha': 0.3, 'delay_unit': 5.0}


# Heads -> the first case that has them.
HEADS = {
    bound(case).needs.heads: case
    for case in reversed(CASES) if bound(case).needs.heads
}
DEFAULTS = [case for case, (_, values) in CASES.items() if not values]


def model_of(case, name):
  heads = bound(case).needs.heads
  return parts.model(SMALL[name], name, SCHEMA, heads)


def batch_of(case, seed):
  batch, needs = make_batch(seed), bound(case).needs
  rng = np.random.default_rng(seed)
  columns = [*needs.truth_labels, *(f'frozen_{t}' for t in needs.frozen)]
  num = len(batch.where)
  more = {
      c: (
          rng.choice(np.float32(COLUMNS[c]), num) if c in COLUMNS
          else rng.uniform(0.05, 0.9, num).astype(np.float32)
      )
      for c in columns
  }
  if 'conversion_eventually' in more:
    more['conversion_eventually'] = np.maximum(
        more['conversion_eventually'], batch.labels['conversion'])
  return batch._replace(labels=batch.labels | more)


def plan_of(case, name=OFTEN, **options):
  estimator, tx = bound(case), network.optimizer(SGD)
  return StepSpec(
      model=model_of(case, name),
      terms=estimator.terms,
      outputs=functools.partial(funnel.outputs, tasks=SCHEMA.tasks),
      row_tx=lazy.lazily(tx),
      net_tx=tx,
      schedule=lambda step: 1.0,
      rescale=estimator.rescale,
      sees_step=estimator.sees_step,
      needs_uniform=estimator.needs_uniform,
      map_replicas_sequentially=True,
      **options,
  )


@functools.cache
def plan_and_step(plan):
  return jax.jit(functools.partial(train_step, plan=plan))


def after(case, plan, traced=({},), steps=2):
  """The state before the first step and after some, on other rows each."""
  estimator, num = bound(case), len(traced)
  stack = lambda values: jnp.asarray(values, jnp.float32)
  every = [estimator.traced | changed for changed in traced]
  hyper = TracedHyperparameters(
      stack([0.3] * num),
      {k: stack([w] * num) for k, w in estimator.weights.items()},
      options={k: stack([t[k] for t in every]) for k in estimator.traced},
  )
  begin = init_state(
      plan, SCHEMA.num_rows, 4, [0] * num, batch_of(case, 0),
      list(estimator.weights), 0.5)
  step, state = plan_and_step(plan), begin
  for k in range(steps):
    state = step(state, batch_of(case, k), hyper)
  return begin, state


def moved(begin, state):
  """Parts of the network with a kernel that is another one."""
  different = jax.tree.map(
      lambda a, b: bool(np.any(np.asarray(a) != np.asarray(b))),
      begin.net, state.net)
  return {k for k, v in different.items() if any(jax.tree.leaves(v))}


@pytest.mark.parametrize('name', MODELS)
def test_every_estimator_has_its_outputs_on_every_architecture(name):
  """A head is one tower more: no table, no gate, no expert."""
  plain = parts.model(SMALL[name], name, SCHEMA)
  batch = make_batch(0)
  table = jnp.zeros((len(batch.rows), 4 * plain.num_tables))
  shapes = lambda tree: jax.tree.map(jnp.shape, tree)

  def made(model):
    init = functools.partial(model.init_with_output, jax.random.key(0))
    outputs, variables = jax.eval_shape(init, table, batch)
    assert {x.shape for x in outputs.values()} == {batch.where.shape}
    return outputs.keys(), shapes(variables['params'])

  _, without = made(plain)
  for heads, case in HEADS.items():
    model = model_of(case, name)
    assert model.num_tables == plain.num_tables
    outputs, params = made(model)
    assert outputs == {'ctr', 'cvr', *(h.name for h in heads)}
    assert params == without | {
        f'tower_{h.name}': without[f'tower_{h.like}'] for h in heads}


def stepped(case, name):
  """The shapes of a state after a step; nothing is compiled."""
  plan, weights = plan_of(case, name), bound(case).weights
  begin = functools.partial(
      init_state, plan, SCHEMA.num_rows, 4, [0], batch_of(case, 0),
      list(weights), 0.5)
  number = jax.ShapeDtypeStruct((1,), jnp.float32)
  hyper = TracedHyperparameters(
      number, dict.fromkeys(weights, number),
      options=dict.fromkeys(bound(case).traced, number))
  state = jax.eval_shape(begin)
  step = functools.partial(train_step, plan=plan)
  return state, jax.eval_shape(step, state, batch_of(case, 0), hyper)


@pytest.mark.long
@pytest.mark.parametrize('name', MODELS)
def test_every_estimator_steps_on_every_architecture(name):
  for case in dict.fromkeys((*DEFAULTS, *HEADS.values())):
    before, after_it = stepped(case, name)
    assert jax.tree.map(jnp.shape, before) == jax.tree.map(jnp.shape, after_it)


PAIRS = [
    (case, name)
    for case in dict.fromkeys((*DEFAULTS, *HEADS.values())) for name in MODELS
]


@pytest.mark.long
@pytest.mark.parametrize('case, name', PAIRS)
def test_a_step_moves_every_tower(case, name):
  begin, state = after(case, plan_of(case, name), steps=1)
  assert int(state.bad_step[0]) == -1
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
  towers = {k for k in begin.net if k.startswith('tower_')}
  assert towers >= {f'tower_{h.name}' for h in bound(case).needs.heads}
  assert towers <= moved(begin, state)
  assert np.any(np.asarray(begin.table) != np.asarray(state.table))


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=(
        pytest.mark.slow if case.endswith(IN_PARTS) else pytest.mark.long))
    for case in CASES])
def test_two_steps_in_parts_are_those_of_whole_batches(case):
  """Counts that depend on the logits, and ratios of losses, among them."""
  _, whole = after(case, plan_of(case))
  _, parted = after(case, plan_of(case, micro_batches=2))
  if bound(case).needs_uniform:
    return  # Each part draws its own numbers: see `sampling.draw`.
  for a, b in zip(
      jax.tree.leaves((whole.params, whole.sums)),
      jax.tree.leaves((parted.params, parted.sums)), strict=True):
    np.testing.assert_allclose(a, b, rtol=5e-6, atol=5e-6)


TRACED = [name for name in ESTIMATORS if bound(name).traced]


def replica(state, r):
  return jax.device_get(
      (state.table[:, r],
       jax.tree.map(lambda x: x[r], (state.net, state.sums))))


@pytest.mark.parametrize('case', [
    pytest.param(case, marks=(
        pytest.mark.slow if case == 'ips' else pytest.mark.long))
    for case in TRACED])
def test_a_replica_has_its_own_value_of_a_traced_option(case):
  """To the bit, whatever the one beside it has; and as alone but for rounding.

  Two replicas are worked through in a loop, in which XLA adds some sums up in
  another order than for one.
  """
  option = next(k for k in OTHER if k in bound(case).traced)
  values, plan = ({}, {option: OTHER[option]}), plan_of(case)
  _, both = after(case, plan, values)
  for r, traced in enumerate(values):
    _, same = after(case, plan, (traced, traced))
    jax.tree.map(
        np.testing.assert_array_equal, replica(both, r), replica(same, 1 - r))
    _, alone = after(case, plan, (traced,))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6),
        replica(both, r), replica(alone, 0))
  assert np.any(replica(both, 0)[0] != replica(both, 1)[0])

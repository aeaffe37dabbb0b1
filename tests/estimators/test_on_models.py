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

from tests.estimators.test_conformance import bound, CASES
from tests.models.test_layers import SMALL
from tests.training.test_step import make_batch, SCHEMA, SGD

pytestmark = pytest.mark.usefixtures('quick_compilation')
# Steps of all other pairs are in the long tests.
OFTEN = 'shared_bottom'
# Traced option -> a value that acts in the first steps.
OTHER = {'propensity_floor': 0.6, 'weight_cap': 1.5, 'gamma': 0.5, 'alpha': 0.3}


def with_heads():
  """The cases whose heads differ, and the defaults of all estimators."""
  seen, names = set(), []
  for case, (_, values) in CASES.items():
    heads = bound(case).needs.heads
    if not values or heads not in seen:
      names.append(case)
    seen.add(heads)
  return names


def model_of(case, name):
  heads = bound(case).needs.heads
  return parts.model(SMALL[name], name, SCHEMA, heads)


def batch_of(case, seed):
  batch, needs = make_batch(seed), bound(case).needs
  rng = np.random.default_rng(seed)
  columns = [*needs.truth_labels, *(f'frozen_{t}' for t in needs.frozen)]
  more = {
      c: rng.uniform(0.05, 0.9, len(batch.where)).astype(np.float32)
      for c in columns
  }
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
  step = jax.jit(functools.partial(train_step, plan=plan))
  state = begin
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
  for case in with_heads():
    model, batch, heads = model_of(case, name), batch_of(case, 0), ()
    plain = parts.model(SMALL[name], name, SCHEMA)
    assert model.num_tables == plain.num_tables
    table = jnp.zeros((len(batch.rows), 4 * model.num_tables))
    make = lambda m: jax.eval_shape(m.init, jax.random.key(0), table, batch)
    variables, without = make(model), make(plain)
    heads = {h.name for h in bound(case).needs.heads}
    assert variables['params'].keys() - without['params'].keys() == {
        f'tower_{h}' for h in heads}
    for part, leaves in without['params'].items():
      assert jax.tree.map(jnp.shape, leaves) == jax.tree.map(
          jnp.shape, variables['params'][part])
    outputs = jax.eval_shape(model.apply, variables, table, batch)
    assert outputs.keys() == {'ctr', 'cvr', *heads}
    assert {x.shape for x in outputs.values()} == {batch.where.shape}
    like = {h.name: h.like for h in bound(case).needs.heads}
    for head in heads:
      assert jax.tree.map(jnp.shape, variables['params'][f'tower_{head}']) == (
          jax.tree.map(
              jnp.shape, variables['params'][f'tower_{like[head]}']))


PAIRS = [
    pytest.param(
        case, name,
        marks=pytest.mark.slow if name == OFTEN else pytest.mark.long)
    for case in with_heads() for name in MODELS
]


@pytest.mark.parametrize('case, name', PAIRS)
def test_a_step_moves_every_tower(case, name):
  begin, state = after(case, plan_of(case, name), steps=1)
  assert int(state.bad_step[0]) == -1
  assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.params))
  towers = {k for k in begin.net if k.startswith('tower_')}
  assert towers >= {f'tower_{h.name}' for h in bound(case).needs.heads}
  assert towers <= moved(begin, state)
  assert np.any(np.asarray(begin.table) != np.asarray(state.table))


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
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


@pytest.mark.slow
@pytest.mark.parametrize('case', TRACED)
def test_a_replica_is_the_run_alone_to_the_bit(case):
  """With another value of a traced option than the replica beside it."""
  option = next(k for k in OTHER if k in bound(case).traced)
  changed = {option: OTHER[option]}
  _, both = after(case, plan_of(case), ({}, changed))
  for r, traced in enumerate(({}, changed)):
    _, alone = after(case, plan_of(case), (traced,))
    np.testing.assert_array_equal(both.table[:, r], alone.table[:, 0])
    jax.tree.map(
        lambda a, b, r=r: np.testing.assert_array_equal(a[r], b[0]),
        (both.net, both.sums), (alone.net, alone.sums))
  assert np.any(np.asarray(both.table[:, 0]) != np.asarray(both.table[:, 1]))

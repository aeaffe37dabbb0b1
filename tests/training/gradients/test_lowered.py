"""The step for CUDA, lowered without a device and computed on a CPU.

On CUDA a scatter-add in float32 whose indices repeat may be a thousand times
slower than another, so there must be none.
"""

import functools
import re

from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing.binding import BalancingOptions, bind, traced_options
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.feeding import Streamed
from esmm_jax.training.initial import with_balance
from esmm_jax.training.resident import Resident
from esmm_jax.training.step import train_step
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.data.batching import test_groups
from tests.training import test_feeding, test_step as steps

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]
grouped = test_groups.grouped
SCATTER = re.compile(r'"stablehlo\.scatter"(?:.*\n)*?.*?\}\) : .*')
ADAGRAD = steps.OptimizerOptions('adagrad')
TERMS = ('ctr', 'ctcvr')
# Case -> options of the step, replicas.
CASES = {
    'shared_embedding': ({}, 1),
    'mmoe': ({'name': 'mmoe'}, 1),
    'stem': ({'name': 'stem'}, 1),
    'adagrad': ({'optimizer': ADAGRAD}, 1),
    'micro_batches': ({'micro_batches': 4}, 2),
    'one_after_the_other': ({'map_replicas_sequentially': True}, 3),
    'dense': ({'dense': True}, 2),
    'pcgrad': ({'method': 'pcgrad'}, 2),
    'representation': ({'method': 'pcgrad', 'gram': 'representation'}, 1),
    'gradvac': ({'method': 'gradvac'}, 1),
}
_OFTEN = ('micro_batches', 'gradvac')
cases = pytest.mark.parametrize('case', [
    c if c in _OFTEN else pytest.param(c, marks=pytest.mark.long)
    for c in CASES])


def contended(text):
  """The scatter-adds of a program whose indices may repeat: their types."""
  return [
      op.rsplit('->', 1)[1] for op in SCATTER.findall(text)
      if 'stablehlo.add' in op and 'unique_indices = true' not in op]


def for_cuda(function, *args):
  exported = jax.export.export(jax.jit(function), platforms=['cuda'])(*args)
  return exported.mlir_module()


def prepared(case):
  """The step, a state before it, a batch and the options of the replicas."""
  options, num = CASES[case]
  options = dict(options)
  method, gram = options.pop('method', None), options.pop('gram', 'exact')
  plan, hyper = steps.make_plan(**options), steps.make_hyper([0.1] * num)
  batch = steps.make_batch(1)
  if plan.dense:
    batch = batch._replace(
        rows=np.zeros(0, np.int32), slots=batch.rows[batch.slots])
  state = steps.start(plan, range(num))
  if method:
    section = BalancingOptions(name=method, gram=gram)
    plan = plan._replace(balancer=bind(section, BALANCERS[method], TERMS))
    traced = traced_options(section)
    hyper = hyper._replace(
        balancing={k: jnp.full(num, v) for k, v in traced.items()})
    state = with_balance(state, plan, hyper, batch)
  return functools.partial(train_step, plan=plan), state, batch, hyper


def test_they_are_seen():
  """Of a gradient as XLA makes it, and of indices that are said not to."""
  index, x = np.zeros(9, np.int32), np.zeros((5, 3), np.float32)
  text = for_cuda(jax.grad(lambda t: jnp.sum(t[index] ** 2)), x)
  assert ['tensor<5x3xf32>' in kind for kind in contended(text)] == [True]
  unique = lambda t: t.at[index].add(1, unique_indices=True)
  text = for_cuda(unique, x)
  assert len(SCATTER.findall(text)) == 1 and not contended(text)
  assert not contended(for_cuda(lambda t: t.at[index].set(1), x))


@cases
def test_no_contended_scatter_add(case):
  step, state, batch, hyper = prepared(case)
  text = for_cuda(step, state, batch, hyper)
  assert 'stablehlo.dot_general' in text and not contended(text)


@pytest.mark.parametrize('kind', [
    Resident, pytest.param(Streamed, marks=pytest.mark.long)])
def test_none_with_groups_and_rows_on_the_device(kind, grouped):
  """What finds a batch's rows on the device counts none of them by it."""
  batches = test_feeding.maker('runs', None, grouped)()
  plan, hyper = test_feeding.make_plan(batches), test_feeding.make_hyper(2)
  state = test_feeding.beginning(plan, batches, hyper)
  if kind is Streamed:
    text = for_cuda(
        functools.partial(train_step, plan=plan), state, batches(0), hyper)
  else:
    feed = kind(plan, batches, Layout(), 0, 4)
    text = for_cuda(lambda state: feed.advance(state, 0, 3, hyper), state)
    feed.close()
  assert SCATTER.findall(text) and not contended(text)


@cases
def test_the_numbers_are_those_of_a_cpu(case, monkeypatch):
  """What CUDA would run, run here: one step of SGD."""
  step, state, batch, hyper = prepared(case)
  here = jax.jit(step)(state, batch, hyper)
  monkeypatch.setattr(
      jax.lax, 'platform_dependent',
      lambda *args, default, cuda=None, cpu=None: (cuda or default)(*args))
  there = jax.jit(lambda *args: step(*args))(state, batch, hyper)
  steps.assert_close(
      steps.parameters(here), steps.parameters(there), 1e-6)
  steps.assert_close(here.sums, there.sums, 1e-6)
  assert np.abs(here.table - state.table).max() > 1e-3

"""Large batches are predicted in parts, with the numbers of small ones."""

import functools

from esmm_jax.estimators import funnel
from esmm_jax.models import MODELS
from esmm_jax.models.experts import GATES
from esmm_jax.training.prediction import predict_step
from esmm_jax.training.state import MICRO_BATCH, StepSpec
import jax
import numpy as np
import pytest

from tests import toy

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


@pytest.mark.parametrize('num', [1, pytest.param(2, marks=pytest.mark.long)])
def test_parts(num):
  """Outputs, and sums of gates, of the real rows; none computed for others."""
  size, real = 3 * MICRO_BATCH, MICRO_BATCH + 3
  schema, rng = toy.SCHEMA, np.random.default_rng(1)
  model = MODELS['mmoe'](schema, (3,), expert_units=(4,), num_experts=2)
  where = (np.arange(size) < real).astype(np.float32)
  batch = toy.random_batch(size)._replace(rows=np.zeros(0, np.int32))
  small = jax.tree.map(lambda x: x[:5] if len(x) == size else x, batch)
  table = rng.normal(size=(50, num, 2)).astype(np.float32)
  each = [model.init(jax.random.key(r), table[:, r], small)['params']
          for r in range(num)]
  outputs = functools.partial(funnel.outputs, tasks=schema.tasks)
  plan = StepSpec(model, None, outputs, None, None, None)
  net = jax.tree.map(lambda *x: np.stack(x), *each)
  got, use = jax.jit(functools.partial(predict_step, plan=plan))(
      table, net, {}, batch._replace(where=where))
  apply = jax.jit(functools.partial(model.apply, mutable=[GATES]))
  for r in range(num):
    want, sown = apply({'params': each[r]}, table[:, r], batch)
    for name in ('ctr', 'cvr'):
      np.testing.assert_allclose(
          got[name][r, :real], want[name][:real], rtol=1e-5, atol=1e-6)
      assert not np.any(got[name][r, 2 * MICRO_BATCH:])
    for name, sums in use.items():
      weights = np.float64(sown[GATES][name]['weights'][0])[:real]
      np.testing.assert_allclose(sums['load'][r], weights.sum(0), rtol=1e-5)
      entropy = -(weights * np.log(weights)).sum()
      np.testing.assert_allclose(sums['entropy'][r], entropy, rtol=1e-5)
  assert set(use) == {'gate_ctr', 'gate_cvr'}

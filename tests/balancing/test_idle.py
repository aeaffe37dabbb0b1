"""Keys of balancing that do nothing are known by the methods' traces."""

from esmm_jax.balancing import BALANCERS, binding
from esmm_jax.balancing.options import BalancingOptions
from esmm_jax.no_effect.objectives import WITHOUT_GRADIENTS
from esmm_jax.training.gradients import weighing
import jax
import jax.numpy as jnp
import pytest


@pytest.mark.parametrize('name', BALANCERS)
def test_methods_without_gradients(name):
  """`gram` does nothing for those that weigh the loss, unless they measure."""
  of = 'run' if name == 'replay' else ''
  options = BalancingOptions(name=name, of=of, measure=True)
  balancer = binding.bind(options, BALANCERS[name], ('ctr', 'ctcvr'))
  traced = {
      k: jnp.float32(v) for k, v in binding.traced_options(options).items()}
  state = {'': balancer.init(**traced)}
  early, reads = weighing.needs(balancer, traced, state, jax.random.key(0))
  weighs_the_loss = early and not reads and balancer.weighted
  assert (name in WITHOUT_GRADIENTS) == weighs_the_loss

"""Cross-entropy on log-odds, and sums over a sample space."""

from esmm_jax.types import Array
import jax
import jax.numpy as jnp


def cross_entropy(logits: Array, labels: Array) -> Array:
  """Binary cross-entropy in nats, element by element.

  softplus(x) - x y, which is -y log sigmoid(x) - (1 - y) log(1 - sigmoid(x)).
  """
  return jax.nn.softplus(logits) - logits * labels


def sum_and_count(losses: Array, where: Array) -> tuple[Array, Array]:
  """Sum of the losses where `where` is 1, and how many there are.

  Masked entries take no part, whatever they hold, nor in the gradient if what
  they hold is finite.
  """
  kept = jnp.where(where > 0, losses, 0.0)
  return jnp.sum(kept), jnp.sum(where)

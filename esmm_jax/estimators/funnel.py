"""The log-odds of a chain of conditional events.

Nothing else in the package multiplies probabilities.
"""

from esmm_jax.types import Array
import jax
import jax.numpy as jnp


def joint_logit(ctr_logits: Array, cvr_logits: Array) -> Array:
  """Log-odds of `click and conversion`, exact in float32.

  With click logit a and conversion logit b,

      sigmoid(a) sigmoid(b) = sigmoid(c),  c = -logsumexp([-a, -b, -a - b]),

  because 1 / (pq) - 1 = e^-a + e^-b + e^(-a-b). The cross-entropy of the joint
  label is then ordinary sigmoid cross-entropy on c: no clipping, no overflow,
  and the gradient is right where a product of float32 probabilities has lost
  it (`tests/test_estimators.py`).

  Args:
    ctr_logits: Log-odds of the click, any shape.
    cvr_logits: Log-odds of the conversion given the click, the same shape.

  Returns:
    Log-odds of both, the same shape.

  References:
    Ma et al., Entire Space Multi-Task Model, SIGIR 2018, equation 1:
    pCTCVR = pCTR x pCVR.
  """
  a, b = ctr_logits, cvr_logits
  return -jax.nn.logsumexp(jnp.stack([-a, -b, -a - b]), axis=0)

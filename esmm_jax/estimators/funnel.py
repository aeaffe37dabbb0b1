"""Log-odds along a chain of conditional events.

No other module multiplies or divides probabilities: a product of float32
probabilities loses the gradient where they are small.
"""

from collections.abc import Mapping, Sequence
import functools

from esmm_jax.tasks import chain, given_first, Task, Tasks
from esmm_jax.types import Array
import jax
import jax.numpy as jnp

# How a model's outputs are interpreted.
CONDITIONAL = 'conditional'  # Of each event given its parent's.
JOINT = 'joint'  # Of each event and all before it, over all impressions.
# Highest logarithm of a ratio of probabilities that has a finite log-odds.
_MAX_LOG_RATIO = -1e-6


def joint_logit(ctr_logits: Array, cvr_logits: Array) -> Array:
  """Computes the log-odds of `click and conversion`, exact in float32.

  With click logit a and conversion logit b,

      sigmoid(a) sigmoid(b) = sigmoid(c),  c = -logsumexp([-a, -b, -a - b]),

  because 1 / (pq) - 1 = e^-a + e^-b + e^(-a-b). The cross-entropy of the joint
  label is then ordinary sigmoid cross-entropy on c: no clipping, no overflow,
  and the gradient is right where a product of float32 probabilities has lost
  it (`tests/estimators/test_estimators.py`).

  >>> import jax
  >>> from esmm_jax.estimators.funnel import joint_logit
  >>> jax.nn.sigmoid(joint_logit(0.0, 0.0)).item()  # 0.5 x 0.5
  0.25

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


def chain_logit(logits: Sequence[Array]) -> Array:
  """Computes the log-odds that all events of a chain happen.

  Args:
    logits: Log-odds of each event given the one before, of one shape.

  Returns:
    Log-odds of the joint event, the same shape.
  """
  return functools.reduce(joint_logit, logits)


def ratio_logit(joint: Array, parent: Array) -> Array:
  """Computes the log-odds of an event given its parent's event.

  The probability is sigmoid(joint) / sigmoid(parent).

  >>> from esmm_jax.estimators.funnel import joint_logit, ratio_logit
  >>> round(ratio_logit(joint_logit(1.0, 2.0), 1.0).item(), 5)
  2.0

  Args:
    joint: Log-odds of both events, any shape.
    parent: Log-odds of the parent's event, the same shape.

  Returns:
    Log-odds of the event given its parent's, the same shape.
  """
  log_ratio = jax.nn.log_sigmoid(joint) - jax.nn.log_sigmoid(parent)
  # Two networks that predict both can give a ratio above 1. From 1 - 1e-6 on
  # the result is linear in the logarithm of the ratio, so that the ranking is
  # that of the ratio, as in the DIVISION baseline of the ESMM paper.
  capped = jnp.minimum(log_ratio, _MAX_LOG_RATIO)
  excess = log_ratio - capped
  return capped - jnp.log(-jnp.expm1(capped)) + excess


def outputs(
    raw: Mapping[str, Array],
    tasks: Tasks,
    output_interpretation: str = CONDITIONAL,
) -> dict[str, Array]:
  """Derives every conditional and joint prediction from a model's raw outputs.

  Args:
    raw: Task -> output, any one shape: a log-odds, or the value of a
      regression.
    tasks: The funnel.
    output_interpretation: `CONDITIONAL` or `JOINT`.

  Returns:
    Each task by its name (given its parent's event), by its joint name (over
    all impressions) and, from the third event on, given the first event.
  """
  predicted: dict[str, Array] = {}
  for task in tasks:
    path = chain(task, tasks)
    if output_interpretation == CONDITIONAL:
      predicted[task.name] = raw[task.name]
      predicted[task.joint] = _product(path, raw)
    else:
      predicted[task.joint] = predicted[task.name] = raw[task.name]
      if task.parent:
        predicted[task.name] = _ratio(task, raw[task.name], raw[task.parent])
    if name := given_first(task, tasks):
      predicted[name] = (
          _product(path[1:], raw)
          if output_interpretation == CONDITIONAL
          else _ratio(task, raw[task.name], raw[path[0].name])
      )
  return predicted


def _product(path: Tasks, raw: Mapping[str, Array]) -> Array:
  """Multiplies the steps of a path; an expected value at its end."""
  *before, last = path
  if last.kind == 'binary':
    return chain_logit([raw[t.name] for t in path])
  if not before:
    return raw[last.name]
  reached = chain_logit([raw[t.name] for t in before])
  return jax.nn.sigmoid(reached) * raw[last.name]


def _ratio(task: Task, joint: Array, earlier: Array) -> Array:
  """Divides a prediction over all impressions by that of an earlier event."""
  if task.kind == 'binary':
    return ratio_logit(joint, earlier)
  return joint / jax.nn.sigmoid(earlier)

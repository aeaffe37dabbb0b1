"""Log-odds along a chain of conditional events.

Nothing else in the package multiplies or divides probabilities.
"""

from collections.abc import Mapping, Sequence
import functools

from esmm_jax.tasks import chain, given_first, Task, Tasks
from esmm_jax.types import Array
import jax
import jax.numpy as jnp

# What the outputs of a model are taken for.
CONDITIONAL = 'conditional'  # Of each event given the one before.
JOINT = 'joint'  # Of each event and all before it, over all impressions.
# A ratio of probabilities above exp of this is read as (almost) certain.
_HIGHEST = -1e-6


def joint_logit(ctr_logits: Array, cvr_logits: Array) -> Array:
  """Log-odds of `click and conversion`, exact in float32.

  With click logit a and conversion logit b,

      sigmoid(a) sigmoid(b) = sigmoid(c),  c = -logsumexp([-a, -b, -a - b]),

  because 1 / (pq) - 1 = e^-a + e^-b + e^(-a-b). The cross-entropy of the joint
  label is then ordinary sigmoid cross-entropy on c: no clipping, no overflow,
  and the gradient is right where a product of float32 probabilities has lost
  it (`tests/estimators/test_estimators.py`).

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
  """Log-odds that all events of a chain happen, from those of each step."""
  return functools.reduce(joint_logit, logits)


def ratio_logit(joint: Array, before: Array) -> Array:
  """Log-odds of an event given the one before it, from joint and before.

  The probability is sigmoid(joint) / sigmoid(before).

  Two networks that predict both can give a ratio above 1. From 1 - 1e-6 on the
  result goes on linearly in the logarithm of the ratio, so that the ranking is
  that of the ratio, as in the DIVISION baseline of the ESMM paper.

  Args:
    joint: Log-odds of both events, any shape.
    before: Log-odds of the first one, the same shape.

  Returns:
    Log-odds of the second event given the first.
  """
  log_ratio = jax.nn.log_sigmoid(joint) - jax.nn.log_sigmoid(before)
  capped = jnp.minimum(log_ratio, _HIGHEST)
  excess = log_ratio - capped
  return capped - jnp.log(-jnp.expm1(capped)) + excess


def outputs(
    raw: Mapping[str, Array], tasks: Tasks, reading: str = CONDITIONAL
) -> dict[str, Array]:
  """Everything that follows from what a model puts out.

  Args:
    raw: Task -> output, any one shape: a log-odds, or the value of a
      regression.
    tasks: The funnel.
    reading: Whether an output is of the event given the one before, or of the
      joint event over all impressions.

  Returns:
    Each task by its name (given the event before), by its joint name (over all
    impressions) and, for the third event on, given the first.
  """
  made: dict[str, Array] = {}
  for task in tasks:
    path = chain(task, tasks)
    if reading == CONDITIONAL:
      made[task.name] = raw[task.name]
      made[task.joint] = _along(path, raw)
    else:
      made[task.joint] = raw[task.name]
      if task.parent:
        made[task.name] = _given(task, raw[task.name], raw[task.parent])
    if rest := given_first(task, tasks):
      made[rest] = (
          _along(path[1:], raw)
          if reading == CONDITIONAL
          else _given(task, raw[task.name], raw[path[0].name])
      )
  return made


def _along(path: Tasks, raw: Mapping[str, Array]) -> Array:
  """The product of the steps of a path; an expected value at its end."""
  *before, last = path
  if last.kind == 'binary':
    return chain_logit([raw[t.name] for t in path])
  if not before:
    return raw[last.name]
  reached = chain_logit([raw[t.name] for t in before])
  return jax.nn.sigmoid(reached) * raw[last.name]


def _given(task: Task, joint: Array, before: Array) -> Array:
  """What was predicted over all impressions, given an event before."""
  if task.kind == 'binary':
    return ratio_logit(joint, before)
  return joint / jax.nn.sigmoid(before)

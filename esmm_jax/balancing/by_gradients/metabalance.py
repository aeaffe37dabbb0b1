"""MetaBalance: gradients brought nearer to one norm."""

from typing import Annotated, Literal

from esmm_jax.balancing.by_gradients import active_sets, memory
from esmm_jax.balancing.by_gradients.memory import Memory
from esmm_jax.options import BELOW_ONE, SHARE
from esmm_jax.types import Array
import jax.numpy as jnp


def init(num_tasks: int) -> Memory:
  """Returns the memory of norms before the first step."""
  return memory.empty(num_tasks)


def metabalance(
    gram: Array,
    losses: Array,
    counts: Array,
    state: Memory,
    key: Array,
    *,
    beta: Annotated[float | Array, BELOW_ONE] = 0.9,
    relax: Annotated[float | Array, SHARE] = 0.7,
    magnitude: Literal['primary', 'largest'] = 'primary',
    primary: str = '',
    terms: tuple[str, ...] = (),
) -> tuple[Array, Memory]:
  """Computes w_i = relax m / m_i + 1 - relax.

  m_i is the moving average of the norm of gradient i, this step's among them,
  and m that of the primary task (MetaBalance, algorithm 1), or the largest of
  all m_i (the step of magnitudes of GradCraft). relax = 1 gives all
  gradients the norm m on average, 0 leaves them as they are.

  The paper does this for each tensor; here it is done for all shared parameters
  together, or with `balancing.parts=each` for tables, trunk, gates and towers.

  The averages have bias correction: an m_i counts the steps that have rows of
  the task, so one that is absent at first is not too small later. (The paper
  has none. It cancels in m / m_i as long as all are present.) A gradient of 0
  does not move them, as in the authors' code, and a task that had no other yet
  has weight 1. Where the primary task has no rows, or had no gradient yet, the
  last task that has takes its part: the rest get what they get if it did not
  exist.

  Args:
    gram: G [T, T], whose diagonal has the squares of the norms.
    losses: Not read.
    counts: [T], sizes of the tasks' sample spaces.
    state: The averages.
    key: Not read.
    beta: Share of the old average that is kept.
    relax: r of the paper.
    magnitude: Task that gives m: the primary one, or that with the largest.
    primary: Name of a task; unset: the last in the order of the terms.
    terms: Names of the tasks.

  Returns:
    Weights [T] and the state.

  Raises:
    InputError: `primary` is no task.

  References:
    He et al., MetaBalance, WWW 2022, algorithm 1, with the beta and r of the
    authors' code (facebookresearch/MetaBalance). Bai et al., GradCraft, KDD
    2024.
  """
  del losses, key
  present = counts > 0
  tasks = active_sets.cosines(gram, counts)
  means, state = memory.remember(state, tasks.norms, tasks.there, beta)
  able = present & (means > 0)
  leads = memory.primary_task(primary, terms, able)
  if magnitude == 'largest':
    leads = able
  level = jnp.where(leads, means, 0).max()
  ratio = jnp.where(able, level / jnp.where(able, means, 1), 1)
  weights = jnp.where(present, relax * ratio + 1 - relax, 0)
  return active_sets.checked(weights, gram), state

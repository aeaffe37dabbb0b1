"""The state that a step carries, and the specification of a step.

Axis letters are those of `esmm_jax/types.py`. Tables are [V, R, D] so that the
rows of all replicas are gathered and scattered together; everything else is
stacked on a leading axis R and mapped with `jax.vmap`.
"""

from collections.abc import Callable, Mapping
import functools
from typing import Any, NamedTuple

from esmm_jax.balancing.binding import Balancer
from esmm_jax.embeddings import vectors
from esmm_jax.embeddings.lookup import init_table
from esmm_jax.optim.lazy import RowTransformation
from esmm_jax.parallel import axes
from esmm_jax.parallel.layout import Layout
from esmm_jax.types import Array, Batch, Logits, LossTerms
import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax

# Examples of a part of the batch on a CPU; `StepSpec.micro_batches`.
MICRO_BATCH = 2048
# Rows of a table that are drawn at once.
_INIT_ROWS = 1 << 16


class TrainState(flax.struct.PyTreeNode):
  """All that training carries from step to step; axes as in `parallel.axes`.

  Attributes:
    step: int32, steps done.
    table: float32 [V, R, num_tables * (D + L)]; see `Architecture.row_width`.
    net: Parameters of the network, each leaf [R, ...].
    stats: Running statistics of batch norm, each leaf [R, ...]; {} without.
    table_opt: State of the table's optimizer.
    net_opt: State of the network's optimizer.
    keys: Random keys [R], folded with the step for dropout.
    sums: Term -> float32 [R], sum of the term's mean over the steps since the
      last report; `loss` is the weighted sum.
    steps_since_report: int32, the steps since the last report.
    bad_step: int32 [R], the first step that stops the replica because a loss
      or a gradient was not finite, or -1.
    skipped: int32 [2, R], steps skipped for that reason, of all and since the
      last report.
    balance: State of the method of balancing, each leaf [R, ...]; {} without.
    noted: What the last step notes, each [R]; None: nothing (`noting.notes`).
  """

  step: Array
  table: Array
  net: Any
  stats: Any
  table_opt: Any
  net_opt: Any
  keys: Array
  sums: dict[str, Array]
  steps_since_report: Array
  bad_step: Array
  skipped: Array
  balance: Any = flax.struct.field(default_factory=dict)
  noted: Any = None

  @property
  def params(self) -> dict[str, Any]:
    """The parameters that prediction needs: `table`, `net` and `stats`."""
    return {'table': self.table, 'net': self.net, 'stats': self.stats}


class StepSpec(NamedTuple):
  """The specification of a step, fixed when it is compiled.

  Attributes:
    model: Linen module, `(table, batch, train) -> {task: logits [B]}`.
    terms: Estimator, `(logits, labels, where) -> LossTerms`.
    outputs: Derives all predictions from the model's, `funnel.outputs` bound.
    row_tx: Optimizer of the table.
    net_tx: Optimizer of the network.
    schedule: step -> factor on the learning rate.
    embedding_l2: Adds this times the row to the gradient of each row touched.
    tower_l2: Adds this times the kernel to the gradient of the kernels of
      towers, as the term tower_l2 / 2 |W|^2 of the loss would. A tower is what
      the model names `tower...`: cross networks of single tasks
      (`tower_ctr_cross`) are among them, the shared one (`shared_cross`) and
      all other shared networks, experts and gates are not.
    clip_norm: Largest norm of the gradient of a replica; 0 does not clip.
    micro_batches: Parts that the batch is worked through in. The gradient is
      that of the whole batch; parts that fit the cache are faster on a CPU.
    dense: Differentiates the whole table, not the rows touched; for tests.
    rescale: The means of the terms, and traced options -> term -> factor on
      its weight; None has none.
    sees_step: Whether `terms` takes the number of steps done.
    needs_uniform: Draws a random number for each example and replica.
    sampled: Whether those numbers choose the rows of the CVR loss.
    map_replicas_sequentially: Works through the replicas one after the other,
      as suits a CPU.
    skip_ceiling: So many steps of a replica may be skipped because a number is
      not finite; 0 skips none.
    balancer: Weighs the tasks in every step; None leaves the static weights.
  """

  model: Any
  terms: Callable[..., LossTerms]
  outputs: Callable[[Logits], dict[str, Array]]
  row_tx: RowTransformation
  net_tx: optax.GradientTransformation
  schedule: Callable[[Array], Array]
  embedding_l2: float = 0.0
  tower_l2: float = 0.0
  clip_norm: float = 0.0
  micro_batches: int = 1
  dense: bool = False
  rescale: Callable[..., Mapping[str, Array]] | None = None
  sees_step: bool = False
  needs_uniform: bool = False
  sampled: bool = False
  map_replicas_sequentially: bool = False
  skip_ceiling: int = 0
  balancer: Balancer | None = None


class TracedHyperparameters(NamedTuple):
  """The numbers that may differ between replicas of one program.

  Attributes:
    learning_rate: float32 [R].
    loss_weights: Term -> float32 [R].
    sampling: Rate of `sampling.Sampling` -> float32 [R]; {} without sampling.
    options: The estimator's options that are numbers -> float32 [R].
    balancing: The method's options that are numbers -> float32 [R].
  """

  learning_rate: Array
  loss_weights: Mapping[str, Array]
  sampling: Mapping[str, Array] = {}
  options: Mapping[str, Array] = {}
  balancing: Mapping[str, Array] = {}


def init_state(
    plan: StepSpec,
    num_rows: int,
    embed_dim: int,
    seeds: list[int],
    example: Batch,
    term_names: list[str],
    embed_scale: float,
    layout: Layout | None = None,
    sizes: vectors.Sizes | None = None,
) -> TrainState:
  """Makes the state before the first step.

  Args:
    plan: The step it is for.
    num_rows: V.
    embed_dim: D.
    seeds: One for each replica.
    example: Any batch, for the shapes.
    term_names: The estimator's terms.
    embed_scale: Standard deviation of the embeddings at the start.
    layout: Where it is to be; default: on the first device.
    sizes: Of vectors that are not trained; they are 0.

  Returns:
    The state, where `layout.put_state` would put it. The table has as many rows
    as all devices' parts of it, those at the end being 0.
  """
  width = plan.model.row_width(embed_dim)
  one = jax.tree.map(lambda x: jnp.zeros((1, *x.shape[1:]), x.dtype), example)
  one, num = vectors.zeros(sizes or {}, one), len(seeds)
  padded = num_rows if layout is None else layout.padded(num_rows)

  def init_net(key: Array):
    variables = plan.model.init(key, jnp.zeros((1, width)), one)
    return variables['params'], variables.get('batch_stats', {})

  def init(seeds: Array) -> TrainState:
    keys = jax.vmap(jax.random.key)(seeds)
    keys = jax.vmap(functools.partial(jax.random.split, num=3))(keys)  # [R, 3]
    net, stats = jax.lax.map(init_net, keys[:, 0])  # Compiles once.
    if sizes:
      none = {k: jnp.zeros((num, *size)) for k, size in sizes.items()}
      stats = {**stats, vectors.VECTORS: none}
    table = init_table(
        keys[:, 1], num_rows, padded, width, embed_scale, _INIT_ROWS
    )
    keys = keys[:, 2]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        table=table,
        net=net,
        stats=stats,
        table_opt=plan.row_tx.init(table),
        net_opt=plan.net_tx.init(net),
        keys=keys,
        sums={name: jnp.zeros(num) for name in [*term_names, 'loss']},
        steps_since_report=jnp.zeros((), jnp.int32),
        bad_step=jnp.full(num, -1, jnp.int32),
        skipped=jnp.zeros((2, num), jnp.int32),
    )

  seeds = np.asarray(seeds, np.uint32)
  if layout is None or layout.num_devices == 1:
    return jax.jit(init)(seeds)
  with layout.active():
    where = layout.shardings(jax.eval_shape(init, seeds))
    return jax.jit(init, out_shardings=where)(seeds)


def reset_sums(state: TrainState, layout: Layout | None = None) -> TrainState:
  """Resets the loss sums, the step counter and the recent-skip counter."""
  zeros = lambda x: np.zeros(x.shape, x.dtype)
  skipped = np.array(state.skipped)
  skipped[1] = 0
  new = {
      'sums': jax.tree.map(zeros, state.sums),
      'steps_since_report': zeros(state.steps_since_report),
      'skipped': skipped,
  }
  put = layout.put_state if layout else functools.partial(
      jax.tree.map, jnp.asarray
  )
  return state.replace(**put(new))


@jax.jit
def replica(state: Any, r: Array) -> Any:
  """Slices one replica out of a TrainState or of parameters; the axis stays.

  Args:
    state: TrainState, or `table`, `net` and `stats`.
    r: Its number.
  """

  def cut(axis: int, x: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, r, 1, axis)

  return axes.map_replicas(cut, state)


def count(tree: Any) -> int:
  """Counts the numbers in the parameters of one replica."""
  replicas = jax.tree.leaves(tree)[0].shape[0]
  return sum(np.size(leaf) for leaf in jax.tree.leaves(tree)) // replicas

"""Deep Bayesian multi-target learning: tasks read other tasks' layers."""

from collections.abc import Sequence

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.models.layers import MLP, LayerOptions
from esmm_jax.tasks import Tasks, topological
from esmm_jax.types import Array, Batch, InputError, suggest
import flax.linen as nn
import jax.numpy as jnp

FUNNEL = 'funnel'


class DBMTL(MixtureArchitecture):
  """Towers whose relation networks form a Bayesian network of the targets.

      f_k = hidden layers of tower k on the bottom's output
      r_k = relation_k([f_k; r_j for each parent j of k]),  y_k = w_k r_k + b_k

  A child reads the hidden layer r_j of a parent, not its probability, and
  gradients flow back through it. The bottom is a shared network, an MMoE, the
  MMoE on top of the shared network, or neither.

  Attributes:
    tower_units: Hidden widths of f_k.
    relations: Edges `parent -> child` between tasks, in any order, without a
      cycle. (`funnel`,) takes those of the data's funnel, () none.
    relation_units: Hidden widths of the relation networks.
    shared_units: Hidden widths of the shared bottom; () for none.
    num_experts: Experts of the MMoE bottom; 0 for none.

  References:
    Wang et al., Deep Bayesian Multi-Target Learning for Recommender Systems,
    arXiv 1902.09154. The paper leaves the links open ("hidden layers"); this is
    the form of EasyRec (easy_rec/python/model/dbmtl.py), where towers must be
    listed parents first.
  """

  tower_units: Sequence[int] = (128, 64)
  relations: Sequence[str] = (FUNNEL,)
  relation_units: Sequence[int] = (32,)
  shared_units: Sequence[int] = (256,)
  num_experts: int = 0

  def __post_init__(self) -> None:
    super().__post_init__()
    # Before the data is prepared, not only where the network is made.
    relation_parents(self.relations, self.schema.tasks)

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Computes the outputs of a batch; see `SharedEmbedding`."""
    require_experts(least=0, num_experts=self.num_experts)
    parents = relation_parents(self.relations, self.schema.tasks)
    where = batch.where
    embedded = self.inputs(table, batch)
    x = self.mlp(self.shared_units, 'shared')(embedded.shared, where, train)
    inputs = dict.fromkeys(self.tasks, x)
    if self.num_experts:
      experts = self.experts(
          self.num_experts, 'shared_experts', x, where, train
      )
      for t in self.tasks:
        inputs[t] = self.mixed(f'gate_{t}', x, experts, where, train)
    related: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for name, t in self._order(parents):
      tower = RelationTower(
          self.tower_units,
          self.relation_units,
          self.layer_options,
          name=f'tower_{name}',
      )
      related[name], outputs[name] = tower(
          inputs[t], [related[p] for p in parents[t]], where, train
      )
    return embedded.added({name: outputs[name] for name in self.outputs})

  def _order(
      self, parents: dict[str, tuple[str, ...]]
  ) -> list[tuple[str, str]]:
    """Returns (output, task that it is like), each after its parents.

    A head has the parents of its task, and no children.
    """
    order = [(t, t) for t in topological(parents)]
    return order + [(head.name, head.like) for head in self.heads]


class RelationTower(nn.Module):
  """A tower with a relation network over its own and its parents' layers.

  Attributes:
    units: Hidden widths.
    relation_units: Hidden widths of the relation network.
    options: Options of the hidden layers.
  """

  units: Sequence[int]
  relation_units: Sequence[int]
  options: LayerOptions

  @nn.compact
  def __call__(
      self, x: Array, parents: list[Array], where: Array, train: bool
  ) -> tuple[Array, Array]:
    """Computes r_k [B, H] and the output float32 [B]; parents: r_j [B, H]."""
    hidden = MLP(self.units, self.options, name='hidden')(x, where, train)
    joined = jnp.concatenate([hidden, *parents], axis=-1)
    related = MLP(self.relation_units, self.options, name='relation')(
        joined, where, train
    )
    return related, self.options.logit(related)


def relation_parents(
    relations: Sequence[str], tasks: Tasks
) -> dict[str, tuple[str, ...]]:
  """Parses edges `parent -> child` into the parents of each task.

  Args:
    relations: The edges, or (`funnel`,).
    tasks: The tasks that edges may name.

  Returns:
    Task -> its parents.

  Raises:
    InputError: An edge is malformed or names an unknown task. (A cycle is
      refused later, by `tasks.topological`.)
  """
  names = [t.name for t in tasks]
  if tuple(relations) == (FUNNEL,):
    return {t.name: (t.parent,) if t.parent else () for t in tasks}
  parents: dict[str, tuple[str, ...]] = {name: () for name in names}
  for edge in relations:
    ends = [end.strip() for end in str(edge).split('->')]
    if len(ends) != 2:
      raise InputError(
          f'model.relations has {edge!r}; edges are written "ctr -> cvr", or'
          f' {FUNNEL!r} alone.'
      )
    for end in ends:
      if end not in names:
        raise InputError(
            f'model.relations has {edge!r}, but {end!r} is no task.'
            f' {suggest(end, names)}'
        )
    parents[ends[1]] += (ends[0],)
  # By name, so that neither the order of edges nor that of tasks matters.
  return {name: tuple(sorted(set(p))) for name, p in parents.items()}

"""Deep Bayesian multi-target learning: tasks that read other tasks' layers."""

from collections.abc import Sequence

from esmm_jax.models.architecture import MixtureArchitecture
from esmm_jax.models.experts import require_experts
from esmm_jax.models.layers import MLP, Style
from esmm_jax.tasks import Tasks, topological
from esmm_jax.types import Array, Batch, InputError, suggest
import flax.linen as nn
import jax.numpy as jnp

FUNNEL = 'funnel'


class DBMTL(MixtureArchitecture):
  """Towers whose relation networks form a Bayesian network of the targets.

      f_k = hidden layers of tower k on the bottom's output
      r_k = relation_k([f_k; r_j for each parent j of k]),  y_k = w_k r_k + b_k

  Parents hand on their hidden layer r_j, not their probability, and gradients
  flow back through it. The bottom is a shared network, MMoE on top of it, or
  both, or neither.

  Attributes:
    tower_units: Hidden widths of f_k.
    relations: Edges `parent -> child` between tasks, in any order; they must
      have no circle. (`funnel`,): those of the data's funnel. (): none.
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

  @nn.compact
  def __call__(
      self, table: Array, batch: Batch, *, train: bool = False
  ) -> dict[str, Array]:
    """Outputs of a batch; as `SharedEmbedding`."""
    require_experts(least=0, num_experts=self.num_experts)
    parents = relation_parents(self.relations, self.schema.tasks)
    where = batch.where
    x = self.shared_input(table, batch)
    x = self.mlp(self.shared_units, 'shared')(x, where, train)
    inputs = dict.fromkeys(self.tasks, x)
    if self.num_experts:
      experts = self.experts(
          self.num_experts, 'shared_experts', x, where, train
      )
      for t in self.tasks:
        inputs[t] = self.mixed(f'gate_{t}', x, experts, where, train)
    related: dict[str, Array] = {}
    outputs: dict[str, Array] = {}
    for t in topological(parents):
      tower = RelationTower(
          self.tower_units, self.relation_units, self.style, name=f'tower_{t}'
      )
      before = [related[p] for p in parents[t]]
      related[t], outputs[t] = tower(inputs[t], before, where, train)
    return {t: outputs[t] for t in self.tasks}


class RelationTower(nn.Module):
  """Hidden layers, the relation network over them and the parents', a logit.

  Attributes:
    units: Hidden widths.
    relation_units: Hidden widths of the relation network.
    style: Options.
  """

  units: Sequence[int]
  relation_units: Sequence[int]
  style: Style

  @nn.compact
  def __call__(
      self, x: Array, parents: list[Array], where: Array, train: bool
  ) -> tuple[Array, Array]:
    """Returns r_k [B, H] and the output float32 [B]."""
    hidden = MLP(self.units, self.style, name='hidden')(x, where, train)
    joined = jnp.concatenate([hidden, *parents], axis=-1)
    related = MLP(self.relation_units, self.style, name='relation')(
        joined, where, train
    )
    return related, self.style.logit(related)


def relation_parents(
    relations: Sequence[str], tasks: Tasks
) -> dict[str, tuple[str, ...]]:
  """Task -> its parents, from edges `parent -> child`.

  Raises:
    InputError: An edge is malformed or names a task that is not there. (A
      circle is found when the tasks are ordered.)
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

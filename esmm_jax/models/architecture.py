"""Base classes of the architectures: options, inputs, towers, experts."""

from collections.abc import Mapping, Sequence
import functools

from esmm_jax.models.embedding import CrossNetwork, FeatureEmbedding
from esmm_jax.models.experts import Experts, Gate, mix
from esmm_jax.models.layers import MLP, LayerOptions, Tower
from esmm_jax.schema import Schema
from esmm_jax.tasks import Head
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn


class Architecture(nn.Module):
  """Base of the models: a Linen module `(table, batch, train) -> outputs`.

  Attributes:
    schema: The fields and the tasks.
    tower_units: Hidden widths of each task's tower.
    activation: See `LayerOptions`, as for the next four.
    dropout: See `LayerOptions`.
    norm: See `LayerOptions`.
    initializer: See `LayerOptions`.
    dtype: See `LayerOptions`.
    cross_layers: DCN-v2 layers on the input vector, before everything else.
    cross_rank: Rank of their matrices; 0 is full rank.
    heads: Outputs of the estimator's own, each a tower on the input of the task
      that it is like: no table, expert or gate is added.
  """

  schema: Schema
  tower_units: Sequence[int] = (128, 64)
  activation: str = 'relu'
  dropout: float = 0.0
  norm: str = 'none'
  initializer: str = 'he_normal'
  dtype: str = 'float32'
  cross_layers: int = 0
  cross_rank: int = 0
  heads: Sequence[Head] = ()

  @property
  def tasks(self) -> tuple[str, ...]:
    """The names of the tasks, parents first."""
    return tuple(t.name for t in self.schema.tasks)

  @property
  def outputs(self) -> dict[str, str]:
    """Output -> the task whose input it has: the tasks, then the heads."""
    return {t: t for t in self.tasks} | {h.name: h.like for h in self.heads}

  @property
  def num_tables(self) -> int:
    """The number of embeddings of an id; a table row is that many times D."""
    return 1

  @property
  def layer_options(self) -> LayerOptions:
    """The options of hidden layers."""
    return LayerOptions(
        self.activation,
        self.dropout,
        self.norm,
        self.initializer,
        self.dtype,
    )

  def private_inputs(self, table: Array, batch: Batch) -> list[Array]:
    """Embeds a batch with each of the tables.

    Args:
      table: float32 [U, num_tables * D], the rows that `batch.slots` index.
      batch: B examples.

    Returns:
      One [B, I] for each embedding. Number k belongs to task k; one past those
      of the tasks, or a single one, is shared.

    Raises:
      InputError: `cross_layers` or `cross_rank` is negative.
    """
    if self.cross_layers < 0 or self.cross_rank < 0:
      raise InputError(
          f'model.cross_layers is {self.cross_layers} and model.cross_rank'
          f' {self.cross_rank}; neither may be negative.'
      )
    embed = FeatureEmbedding(
        self.schema, self.num_tables, self.layer_options, name='input'
    )
    inputs = embed(table, batch)
    if not self.cross_layers:
      return inputs
    # A task's own cross network is named after its tower, so tower_l2 decays it
    # as it does the tower; `shared_cross` is not decayed.
    is_shared = len(inputs) == 1
    names = [] if is_shared else [f'tower_{t}_cross' for t in self.tasks]
    names += ['shared_cross'] * (len(inputs) - len(names))
    return [
        CrossNetwork(
            self.cross_layers, self.cross_rank, self.layer_options, name=name
        )(x)
        for name, x in zip(names, inputs)
    ]

  def shared_input(self, table: Array, batch: Batch) -> Array:
    """Embeds a batch with the one table of a model: [B, I]."""
    return self.private_inputs(table, batch)[0]

  def mlp(self, units: Sequence[int], name: str) -> MLP:
    """Makes hidden layers with this model's options."""
    return MLP(units, self.layer_options, name=name)

  def run_towers(
      self, inputs: Mapping[str, Array], where: Array, train: bool
  ) -> dict[str, Array]:
    """Runs a tower for each task and head.

    Args:
      inputs: Task -> [B, I].
      where: float32 [B].
      train: Acts as in training (dropout, norms).

    Returns:
      Task or head -> output, float32 [B].
    """
    tower = functools.partial(Tower, self.tower_units, self.layer_options)
    return {
        name: tower(name=f'tower_{name}')(inputs[task], where, train)
        for name, task in self.outputs.items()
    }


class MixtureArchitecture(Architecture):
  """Base of the models with experts and gates.

  Attributes:
    expert_units: Hidden widths of each expert.
    gate_dropout: Probability that an expert is dropped from a gate, see `Gate`.
  """

  expert_units: Sequence[int] = (128,)
  gate_dropout: float = 0.0

  def experts(
      self, num: int, name: str, x: Array, where: Array, train: bool
  ) -> list[Array]:
    """Runs `num` experts on x [B, I]; returns `num` outputs [B, H]."""
    module = Experts(num, self.expert_units, self.layer_options, name=name)
    return module(x, where, train)

  def mixed(
      self,
      name: str,
      x: Array,
      experts: Sequence[Array],
      where: Array,
      train: bool,
      *,
      units: Sequence[int] = (),
      use_bias: bool = False,
  ) -> Array:
    """Mixes expert outputs with a softmax gate computed from x.

    Args:
      name: Name of the gate in the parameter tree.
      x: Input of the gate, [B, I].
      experts: E expert outputs, [B, H] each.
      where: float32 [B].
      train: Applies gate dropout.
      units: Hidden widths of the gate.
      use_bias: Adds a bias in the gate's last layer.

    Returns:
      [B, H].
    """
    gate = Gate(
        len(experts),
        self.layer_options,
        units,
        use_bias=use_bias,
        dropout=self.gate_dropout,
        name=name,
    )
    return mix(gate(x, where, train), experts)

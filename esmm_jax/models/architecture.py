"""What all architectures have in common: options, inputs, towers."""

from collections.abc import Mapping, Sequence

from esmm_jax.models.embedding import CrossNetwork, FeatureEmbedding
from esmm_jax.models.experts import Experts, Gate, mix
from esmm_jax.models.layers import MLP, Style, Tower
from esmm_jax.schema import Schema
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn


class Architecture(nn.Module):
  """Base of the models: a Linen module `(table, batch, train) -> outputs`.

  Attributes:
    schema: The fields and the tasks.
    tower_units: Hidden widths of each task's tower.
    activation: Of hidden layers; this and the next four: see `Style`.
    dropout: See `Style`.
    norm: See `Style`.
    initializer: See `Style`.
    dtype: See `Style`.
    cross_layers: DCN-v2 layers on the input vector, before everything else.
    cross_rank: Their rank; 0 is full.
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

  @property
  def tasks(self) -> tuple[str, ...]:
    """Names of the outputs, parents first."""
    return tuple(t.name for t in self.schema.tasks)

  @property
  def num_tables(self) -> int:
    """Embeddings that an id needs."""
    return 1

  @property
  def style(self) -> Style:
    """The options of hidden layers."""
    return Style(
        self.activation,
        self.dropout,
        self.norm,
        self.initializer,
        self.dtype,
    )

  def private_inputs(self, table: Array, batch: Batch) -> list[Array]:
    """The input vector of each embedding, [B, I]; task k owns number k.

    An embedding past those of the tasks, or a single one, is shared.
    """
    if self.cross_layers < 0 or self.cross_rank < 0:
      raise InputError(
          f'model.cross_layers is {self.cross_layers} and model.cross_rank'
          f' {self.cross_rank}; neither may be negative.'
      )
    embed = FeatureEmbedding(self.schema, self.num_tables)
    inputs = embed(table, batch)
    if not self.cross_layers:
      return inputs
    shared = len(inputs) == 1
    names = [] if shared else [f'tower_{t}_cross' for t in self.tasks]
    names += ['shared_cross'] * (len(inputs) - len(names))
    return [
        CrossNetwork(
            self.cross_layers, self.cross_rank, self.style, name=name
        )(x)
        for name, x in zip(names, inputs)
    ]

  def shared_input(self, table: Array, batch: Batch) -> Array:
    """The one input vector of a model with one embedding, [B, I]."""
    return self.private_inputs(table, batch)[0]

  def mlp(self, units: Sequence[int], name: str) -> MLP:
    """Hidden layers in this model's style."""
    return MLP(units, self.style, name=name)

  def run_towers(
      self, inputs: Mapping[str, Array], where: Array, train: bool
  ) -> dict[str, Array]:
    """A tower for each task. Task -> [B, I] in, task -> float32 [B] out."""
    return {
        task: Tower(self.tower_units, self.style, name=f'tower_{task}')(
            inputs[task], where, train
        )
        for task in self.tasks
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
    """`num` experts on x [B, I], under `name` -> as many [B, H]."""
    module = Experts(num, self.expert_units, self.style, name=name)
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
    """What a gate on x [B, I] makes of experts: E times [B, H] -> [B, H].

    Args:
      name: Of the gate.
      x: What it reads.
      experts: What it mixes.
      where: float32 [B].
      train: Whether gate dropout acts.
      units: Hidden widths of the gate.
      use_bias: Whether its last layer has a bias.
    """
    gate = Gate(
        len(experts),
        self.style,
        units,
        use_bias=use_bias,
        dropout=self.gate_dropout,
        name=name,
    )
    return mix(gate(x, where, train), experts)

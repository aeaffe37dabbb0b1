"""Base classes of the architectures: options, inputs, towers, experts."""

from collections.abc import Mapping, Sequence
import functools

from esmm_jax.models.attention import ActivationUnit
from esmm_jax.models.embedding import CrossNetwork, FeatureEmbedding
from esmm_jax.models.experts import Experts, Gate, mix
from esmm_jax.models.interactions import check, Fields, FieldProducts
from esmm_jax.models.interactions import Inputs, split_fields, Term
from esmm_jax.models.layers import MLP, LayerOptions, Tower
from esmm_jax.schema import Schema
from esmm_jax.shared_tables.targets import ATTENTION
from esmm_jax.tasks import Head
from esmm_jax.types import Array, Batch, InputError
import flax.linen as nn
import jax.numpy as jnp


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
    interaction: `none`, `fm` or `deepfm`; see `models.interactions`.
    attention_units: Hidden widths of the unit that weighs the entries of a list
      which is combined by attention; see `ActivationUnit`.
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
  interaction: str = 'none'
  attention_units: Sequence[int] = (36,)
  heads: Sequence[Head] = ()

  def __post_init__(self) -> None:
    super().__post_init__()
    # Before the data is prepared, not only where the network is made.
    check(self.interaction, self.schema)

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
    """The number of embeddings of an id, side by side in a row of the table."""
    return 1

  @property
  def first_order(self) -> int:
    """L, the first-order weights behind each embedding in a row.

    One for each task that reads the embedding, where there is a single one.
    Beside others each embedding has one, which tasks that share it share too.
    """
    if self.interaction != 'deepfm':
      return 0
    return len(self.tasks) if self.num_tables == 1 else 1

  def row_width(self, embed_dim: int) -> int:
    """Returns the numbers in a row of the table, num_tables * (D + L)."""
    return self.num_tables * (embed_dim + self.first_order)

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

  def inputs(self, table: Array, batch: Batch) -> Inputs:
    """Embeds a batch with each of the tables.

    A model hands its outputs to `Inputs.added`.

    Args:
      table: float32 [U, num_tables * (D + L)], the rows that `batch.slots`
        index.
      batch: B examples.

    Returns:
      Vectors and terms. A vector has the fields, crossed, then with
      `interaction='fm'` the products of the pairs.

    Raises:
      InputError: `cross_layers` or `cross_rank` is negative.
    """
    if self.cross_layers < 0 or self.cross_rank < 0:
      raise InputError(
          f'model.cross_layers is {self.cross_layers} and model.cross_rank'
          f' {self.cross_rank}; neither may be negative.'
      )
    form = self.num_tables, self.first_order, self.layer_options
    embed = FeatureEmbedding(self.schema, *form, name='input')
    vectors = embed(table, batch, self._activation_units())
    if self.interaction == 'none':
      return Inputs(self._crossed(vectors), {})
    dim = table.shape[-1] // self.num_tables - self.first_order
    fields = [
        split_fields(v, self.schema, dim, self.first_order) for v in vectors
    ]
    num_floats = len(self.schema.float_fields)
    products = [
        FieldProducts(num_floats, name=name)(f.embedded, f.floats)
        for name, f in zip(self._names('products'), fields)
    ]
    if self.interaction == 'fm':
      pairs = zip(self._crossed(vectors), products)
      joined = [jnp.concatenate(pair, axis=-1) for pair in pairs]
      return Inputs(joined, {})
    terms = self._terms(fields, products)
    return Inputs(self._crossed([f.vector for f in fields]), terms)

  def _terms(
      self, fields: Sequence[Fields], products: Sequence[Array]
  ) -> dict[str, Array]:
    """Computes the factorization machine of each task, float32 [B].

    Args:
      fields: Of each embedding.
      products: p of each, [B, D].
    """
    terms = {}
    for k, task in enumerate(self.tasks):
      # Its own embedding, the one that all share, or both.
      read = [j for j in range(len(fields)) if j == k or self._is_shared(j)]
      column = k if len(fields) == 1 else 0
      term = Term(
          fields[0].floats.shape[-1],
          weighs=len(self.tasks) > 1 and self._is_shared(read[-1]),
          name=f'tower_{task}_fm',
      )
      terms[task] = term(
          [products[j] for j in read],
          [fields[j].first[..., column] for j in read],
          fields[0].floats,
      )
    return terms

  def _is_shared(self, k: int) -> bool:
    """Returns whether all tasks read embedding number k."""
    return self.num_tables == 1 or k >= len(self.tasks)

  def _names(self, part: str) -> list[str]:
    """Names a part of the network for each embedding."""
    # A task's own cross network is named after its tower, so tower_l2 decays it
    # as it does the tower; `shared_cross` is not decayed.
    return [
        f'shared_{part}' if self._is_shared(k) else
        f'tower_{self.tasks[k]}_{part}'
        for k in range(self.num_tables)
    ]

  def _crossed(self, vectors: list[Array]) -> list[Array]:
    """Crosses each vector [B, I] with itself, if the model is to."""
    if not self.cross_layers:
      return vectors
    return [
        CrossNetwork(
            self.cross_layers, self.cross_rank, self.layer_options, name=name
        )(x)
        for name, x in zip(self._names('cross'), vectors)
    ]

  def private_inputs(self, table: Array, batch: Batch) -> list[Array]:
    """Returns the vectors of `inputs`, for a model that adds no terms.

    Raises:
      InputError: There would be terms, with `interaction='deepfm'`.
    """
    if self.interaction == 'deepfm':
      raise InputError(
          f"model.interaction is 'deepfm', and {type(self).__name__} adds no"
          " terms to its outputs; set it to 'fm' or 'none', or take"
          ' `self.inputs(table, batch)` in its `__call__`.'
      )
    return self.inputs(table, batch).vectors

  def _activation_units(self) -> dict[str, list[ActivationUnit]]:
    """Makes the units of each list with attention, one for each embedding."""
    lists = [f for f in self.schema.inputs if f.combiner == ATTENTION]
    make = functools.partial(
        ActivationUnit, tuple(self.attention_units), self.layer_options
    )
    return {
        f.name: [make(name=f'{n}_{k}') for n in self._names('attention')]
        for k, f in enumerate(lists)
    }

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

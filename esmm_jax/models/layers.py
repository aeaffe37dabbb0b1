"""Parts that the architectures are made of.

Parameters are named by the part they belong to (`shared`, `expert`, `gate`,
`tower`), so that "the shared gradients" is a subtree.
"""

from collections.abc import Callable, Sequence

from esmm_jax.schema import Schema
from esmm_jax.types import Array, InputError
import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS = {
    'relu': nn.relu,
    'leaky_relu': nn.leaky_relu,
    'gelu': nn.gelu,
    'silu': nn.silu,
    'tanh': jnp.tanh,
}


def activation(name: str) -> Callable[[Array], Array]:
  """The activation function of that name."""
  if name not in ACTIVATIONS:
    raise InputError(
        f'model.activation is {name!r}; it must be one of'
        f' {sorted(ACTIVATIONS)}.'
    )
  return ACTIVATIONS[name]


class FeatureEmbedding(nn.Module):
  """Fields -> one vector: embeddings side by side, then the floats.

  A list field is pooled inside the field, by the sum of its weighted entries or
  their weighted mean, before the fields are joined (Figure 2 of the ESMM
  paper). The table is not a parameter of this module: the train step hands in
  the rows that the batch touches.

  Attributes:
    schema: The fields.
    num_tables: Embeddings an id has; 2 for two networks that share nothing.
  """

  schema: Schema
  num_tables: int = 1

  def __call__(
      self, table: Array, slots: Array, weights: Array, floats: Array
  ) -> list[Array]:
    """Looks up and joins.

    Args:
      table: float32 [U, num_tables * D].
      slots: int32 [B, S], rows of `table`.
      weights: float32 [B, W], of the list entries.
      floats: float32 [B, N].

    Returns:
      For each of the `num_tables` embeddings float32 [B, F * D + N].
    """
    schema = self.schema
    batch = slots.shape[0]
    embedded = table[slots]  # [B, S, num_tables * D]
    pooled = [embedded[:, : len(schema.id_fields)]]
    start = 0
    for field in schema.list_fields:
      entries = embedded[:, schema.slot_columns[field.name]]  # [B, L, .]
      w = weights[:, start : start + field.max_len, None]  # [B, L, 1]
      start += field.max_len
      vector = jnp.sum(entries * w, axis=1, keepdims=True)  # [B, 1, .]
      if field.combiner == 'mean':
        total = jnp.sum(w, axis=1, keepdims=True)
        vector = vector / jnp.where(total > 0, total, 1.0)
      pooled.append(vector)
    joined = jnp.concatenate(pooled, axis=1) if start else pooled[0]
    parts = jnp.split(joined, self.num_tables, axis=-1)  # each [B, F, D]
    return [
        jnp.concatenate([p.reshape(batch, -1), floats], axis=-1)
        if schema.float_fields
        else p.reshape(batch, -1)
        for p in parts
    ]


class Dense(nn.Module):
  """The parameters of an affine layer, returned rather than applied.

  So that layers that read the same input can be one product (`Towers`).

  Attributes:
    units: Width of the output.
  """

  units: int

  @nn.compact
  def __call__(self, num_inputs: int) -> tuple[Array, Array]:
    """Returns kernel float32 [num_inputs, units] and bias float32 [units]."""
    kernel = self.param(
        'kernel', nn.initializers.he_normal(), (num_inputs, self.units)
    )
    bias = self.param('bias', nn.initializers.zeros, (self.units,))
    return kernel, bias


class Tower(nn.Module):
  """A fully connected network from an input to one logit.

  Its first product may be done outside, together with other towers'. The order
  in a layer is product, batch norm, activation, dropout.

  Attributes:
    units: Widths of the hidden layers.
    activation: Name in `ACTIVATIONS`.
    dropout: Share of the hidden units set to 0 in training.
    batch_norm: Whether hidden layers are normalised over the real examples of
      the batch.
  """

  units: Sequence[int]
  activation: str = 'relu'
  dropout: float = 0.0
  batch_norm: bool = False

  def setup(self):
    if not self.units:
      raise InputError('model.tower_units is empty; name one width at least.')
    self.dense = [Dense(units) for units in (*self.units, 1)]
    if self.batch_norm:
      self.norm = [nn.BatchNorm(momentum=0.9) for _ in self.units]
    self.drop = nn.Dropout(self.dropout)

  def first(self, num_inputs: int) -> tuple[Array, Array]:
    """Kernel and bias of the first layer."""
    return self.dense[0](num_inputs)

  def rest(self, x: Array, where: Array, train: bool) -> Array:
    """From the first layer's output [B, units[0]] to the logit [B]."""
    act = activation(self.activation)
    for k in range(len(self.units)):
      if k:
        kernel, bias = self.dense[k](x.shape[-1])
        x = x @ kernel + bias  # [B, units[k]]
      if self.batch_norm:
        mask = where[:, None] > 0
        x = self.norm[k](x, use_running_average=not train, mask=mask)
      x = self.drop(act(x), deterministic=not train)
    kernel, bias = self.dense[-1](x.shape[-1])
    return (x @ kernel + bias)[:, 0]  # [B]


def run_towers(
    towers: dict[str, Tower],
    inputs: dict[str, Array],
    where: Array,
    train: bool,
) -> dict[str, Array]:
  """Applies towers; those that read the same array share the first product.

  One product of [B, I] with the kernels side by side: the same numbers with
  fewer, larger products. For two towers on a CPU it made no difference in time.

  Args:
    towers: Task name -> tower.
    inputs: Task name -> float32 [B, I]; the same object where towers share it.
    where: float32 [B].
    train: Whether dropout and batch norm are in training mode.

  Returns:
    Task name -> logit float32 [B].
  """
  logits = {}
  for x in {id(x): x for x in inputs.values()}.values():
    names = [n for n in towers if inputs[n] is x]
    firsts = [towers[n].first(x.shape[-1]) for n in names]
    kernel = jnp.concatenate([k for k, _ in firsts], axis=1)
    bias = jnp.concatenate([b for _, b in firsts])
    hidden = x @ kernel + bias  # [B, sum of the first widths]
    start = 0
    for n, (k, _) in zip(names, firsts):
      part = jax.lax.slice_in_dim(hidden, start, start + k.shape[1], axis=1)
      start += k.shape[1]
      logits[n] = towers[n].rest(part, where, train)
  return {n: logits[n] for n in towers}

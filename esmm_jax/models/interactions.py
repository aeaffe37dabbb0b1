"""Second-order interactions of the fields: factorization machines.

`model.interaction` puts them on the vectors v_i of the fields. With

    p = sum over pairs i < j of v_i * v_j                           # [B, D]
      = ((sum_i v_i)^2 - sum_i v_i^2) / 2

`fm` appends p to the input vector of the networks, and `deepfm` adds to the
output of each task a factorization machine of its own,

    sum_i w_i + sum_d p_d

A field of ids has the vector of its id, a list the pooled one of its entries:
pairs are of two fields, not of two entries of a list. A float x has x v and x w
with a vector v and weights w of the field, which are parameters of the network.

References:
  Rendle, Factorization Machines, ICDM 2010, equation 1 and lemma 3.1.
  He and Chua, Neural Factorization Machines, SIGIR 2017, equation 4, for `fm`.
  Guo et al., DeepFM, IJCAI 2017, equations 1 and 2, for `deepfm`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from esmm_jax.schema import Schema
from esmm_jax.types import Array, InputError, suggest
import flax.linen as nn
import jax.numpy as jnp

INTERACTIONS = ('none', 'fm', 'deepfm')
_VECTORS = nn.initializers.normal(0.01)  # As the embeddings by default.


class Inputs(NamedTuple):
  """The inputs of the networks, and terms that pass them by.

  Attributes:
    vectors: [B, I] for each embedding. Number k belongs to task k; one past
      those of the tasks, or a single one, is shared.
    terms: Task -> float32 [B], which is added to its output; {} for none.
  """

  vectors: list[Array]
  terms: Mapping[str, Array]

  @property
  def shared(self) -> Array:
    """The vector of the one embedding of a model, [B, I]."""
    return self.vectors[0]

  def added(self, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Adds the terms to the outputs of the towers, float32 [B] each."""
    return {
        name: y + self.terms[name] if name in self.terms else y
        for name, y in outputs.items()
    }


class Fields(NamedTuple):
  """An output of `FeatureEmbedding` in parts.

  Attributes:
    vector: Embeddings and floats, [B, I].
    embedded: The embeddings by field, [B, F, D].
    floats: [B, N].
    first: The first-order weights by field, [B, F, L].
  """

  vector: Array
  embedded: Array
  floats: Array
  first: Array


def split_fields(
    x: Array, schema: Schema, dim: int, first_order: int
) -> Fields:
  """Splits an output of `FeatureEmbedding`.

  Args:
    x: [B, F * D + N + F * L].
    schema: The fields.
    dim: D.
    first_order: L.
  """
  size, num_floats = x.shape[0], len(schema.float_fields)
  num = (x.shape[1] - num_floats) // (dim + first_order)
  embedded = num * dim
  width = embedded + num_floats
  return Fields(
      x[:, :width],
      x[:, :embedded].reshape(size, num, dim),
      x[:, embedded:width],
      x[:, width:].reshape(size, num, first_order),
  )


def check(interaction: str, schema: Schema) -> None:
  """Refuses an unknown interaction, and one of fields without a pair.

  Raises:
    InputError: Names the key.
  """
  if interaction not in INTERACTIONS:
    raise InputError(
        f'model.interaction is {interaction!r}.'
        f' {suggest(str(interaction), INTERACTIONS)}'
    )
  # A schema without fields is that of data that are not prepared yet.
  if interaction != 'none' and len(schema.fields) == 1:
    raise InputError(
        f'model.interaction is {interaction!r}, and {schema.fields[0].name!r}'
        " is the only field, so there are no pairs; set it to 'none'."
    )


def pair_products(vectors: Array) -> Array:
  """Adds up the products of all pairs of vectors, element by element.

  Args:
    vectors: [B, F, D].

  Returns:
    [B, D], by the lemma that takes F products for F (F - 1) / 2.
  """
  total = jnp.sum(vectors, axis=1)
  return (total**2 - jnp.sum(vectors**2, axis=1)) / 2


class FieldProducts(nn.Module):
  """Multiplies the vectors of the fields pair by pair.

  Attributes:
    num_floats: N, float fields.
  """

  num_floats: int

  @nn.compact
  def __call__(self, embedded: Array, floats: Array) -> Array:
    """Computes p [B, D] of embedded [B, F, D] and floats [B, N]."""
    if self.num_floats:
      shape = (self.num_floats, embedded.shape[-1])
      vectors = self.param('float_vectors', _VECTORS, shape)
      scaled = floats[..., None] * vectors  # [B, N, D]
      embedded = jnp.concatenate([embedded, scaled], axis=1)
    return pair_products(embedded)


class Term(nn.Module):
  """The factorization machine of a task.

  Attributes:
    num_floats: N, float fields.
    weighs: Weighs the sum over p, by ones at the start: tasks that share an
      embedding, and so p, would have one and the same number otherwise.
  """

  num_floats: int
  weighs: bool

  @nn.compact
  def __call__(
      self, products: Sequence[Array], first: Sequence[Array], floats: Array
  ) -> Array:
    """Computes the term.

    Args:
      products: p of each embedding that the task reads, [B, D].
      first: The first-order weights w_i of each, [B, F].
      floats: [B, N].

    Returns:
      float32 [B].
    """
    second = sum(products)
    if self.weighs:
      ones = nn.initializers.ones_init()
      second *= self.param('product_weights', ones, (second.shape[-1],))
    term = jnp.sum(second, axis=-1) + jnp.sum(sum(first), axis=-1)
    if self.num_floats:
      zeros = nn.initializers.zeros_init()
      term += floats @ self.param('float_weights', zeros, (self.num_floats,))
    return term

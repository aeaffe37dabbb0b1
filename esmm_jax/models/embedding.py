"""Embeds the ids of a batch into the input vectors of the networks."""

from collections.abc import Mapping, Sequence
import itertools

from esmm_jax.embeddings.sums import sums_by_index, take
from esmm_jax.embeddings.vectors import field_of
from esmm_jax.models.attention import ActivationUnit, attend
from esmm_jax.models.layers import LayerOptions
from esmm_jax.schema import Field, Schema, SlotLayout
from esmm_jax.shared_tables.targets import ATTENTION
from esmm_jax.types import Array, Batch
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class FeatureEmbedding(nn.Module):
  """Joins the fields to one vector: embeddings side by side, then the floats.

  A list field is pooled inside the field, by the sum of its weighted entries or
  their weighted mean, before the fields are joined (Figure 2 of the ESMM
  paper), or by attention to another field (`models.attention`). The table is
  not a parameter of this module: the train step passes in the rows that the
  batch touches, so that only those have a gradient.

  Attributes:
    schema: The fields.
    num_tables: Embeddings of an id; 2 for two networks that share nothing.
    first_order: L, first-order weights behind each embedding of an id.
    options: Initialiser and dtype of the projections of `Batch.vectors`.
  """

  schema: Schema
  num_tables: int = 1
  first_order: int = 0
  options: LayerOptions = LayerOptions()

  @nn.compact
  def __call__(
      self,
      table: Array,
      batch: Batch,
      units: Mapping[str, Sequence[ActivationUnit]] | None = None,
  ) -> list[Array]:
    """Looks the ids up, pools lists and joins the fields.

    Args:
      table: float32 [U, num_tables * (D + L)].
      batch: Its `slots` and `groups.slots` are rows of `table`.
      units: Of each list that is combined by attention: one for each of the
        `num_tables` embeddings (`Architecture.inputs` has them).

    Returns:
      For each of the `num_tables` embeddings float32 [B, F * D + N + F * L].
      With K fields of `Batch.vectors` F + K in place of F: each is projected to
      D numbers, without a bias, and stands behind the embeddings.
    """
    schema = self.schema
    size = batch.slots.shape[0]
    joined = _pooled(
        schema.row_part,
        table,
        batch.slots,
        batch.weights,
        units or {},
        self.first_order,
    )
    if schema.group_part.num_slots:
      groups = batch.groups
      # Each group is pooled once, however many of its examples are here.
      by_group = _pooled(
          schema.group_part, table, groups.slots, groups.weights, {}
      )  # [G, F', .]
      by_example = take(by_group, groups.segment_ids)  # [B, F', .]
      joined = jnp.concatenate([joined, by_example], axis=1)
    parts = jnp.split(joined, self.num_tables, axis=-1)  # each [B, F, D + L]
    floats = [batch.floats] if schema.float_fields else []

    def joined_fields(part: Array) -> Array:
      stop = part.shape[-1] - self.first_order
      whole = [part[..., :stop].reshape(size, -1), *floats]
      if self.first_order:
        whole.append(part[..., stop:].reshape(size, -1))
      return jnp.concatenate(whole, axis=-1) if len(whole) > 1 else whole[0]

    return [
        joined_fields(self._with_vectors(part, batch, k))
        for k, part in enumerate(parts)
    ]

  def _with_vectors(self, part: Array, batch: Batch, number: int) -> Array:
    """Adds the projections of a batch's vectors as more fields of a part.

    They have no first-order weights: theirs are 0.

    Args:
      part: One of the embeddings, [B, F, D + L].
      batch: With K vectors.
      number: Of the embedding.

    Returns:
      [B, F + K, D + L].
    """
    if not batch.vectors:
      return part
    name = 'vectors' if self.num_tables == 1 else f'vectors_{number}'
    dim = part.shape[-1] - self.first_order
    fields = [
        self.options.dense(dim, f'{name}_{key}', use_bias=False)(v)
        for key, v in sorted_by_field(batch.vectors)
    ]
    more = jnp.stack(fields, axis=1).astype(part.dtype)  # [B, K, D]
    more = jnp.pad(more, ((0, 0), (0, 0), (0, self.first_order)))
    return jnp.concatenate([part, more], axis=1)


def neighbours(part: SlotLayout) -> list[tuple[Field, ...]]:
  """Returns the lists that are looked up together, in their order.

  They stand next to each other, are of one length, and all or none of them are
  combined by attention.
  """
  alike = lambda f: (f.max_len, f.combiner == ATTENTION)
  return [tuple(run) for _, run in itertools.groupby(part.pooled_fields, alike)]


def _pooled(
    part: SlotLayout,
    table: Array,
    slots: Array,
    weights: Array,
    units: Mapping[str, Sequence[ActivationUnit]],
    first_order: int = 0,
) -> Array:
  """Pools each field of a part of the schema: [n, F, num_tables * (D + L)]."""
  first = len(part.id_fields)
  ids = take(table, slots[:, :first])
  pooled, start = [ids], 0
  for run in neighbours(part):
    length = run[0].max_len
    stop = start + len(run) * length
    by_list = (-1, len(run), length)
    w = weights[:, start:stop].reshape(by_list)
    entries = slots[:, first + start : first + stop].reshape(by_list)
    start = stop
    if run[0].combiner == ATTENTION:
      vectors = take(table, entries)  # [n, len(run), length, .]
      attended = [
          attend(
              units[f.name],
              vectors[:, k],
              ids[:, part.columns[f.target].start],
              w[:, k],
              first_order,
          )
          for k, f in enumerate(run)
      ]
      pooled.append(jnp.stack(attended, axis=1))
      continue
    mean = np.array([f.combiner == 'mean' for f in run])
    vectors = pooled_sum(table, entries, w)  # [n, len(mean), .]
    if mean.any():
      # An empty list is the zero vector, not 0 / 0.
      total = jnp.sum(w, axis=2, keepdims=True)
      divided = mean[:, None] & (total > 0)
      vectors = vectors / jnp.where(divided, total, 1.0)
    pooled.append(vectors)
  return jnp.concatenate(pooled, axis=1) if start else pooled[0]


@jax.custom_vjp
def pooled_sum(table: Array, slots: Array, weights: Array) -> Array:
  """Adds up the weighted entries of lists of one length, each by itself.

  Args:
    table: float32 [U, D].
    slots: int32 [n, F, L], rows of `table`.
    weights: float32 [n, F, L].

  Returns:
    float32 [n, F, D], the sums over L of weight times row.
  """
  return jax.lax.platform_dependent(
      jnp.asarray(table), slots, weights, cpu=_by_position, default=_at_once
  )


def _by_position(table: Array, slots: Array, weights: Array) -> Array:
  """Adds position by position: the sums stay in the cache of a CPU."""

  def add(total: Array, position: tuple[Array, Array]) -> tuple[Array, None]:
    row, weight = position
    return total + table[row] * weight[..., None], None

  zeros = jnp.zeros((*slots.shape[:2], table.shape[1]), table.dtype)
  positions = jnp.moveaxis(slots, 2, 0), jnp.moveaxis(weights, 2, 0)
  return jax.lax.scan(add, zeros, positions, unroll=4)[0]


def _at_once(table: Array, slots: Array, weights: Array) -> Array:
  """Adds in one go, which takes memory for [n, F, L, D] and few kernels."""
  return jnp.sum(table[slots] * weights[..., None], axis=2)


def _pooled_sum_forward(
    table: Array, slots: Array, weights: Array
) -> tuple[Array, tuple[Array, Array, Array]]:
  return pooled_sum(table, slots, weights), (table, slots, weights)


def _pooled_sum_backward(
    saved: tuple[Array, Array, Array], gradient: Array
) -> tuple[Array, None, Array]:
  """Turns the gradient by the sums, [n, F, D], into those by the arguments."""
  # One scatter: the loop's own derivative would take one for each position.
  table, slots, weights = saved
  rows = gradient[:, :, None] * weights[..., None]  # [n, F, L, D]
  by_weights = jnp.einsum('nfd,nfld->nfl', gradient, table[slots])
  return sums_by_index(slots, rows, num=len(table)), None, by_weights


pooled_sum.defvjp(_pooled_sum_forward, _pooled_sum_backward)


def sorted_by_field(vectors: Mapping[str, Array]) -> list[tuple[str, Array]]:
  """Returns `Batch.vectors` in the order of the fields."""
  number = lambda item: int(item[0].partition('_')[0])
  return sorted(vectors.items(), key=number)


def field_columns(
    schema: Schema, width: int, vectors: Mapping[str, Array] | None = None
) -> dict[str, list[int]]:
  """Returns the columns of each field in the output of `FeatureEmbedding`.

  Args:
    schema: The fields.
    width: Width of the vector, F * D + N, with K `vectors` (F + K) * D + N.
    vectors: `Batch.vectors`; their columns are with those of their field.

  Returns:
    Field name -> its columns.
  """
  embedded, more = schema.inputs, sorted_by_field(vectors or {})
  num = len(embedded) + len(more)
  dim = (width - len(schema.float_fields)) // max(num, 1)
  columns = {
      f.name: list(range(k * dim, (k + 1) * dim))
      for k, f in enumerate(embedded)
  }
  for k, (key, _) in enumerate(more, len(embedded)):
    columns[field_of(schema, key).name] += range(k * dim, (k + 1) * dim)
  start = num * dim
  return columns | {
      f.name: [start + k] for k, f in enumerate(schema.float_fields)
  }


class CrossNetwork(nn.Module):
  """Explicit feature crosses of bounded degree, DCN-v2.

      x_(l+1) = x_0 * (W_l x_l + b_l) + x_l

  Attributes:
    layers: Number of layers; the degree of the polynomial is one more.
    rank: 0 for a full matrix W; r > 0 for W = U V with r columns of U.
    options: Initialiser and dtype of the products.

  References:
    Wang et al., DCN V2, WWW 2021, equation 1; its section on low-rank DCN for
    the rank.
  """

  layers: int
  rank: int
  options: LayerOptions

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Crosses x float32 [B, I] with itself: [B, I]."""
    first = x
    for k in range(self.layers):
      y = x
      if self.rank:
        y = self.options.dense(self.rank, f'down_{k}', use_bias=False)(y)
      y = self.options.dense(first.shape[-1], f'dense_{k}')(y)
      x = first * y + x  # [B, I]
    return x

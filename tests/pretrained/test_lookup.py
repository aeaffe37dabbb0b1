"""Vectors of a batch, beside those that NumPy looks up and pools."""

from esmm_jax.embeddings import vectors
from esmm_jax.models.embedding import FeatureEmbedding, field_columns
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Batch, Groups
import jax
import numpy as np
import pytest

SCHEMA = Schema(
    (
        Field('user', vocab_size=7),
        Field('price', 'float'),
        Field('tags', 'ids', vocab_size=6, max_len=3, combiner='mean'),
        Field('cart', 'ids', vocab_size=9, max_len=2, weighted=True,
              table='item'),
        Field('item', vocab_size=9),
        Field('city', 'id', vocab_size=5, by_group=True),
        Field('past', 'ids', vocab_size=9, max_len=2, table='item',
              by_group=True),
    ),
    group='g',
)
SIZES = {'item': 4, 'tags': 3, 'cart': 2, 'city': 5, 'past': 2}
B, G, D = 8, 3, 2


def numbers(*shape):
  return np.random.default_rng(shape).normal(size=shape).astype(np.float32)


def batch_of(rng):
  """Ids of each field, [n, L] and weights; and the batch, not compacted."""
  ids, weights, slots, slot_weights = {}, {}, {}, {}
  for part, num in ((SCHEMA.row_part, B), (SCHEMA.group_part, G)):
    for f in part.fields:
      ids[f.name] = rng.integers(0, f.vocab_size, (num, f.max_len))
      weights[f.name] = np.ones((num, f.max_len), np.float32)
      if f.pooled:
        weights[f.name] = rng.random((num, f.max_len)).astype(np.float32)
        weights[f.name][rng.random((num, f.max_len)) < 0.4] = 0  # Padding.
        weights[f.name][0] = 0  # An empty list.
    slots[num] = np.concatenate(
        [ids[f.name] + SCHEMA.offsets[f.table] for f in part.fields], axis=1)
    slot_weights[num] = np.concatenate(
        [np.zeros((num, 0), np.float32)]
        + [weights[f.name] for f in part.pooled_fields], axis=1)
  segments = rng.integers(0, G, B)
  batch = Batch(
      np.zeros(0, np.int32), slots[B].astype(np.int32), slot_weights[B],
      rng.normal(size=(B, 1)).astype(np.float32), {}, np.ones(B, np.float32),
      Groups(slots[G].astype(np.int32), slot_weights[G],
             segments.astype(np.int32)))
  return ids, weights, batch


def compacted(batch):
  """The same with `rows`, padded with a row past the table."""
  every = np.concatenate([batch.slots.ravel(), batch.groups.slots.ravel()])
  rows = np.unique(every)
  find = lambda slots: np.searchsorted(rows, slots).astype(np.int32)
  groups = batch.groups._replace(slots=find(batch.groups.slots))
  rows = np.append(rows, [SCHEMA.num_rows] * 3).astype(np.int32)
  return batch._replace(rows=rows, slots=find(batch.slots), groups=groups)


def expected(ids, weights, batch, field, table):
  """float64 [B, d], as the definition has it."""
  field = SCHEMA.field(field)
  w = weights[field.name].astype(np.float64)[..., None]
  total = (table.astype(np.float64)[ids[field.name]] * w).sum(axis=1)
  if field.combiner == 'mean' and field.pooled:
    total /= np.where(w.sum(axis=1) > 0, w.sum(axis=1), 1)
  return total[batch.groups.segment_ids] if field.by_group else total


@pytest.mark.parametrize('compact', [False, True])
def test_every_kind_of_field(compact):
  ids, weights, batch = batch_of(np.random.default_rng(3))
  tables = {
      name: numbers(SCHEMA.field(name).vocab_size, size)
      for name, size in SIZES.items()}
  # Replicas have the same; a second one shows which is read.
  stats = {'norm': np.ones(2), 'vectors': {
      vectors.name_of(SCHEMA, n): np.stack([t, t]) for n, t in tables.items()}}
  given = compacted(batch) if compact else batch
  rest, result = vectors.attached(SCHEMA, stats, given)
  assert list(rest) == ['norm'] and list(stats) == ['norm', 'vectors']
  assert len(result.vectors) == len(SIZES)
  for name, table in tables.items():
    np.testing.assert_allclose(
        result.vectors[vectors.name_of(SCHEMA, name)],
        expected(ids, weights, batch, name, table), rtol=1e-6, atol=1e-7)


def test_without_vectors_nothing_changes():
  _, _, batch = batch_of(np.random.default_rng(3))
  stats = {'norm': np.ones(2)}
  rest, result = vectors.attached(SCHEMA, stats, batch)
  assert rest is stats and result is batch and result.vectors == {}


@pytest.mark.parametrize('tables', [1, 2])
def test_the_input_vector(tables):
  """The embeddings, then each projection as one more field, then numbers."""
  ids, weights, batch = batch_of(np.random.default_rng(4))
  city, item = numbers(5, 5), numbers(9, 4)
  stats = {'vectors': {
      vectors.name_of(SCHEMA, 'city'): city[None],
      vectors.name_of(SCHEMA, 'item'): item[None]}}
  _, batch = vectors.attached(SCHEMA, stats, batch)
  embed = FeatureEmbedding(SCHEMA, tables)
  table = numbers(SCHEMA.num_rows, tables * D)
  params = embed.init(jax.random.key(0), table, batch)
  outputs = embed.apply(params, table, batch)
  plain = embed.apply({}, table, batch._replace(vectors={}))
  # In the order of `Schema.inputs`: item is 1, city 4.
  for k, (out, without) in enumerate(zip(outputs, plain, strict=True)):
    begin = 'vectors' if tables == 1 else f'vectors_{k}'
    kernels = {
        n: np.asarray(params['params'][f'{begin}_{n}']['kernel'], np.float64)
        for n in ('1_item', '4_city')}
    projected = [
        expected(ids, weights, batch, 'item', item) @ kernels['1_item'],
        expected(ids, weights, batch, 'city', city) @ kernels['4_city']]
    np.testing.assert_array_equal(out[:, : 6 * D], without[:, : 6 * D])
    np.testing.assert_array_equal(out[:, -1:], without[:, -1:])
    np.testing.assert_allclose(
        out[:, 6 * D : -1], np.concatenate(projected, axis=1), rtol=1e-5,
        atol=1e-6)
  columns = field_columns(SCHEMA, outputs[0].shape[1], batch.vectors)
  assert columns['item'] == [2, 3, 12, 13]
  assert columns['price'] == [16]
  assert sorted(sum(columns.values(), [])) == list(range(17))

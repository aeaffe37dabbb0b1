"""Pooled lists and their gradients, against NumPy in float64."""

from esmm_jax.models.embedding import FeatureEmbedding, pooled_sum
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Batch, Groups
import jax
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures('quick_compilation')

ROWS, DIM = 30, 3


def pooled64(schema, part, table, slots, weights):
  """[n, F, D] in float64, and the sums of the entries' sizes as large."""
  vectors, sizes, start = [], [], 0
  for f in part.fields:
    entries = table[slots[:, part.columns[f.name]]].astype(np.float64)
    w = np.ones((len(slots), 1))
    if f.pooled:
      w = weights[:, start : start + f.max_len].astype(np.float64)
      start += f.max_len
    w = w / norm(f, w)
    vectors.append(np.einsum('nl,nld->nd', w, entries))
    sizes.append(np.einsum('nl,nld->nd', np.abs(w), np.abs(entries)))
  return np.stack(vectors, 1), np.stack(sizes, 1)


def gradient64(schema, part, gradient, slots, weights):
  """The gradient by the table, [ROWS, D], of `gradient` [n, F, D]."""
  by_row, start = np.zeros((ROWS, gradient.shape[-1])), 0
  for k, f in enumerate(part.fields):
    w = np.ones((len(slots), 1))
    if f.pooled:
      w = weights[:, start : start + f.max_len].astype(np.float64)
      start += f.max_len
    w = w / norm(f, w)
    np.add.at(by_row, slots[:, part.columns[f.name]],
              w[..., None] * gradient[:, None, k].astype(np.float64))
  return by_row


def norm(field, w):
  """What a list is divided by: an empty one, and a sum, by 1."""
  total = w.sum(axis=1, keepdims=True)
  means = field.kind == 'ids' and field.combiner == 'mean'
  return np.where(means & (total > 0), total, 1.0)


def drawn(part, num, rng):
  """Slots, and weights of lists of 0 to `max_len` entries."""
  slots = rng.integers(0, ROWS, (num, part.num_slots)).astype(np.int32)
  weights = [np.zeros((num, 0))]
  for f in part.pooled_fields:
    w = rng.random((num, f.max_len)) if f.weighted else 1
    length = rng.integers(0, f.max_len + 1, (num, 1))
    weights.append(np.where(np.arange(f.max_len) < length, w, 0))
  return slots, np.concatenate(weights, axis=1).astype(np.float32)


# Case -> single ids, lists of the rows and of the groups: each its longest
# length, whether it is weighted, and the combiner.
CASES = {
    'a run of mixed combiners': (
        2, [(4, True, 'mean'), (4, False, 'sum'), (4, False, 'mean')], []),
    'runs of several lengths': (
        1, [(1, True, 'mean'), (6, False, 'sum'), (6, True, 'sum'),
            (2, False, 'mean'), (6, True, 'mean')], []),
    'groups, no ids': (
        0, [(3, True, 'mean')], [(5, True, 'sum'), (5, True, 'mean')]),
}


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_vectors_and_gradients(case):
  """Of all kinds of lists and parts; two embeddings of an id."""
  num_ids, of_rows, of_groups = CASES[case]
  fields = [Field(f'id_{k}', vocab_size=ROWS, table='all')
            for k in range(num_ids)]
  fields += [
      Field(f'{name}_{k}', 'ids', ROWS, length, weighted, combiner, 'all',
            by_group=name == 'group')
      for name, lists in (('row', of_rows), ('group', of_groups))
      for k, (length, weighted, combiner) in enumerate(lists)]
  fields.append(Field('one', vocab_size=ROWS, weighted=True, table='all'))
  schema, rng = Schema(tuple(fields), group='user'), np.random.default_rng(0)
  table = rng.normal(size=(ROWS, 2 * DIM)).astype(np.float32)
  slots, weights = drawn(schema.row_part, 5, rng)
  groups = None
  if of_groups:
    groups = Groups(*drawn(schema.group_part, 2, rng),
                    np.array([0, 1, 1, 0, 1], np.int32))
  batch = Batch(np.zeros(0, np.int32), slots, weights, np.zeros((5, 0)), {},
                np.ones(5, np.float32), groups)
  model = FeatureEmbedding(schema, 2)

  @jax.jit
  def run(table, batch, halves):
    got, back = jax.vjp(lambda t: model.apply({}, t, batch), table)
    return got, back(halves)[0]

  want, size = pooled64(schema, schema.row_part, table, slots, weights)
  g = rng.normal(size=(5, len(schema.inputs), 2 * DIM)).astype(np.float32)
  halves = [g[..., :DIM].reshape(5, -1), g[..., DIM:].reshape(5, -1)]
  got, got_by_row = run(table, batch, halves)
  own = len(schema.row_part.fields)
  by_row = gradient64(schema, schema.row_part, g[:, :own], slots, weights)
  most = gradient64(
      schema, schema.row_part, np.abs(g[:, :own]), slots, weights)
  if of_groups:
    ids = groups.segment_ids
    shared = pooled64(schema, schema.group_part, table, *groups[:2])
    want = np.concatenate([want, shared[0][ids]], axis=1)
    size = np.concatenate([size, shared[1][ids]], axis=1)
    each = [np.stack([x[ids == k].sum(0) for k in range(2)])
            for x in (g[:, own:], np.abs(g[:, own:]))]
    by_row += gradient64(schema, schema.group_part, each[0], *groups[:2])
    most += gradient64(schema, schema.group_part, each[1], *groups[:2])
  for k, vectors in enumerate(got):
    half = slice(k * DIM, (k + 1) * DIM)
    error = np.abs(vectors.reshape(5, -1, DIM) - want[..., half])
    assert (error <= 1e-6 * size[..., half]).all()
  error = np.abs(got_by_row - by_row)
  assert (error <= 1e-6 * most).all()


def test_all_arguments_have_gradients():
  """Of a sum, by the table and by the weights, in float64 NumPy."""
  rng = np.random.default_rng(0)
  table = rng.normal(size=(ROWS, DIM)).astype(np.float32)
  slots = rng.integers(0, ROWS, (4, 2, 5)).astype(np.int32)
  weights = rng.random((4, 2, 5)).astype(np.float32)
  g = rng.normal(size=(4, 2, DIM)).astype(np.float32)

  @jax.jit
  def run(table, slots, weights, g):
    return jax.vjp(lambda t, w: pooled_sum(t, slots, w), table, weights)[1](g)

  by_table, by_weights = run(table, slots, weights, g)
  want = np.einsum('nfd,nfld->nfl', np.float64(g), np.float64(table[slots]))
  np.testing.assert_allclose(by_weights, want, rtol=1e-5, atol=1e-6)
  want = np.zeros((ROWS, DIM))
  np.add.at(want, slots, np.float64(weights)[..., None] * g[:, :, None])
  np.testing.assert_allclose(by_table, want, rtol=1e-5, atol=1e-6)

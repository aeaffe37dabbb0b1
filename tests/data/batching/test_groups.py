"""Sessions: what their rows share is stored and embedded once."""

from collections.abc import Iterator
import os
from typing import Any

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.padding import GroupTable
from esmm_jax.data.store import prepared_files
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.columns import open_folder, take_rows
from esmm_jax.data.store.columns import write_column
from esmm_jax.models.embedding import FeatureEmbedding
from esmm_jax.schema import Field, Schema
from esmm_jax.types import Columns, InputError, Ragged
import jax
import jax.numpy as jnp
import numpy as np
import pytest

SIZES = {'train': (61, 40), 'valid': (17,), 'test': (30,)}
NUM_GROUPS = {'train': 23, 'valid': 4, 'test': 7}
FIELDS = (
    Field('user', vocab_size=9, by_group=True),
    Field('item', vocab_size=11),
    Field(
        'shops', 'ids', vocab_size=13, max_len=3, weighted=True, by_group=True
    ),
    Field('tags', 'ids', vocab_size=5, max_len=2),
    Field('met', vocab_size=6, weighted=True),
)
SCHEMA = Schema(FIELDS, group='session')
# The same as if each row had all of its session's.
FLAT = Schema(
    tuple(
        Field(
            f.name, f.kind, f.vocab_size, f.max_len, f.weighted, f.combiner,
            f.table,
        )
        for f in SCHEMA.row_part.fields + SCHEMA.group_part.fields
    ),
    group='session',
)


def lists(rng, num: int, size: int, most: int) -> Ragged:
  lengths = rng.integers(0, most, num)
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  return Ragged(
      rng.integers(0, size, offsets[-1]).astype(np.int32),
      offsets,
      rng.random(offsets[-1]).astype(np.float16),
  )


class Grouped(ColumnarBuilder):
  """Rows of a split in order of their sessions."""

  name = 'grouped'

  def _describe(self) -> tuple[Schema, dict[str, str]]:
    return SCHEMA, dict(description='', homepage='', citation='')

  def _generate_splits(
      self,
  ) -> tuple[Schema, dict[str, Iterator[Columns]], dict[str, Any]]:
    for split, num in NUM_GROUPS.items():
      rng = np.random.default_rng(num)
      folder = self.group_folder(split)
      os.makedirs(folder)
      users = rng.integers(0, 9, num).astype(np.int32)
      write_column(folder, 'user', users)
      write_column(folder, 'shops', lists(rng, num, 13, 6))
    return SCHEMA, {split: self._shards(split) for split in SIZES}, {}

  def _shards(self, split: str) -> Iterator[Columns]:
    rng = np.random.default_rng(len(split))
    num, start = sum(SIZES[split]), 0
    session = np.sort(rng.integers(0, NUM_GROUPS[split], num)).astype(np.int32)
    for n in SIZES[split]:
      click = rng.integers(0, 2, n).astype(np.int8)
      met = rng.integers(0, 6, n).astype(np.int32)
      yield dict(
          item=rng.integers(0, 11, n).astype(np.int32),
          tags=lists(rng, n, 5, 4),
          met=met,
          click=click,
          conversion=click * rng.integers(0, 2, n).astype(np.int8),
          session=session[start : start + n],
          **{'met.weight': rng.random(n).astype(np.float16) * (met > 0)},
      )
      start += n


@pytest.fixture(scope='module')
def grouped(tmp_path_factory):
  return Grouped(data_dir=str(tmp_path_factory.mktemp('groups'))).prepare()


def looked_up(batch, schema: Schema, row: int) -> dict[str, tuple]:
  """Field -> (ids, weights) of an example, padding left out."""
  found = {}
  parts = [(schema.row_part, batch.slots[row], batch.weights[row])]
  if batch.groups is not None:
    of = batch.groups.segment_ids[row]
    parts.append(
        (schema.group_part, batch.groups.slots[of], batch.groups.weights[of])
    )
  for part, slots, weights in parts:
    ids = batch.rows[slots] if len(batch.rows) else slots
    for f in part.fields:
      columns = part.columns[f.name]
      own = ids[columns] - schema.offsets[f.table]
      if f in part.pooled_fields:
        shift = len(part.id_fields)
        w = weights[columns.start - shift : columns.stop - shift]
        found[f.name] = [(i, x) for i, x in zip(own.tolist(), w.tolist()) if x]
      else:
        found[f.name] = own.tolist()
  return found


def expected(columns: Columns, row: int) -> dict[str, tuple]:
  """The same, from the columns of `joined`."""
  found = {n: [int(columns[n][row])] for n in ('user', 'item')}
  for name, most in (('shops', 3), ('tags', 2)):
    c = columns[name]
    entries = range(c.offsets[row], min(c.offsets[row] + most,
                                        c.offsets[row + 1]))
    found[name] = [
        (int(c.values[i]), float(c.weights[i])) for i in entries if c.weights[i]
    ]
  weight = float(columns['met.weight'][row])
  found['met'] = [(int(columns['met'][row]), weight)] if weight else []
  return found


@pytest.mark.parametrize('split', ['train', 'valid+train[10:90]', 'test[5:]'])
@pytest.mark.parametrize('compacted', [True, False])
def test_each_row_has_what_its_session_has(grouped, split, compacted):
  source = grouped.as_data_source(split)
  whole = source.joined(0, len(source))
  batches = Batches(source, SCHEMA, 16, shuffle=False, compacted=compacted)
  assert batches.group_capacity <= 16
  row = 0
  for batch in batches.iterate(0, len(batches)):
    for k in range(int(batch.where.sum())):
      assert looked_up(batch, SCHEMA, k) == expected(whole, row)
      row += 1
  assert row == len(source)


def test_sessions_of_two_splits_are_not_confused(grouped):
  both = grouped.as_data_source('train+valid')
  assert both.num_groups == 23 + 4
  session = both.read(0, len(both))['session']
  own = grouped.as_data_source('valid').read(0, 17)['session']
  np.testing.assert_array_equal(session[101:], own + 23)
  user = both.joined(110, 111)['user']
  groups = grouped.as_data_source('valid').groups
  assert user.tolist() == [groups['user'][own[9]]]


def test_padding_touches_no_other_row(grouped):
  source = grouped.as_data_source('test')
  batches = Batches(source, SCHEMA, 16, shuffle=False)
  last = batches(1)
  assert last.where.sum() == 14
  whole = source.joined(16, 30)
  rows = set()
  num = SCHEMA.num_rows
  touched = set(last.rows[last.rows < num].tolist())
  offset = SCHEMA.offsets
  for k in range(14):
    rows.add(int(whole['user'][k]) + offset['user'])
    rows.add(int(whole['item'][k]) + offset['item'])
  # Besides these only lists and their padding, id 0.
  users = {r for r in touched if 0 <= r - offset['user'] < 9}
  items = {r for r in touched if 0 <= r - offset['item'] < 11}
  assert users | items == rows


@pytest.mark.parametrize('run', [1, 2, 5, 1000])
def test_runs_of_a_session_stay_together(grouped, run):
  source = grouped.as_data_source('train')
  batches = Batches(source, SCHEMA, 101, group_run=run, seed=3)
  whole = source.read(0, 101)
  order = batches.order(0)
  np.testing.assert_array_equal(np.sort(order), np.arange(101))
  batch, session = batches(0), whole['session'][order]
  np.testing.assert_array_equal(
      batch.labels['click'], whole['click'][order].astype(np.float32)
  )
  # Of the batch's own numbers of the groups, each is one session.
  segments = batch.groups.segment_ids.tolist()
  assert len({*zip(segments, session.tolist())}) == len(
      set(session.tolist())) == len(set(segments))
  changes = 1 + np.count_nonzero(np.diff(session))
  runs = sum(-(-n // run) for n in np.bincount(whole['session']) if n)
  assert changes <= runs
  if run > 1:  # Two pieces of one session may happen to meet.
    assert changes > runs - 12
  again = Batches(source, SCHEMA, 101, group_run=run, seed=3)
  np.testing.assert_array_equal(again.order(0), order)


def test_runs_need_a_group(toy):
  schema = toy.schema.select(['user'])
  schema = Schema(schema.fields)
  with pytest.raises(InputError, match='group_run is 2'):
    Batches(toy.as_data_source('train'), schema, 8, group_run=2)
  with pytest.raises(InputError, match='group_run is 0'):
    Batches(toy.as_data_source('train'), toy.schema, 8, group_run=0)


@pytest.mark.slow
def test_the_model_sees_the_same(grouped):
  """Embeddings and their gradient equal those of the copied columns."""
  source = grouped.as_data_source('train')
  batch = Batches(source, SCHEMA, 40, shuffle=False)(0)
  table = np.random.default_rng(0).normal(size=(len(batch.rows), 4))
  table = jnp.asarray(table, jnp.float32)
  groups, segments = batch.groups, batch.groups.segment_ids
  flat = batch._replace(
      slots=np.concatenate(
          [
              batch.slots[:, : len(SCHEMA.row_part.id_fields)],
              groups.slots[segments][:, : len(SCHEMA.group_part.id_fields)],
              batch.slots[:, len(SCHEMA.row_part.id_fields) :],
              groups.slots[segments][:, len(SCHEMA.group_part.id_fields) :],
          ],
          axis=1,
      ),
      weights=np.concatenate(
          [batch.weights, groups.weights[segments]], axis=1
      ),
      groups=None,
  )

  def inputs(schema, batch):
    def weighted_sum(table):
      (x,) = FeatureEmbedding(schema).apply({}, table, batch)
      x = x.reshape(40, len(FIELDS), 4)
      order = {f.name: k for k, f in enumerate(schema.inputs)}
      x = x[:, np.array([order[f.name] for f in FIELDS])]
      weight = jnp.arange(x.size, dtype=jnp.float32).reshape(x.shape) % 7
      return jnp.sum(x * weight), x

    (_, x), grad = jax.value_and_grad(weighted_sum, has_aux=True)(table)
    return x, grad

  mine, my_gradient = inputs(SCHEMA, batch)
  other, gradient = inputs(FLAT, flat)
  np.testing.assert_array_equal(mine, other)
  np.testing.assert_allclose(my_gradient, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    'name, value, words',
    [
        ('user', 9, ['group table, row 1', "'user'", 'id 9', '0 to 8']),
        ('user', -1, ['group table, row 1', 'id -1']),
    ],
)
def test_a_bad_group_is_refused(grouped, name, value, words):
  groups = dict(grouped.as_data_source('test').groups)
  groups[name] = groups[name].copy()
  groups[name][1] = value
  with pytest.raises(InputError) as e:
    GroupTable(SCHEMA, groups, 'here')
  assert all(w in str(e.value) for w in words), str(e.value)


def test_a_session_past_the_table_is_refused(tmp_path):
  data = Grouped(data_dir=str(tmp_path)).prepare()
  folder = data.group_folder('test')
  # Copies: what is read is a file, which is written over.
  for name, column in take_rows(open_folder(folder), np.arange(3)).items():
    write_column(folder, name, column)
  prepared_files.seal(os.fspath(data.data_path))
  data.prepare()
  with pytest.raises(InputError, match='of 3'):
    Batches(data.as_data_source('test'), SCHEMA, 8)


def test_groups_need_a_column():
  with pytest.raises(InputError, match='names no group column'):
    Schema(FIELDS)


def test_the_fingerprint_is_of_all_but_the_sizes():
  sizes = SCHEMA.with_vocab_sizes({'user': 99})
  assert sizes.fingerprint() == SCHEMA.fingerprint() != FLAT.fingerprint()
  assert SCHEMA.select(['item', 'user']).fingerprint() != SCHEMA.select(
      ['user', 'item']
  ).fingerprint()

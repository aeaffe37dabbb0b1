"""The comparison passes correct data and reports every kind of damage."""

from esmm_jax.types import Ragged
import numpy as np
import pytest

from benchmarks.ali_ccp_check import differences
from tests.data.ali_ccp import test_ali_ccp
from tests.data.ali_ccp.test_ali_ccp import SESSIONS

pytestmark = pytest.mark.long

raw, data_dir = test_ali_ccp.raw, test_ali_ccp.data_dir
ali_ccp = test_ali_ccp.ali_ccp


class Changed:
  """Prepared data, a column or table of which is changed as it is read."""

  def __init__(self, builder, column, change):
    self.builder_config, self.schema = builder.builder_config, builder.schema
    self.info = builder.info
    self._builder, self._column, self._change = builder, column, change

  def vocabulary(self, field):
    found = self._builder.vocabulary(field)
    if self._column == f'vocabulary of {field}':
      return self._change(found)
    return found

  def as_data_source(self, split):
    return ChangedSource(
        self._builder.as_data_source(split), self._column, self._change)


class ChangedSource:

  def __init__(self, source, column, change):
    self._source, self._column, self._change = source, column, change
    self.groups = self._with(source.groups)

  def __len__(self):
    return len(self._source)

  def read(self, start, stop):
    return self._with(self._source.read(start, stop))

  def _with(self, columns):
    return {
        name: self._change(column) if name == self._column else column
        for name, column in columns.items()}


def at_row_1(change):
  """Changes one number."""

  def changed(column):
    column = column.copy()
    column[1] = change(column[1])
    return column

  return changed


def in_list(change):
  def changed(lists):
    return Ragged(*change(
        lists.values.copy(), lists.offsets.copy(),
        None if lists.weights is None else lists.weights.copy()))

  return changed


def other_id(values, offsets, weights):
  values[0] += 1
  return values, offsets, weights


def other_weight(values, offsets, weights):
  weights[0] *= 1.5
  return values, offsets, weights


def one_less(values, offsets, weights):
  """Moves the end of the first list that has any."""
  k = np.flatnonzero(np.diff(offsets))[0]
  offsets[k + 1] -= 1
  return values, offsets, weights


def test_what_is_right(ali_ccp):
  common, skeleton = test_ali_ccp.written('test')
  found = differences(ali_ccp, SESSIONS)
  assert set(found) == {'values'}
  own = sum(len(v) for *_, row in skeleton for v in row.values())
  shared = sum(len(v) for row in common.values() for v in row.values())
  assert found['values'] > own + shared


def last_id_lost(ids):
  """Makes the largest sample_id another one, below all that are stored."""
  return np.where(ids == ids.max(), 0, ids)


@pytest.mark.parametrize('name, change', [
    ('click', at_row_1(lambda x: 1 - x)),
    ('conversion', at_row_1(lambda x: 1 - x)),
    ('session', at_row_1(lambda x: 1 - x if x < 2 else x - 1)),
    ('101', at_row_1(lambda x: x + 1)),
    ('205', at_row_1(lambda x: x + 1)),
    ('508.weight', at_row_1(lambda x: x + np.float16(0.5))),
    ('210', in_list(other_id)),
    ('109_14', in_list(other_id)),
    ('109_14', in_list(other_weight)),
    ('150_14', in_list(one_less)),
    ('853', in_list(other_weight)),
    ('vocabulary of 206', lambda ids: ids[1:]),
    ('vocabulary of 206', lambda ids: ids[::-1]),
])
def test_what_is_wrong(ali_ccp, name, change):
  found = differences(Changed(ali_ccp, name, change), SESSIONS)
  reported = '508' if name == '508.weight' else name
  assert found.get(reported, 0) >= 1, found


@pytest.mark.parametrize('change', [
    at_row_1(lambda x: x + 10**6), last_id_lost])
def test_a_row_missing_and_one_too_many(ali_ccp, change):
  """Of each split: the row that the files have, and the one that they lack."""
  found = differences(Changed(ali_ccp, 'sample_id', change), SESSIONS)
  assert found['rows'] == 2 * 3 and set(found) == {'values', 'rows'}


def test_other_files_differ(ali_ccp):
  found = differences(ali_ccp, SESSIONS, seed=1)
  assert {'rows', 'session', '101', '205', '109_14'} <= set(found)

"""The comparison finds nothing in what is right, and all that is wrong."""

from esmm_jax.data.ali_ccp import check as ali_ccp_check
from esmm_jax.data.ali_ccp.check import differences
from esmm_jax.types import Ragged
import numpy as np
import pytest

from tests.data.ali_ccp import test_ali_ccp
from tests.data.ali_ccp.test_ali_ccp import SESSIONS

pytestmark = pytest.mark.slow

raw, ali_ccp = test_ali_ccp.raw, test_ali_ccp.ali_ccp


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


@pytest.mark.parametrize('name, change', [
    ('click', at_row_1(lambda x: 1 - x)),
    ('conversion', at_row_1(lambda x: 1 - x)),
    ('session', at_row_1(lambda x: 1 - x if x < 2 else x - 1)),
    ('sample_id', at_row_1(lambda x: x + 10**6)),
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
  of = {'508.weight': '508', 'sample_id': 'rows'}.get(name, name)
  assert found.get(of, 0) >= 1, found


def test_other_files_differ(ali_ccp):
  found = differences(ali_ccp, SESSIONS, seed=1)
  assert {'rows', 'session', '101', '205', '109_14'} <= set(found)


def test_positions():
  index = ali_ccp_check._index(np.array([4, 1, 2]))
  assert ali_ccp_check._positions(
      index, np.array([1, 2, 3, 4, 5, 99])).tolist() == [1, 2, -1, 0, -1, -1]

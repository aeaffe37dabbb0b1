"""No order and no cut of a log changes a bit of any answer."""

import contextlib
from unittest import mock

from esmm_jax.data.history import events, language, look_up, parts
from esmm_jax.data.history.events import Kind
from hypothesis import given, Phase, settings, strategies as st
import numpy as np
import pytest

from tests.data.history.logs import assert_same, log_of, past_of, random_rows
from tests.data.history.test_ahead import SPECS

KINDS = {
    'sums': Kind(keep=2),
    'sums alone': Kind(),
    'half-life': Kind(half_life=7, keep=2),
    'half-life alone': Kind(half_life=3),
    'session': Kind(pause=4),
}


@contextlib.contextmanager
def cut(part_rows, list_rows):
  """Parts and pieces of fewer rows than anyone would have."""
  with mock.patch.object(parts, 'PART_ROWS', part_rows), \
      mock.patch.object(parts, 'CHUNK', max(part_rows, 3)), \
      mock.patch.object(parts, '_LIST_ROWS', list_rows):
    yield


@settings(max_examples=6)
@given(
    seed=st.integers(0, 10**6), order=st.randoms(use_true_random=False),
    step=st.sampled_from([1, 60_000, 3_600_000]),
    part_rows=st.sampled_from([4, 16, 10**6]),
    list_rows=st.sampled_from([1, 7, 10**6]))
def test_order_of_rows_and_number_of_parts(
    seed, order, step, part_rows, list_rows):
  rows = random_rows(seed, num=40, users=3, step=step)
  whole = past_of(SPECS, log_of(rows))
  index = list(range(len(rows)))
  order.shuffle(index)
  with cut(part_rows, list_rows):
    shuffled = past_of(SPECS, log_of([rows[i] for i in index]))
  restored = {n: column[np.argsort(index)] for n, column in shuffled.items()}
  assert_same(whole, restored)


def test_half_lives_of_lists_are_added_in_one_order():
  """Sums of floats that differ in their last bits if they are not."""
  rows = random_rows(3, num=200, users=2)
  rows = [r._replace(tags=(*'abcdefghij'[: 3 + k % 7], *r.tags))
          for k, r in enumerate(rows)]
  specs = language.parse('tags:delay=1s:half_life=1h')
  whole = past_of(specs, log_of(rows))
  for part_rows in (40, 400):
    with cut(part_rows, 13):
      assert_same(whole, past_of(specs, log_of(rows)))
  turned = [r._replace(tags=r.tags[::-1]) for r in rows]
  assert_same(whole, past_of(specs, log_of(turned)))


@st.composite
def some_rows(draw):
  """Keys, times (ascending), amounts and entries of rows."""
  num = draw(st.integers(0, 30))
  numbers = draw(st.lists(
      st.tuples(st.integers(0, 3), st.integers(0, 25), st.integers(-9, 9),
                st.integers(0, 1), st.integers(1, 3)),
      min_size=num, max_size=num))
  table = np.array(sorted(numbers, key=lambda n: n[1]), np.int64)
  keys, time, amount, label, entry = table.reshape(-1, 5).T
  return (keys.astype(np.uint64), time.copy(),
          np.stack([amount, label], axis=1), entry.astype(np.uint64))


def answers(held, low):
  """All that can be asked at times from `low` on, as arrays."""
  limit = np.repeat(np.arange(low, 40), 4)
  keys = np.tile(np.arange(4).astype(np.uint64), 40 - low)
  index = look_up.find(held, keys)
  if held.kind.pause:
    return list(look_up.session(held, index, limit + 1))
  values = [look_up.sums(held, index, limit)]
  if not held.kind.half_life:
    since = np.maximum(limit - 3, low)
    values.append(look_up.sums(held, index, limit, since))
  if held.kind.keep:
    at = look_up.last(held, index, limit, held.kind.keep)
    for array in (held.time, held.amounts, held.entry):
      one = array[at] if len(array) else np.zeros((*at.shape, *array.shape[1:]))
      one[at < 0] = 0
      values.append(one.astype(np.int64))
  return values


def assert_equal(one, other):
  assert len(one) == len(other)
  for a, b in zip(one, other):
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize('kind', KINDS)
@settings(max_examples=25, phases=[Phase.generate])
@given(data=st.data(), rows=some_rows())
def test_pieces_that_are_trimmed_and_merged(kind, data, rows):
  keys, time, amounts, entry = rows
  whole = events.build(KINDS[kind], keys, time, amounts, entry)
  held, low, horizon = None, 0, -1
  ends = data.draw(st.lists(st.integers(0, len(time)), max_size=3))
  for end in [*sorted(ends), len(time)]:
    piece = slice(low, end)
    new = events.build(
        KINDS[kind], keys[piece], time[piece], amounts[piece], entry[piece])
    held = new if held is None else events.merge(held, new)
    # Rows that come later are after the horizon.
    most = int(time[end]) - 1 if end < len(time) else 30
    end_of_base = data.draw(st.integers(-1, max(most, -1)))
    held = events.trim(held, end_of_base)
    horizon = max(horizon, end_of_base)
    low = end
  from_ = max(horizon, 0)
  assert_equal(answers(held, from_), answers(whole, from_))
  trimmed = events.trim(held, 30)
  assert_equal(answers(trimmed, 30), answers(whole, 30))
  assert len(trimmed.time) <= 4 * held.kind.keep + (
      len(time) if held.kind.half_life and held.kind.keep else 0)
  halves = [events.take(held, np.flatnonzero(some))
            for some in (held.keys < 2, held.keys >= 2)]
  assert_equal(answers(events.join(halves), from_), answers(held, from_))


def test_rows_of_one_time_are_ordered_by_their_labels():
  time = np.array([5, 5, 5, 9])
  amounts = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 0, 0]])
  held = events.build(Kind(keep=3), np.ones(4, np.uint64), time, amounts)
  np.testing.assert_array_equal(
      held.amounts, [[1, 0, 0], [1, 1, 0], [1, 1, 1], [1, 0, 0]])

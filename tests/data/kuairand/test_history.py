"""Out-of-time encodings against a slow loop, and what they must never see."""

import math

from esmm_jax.data.store.feature_columns import take
from esmm_jax.data.store.scaling import bucket_ids, fit_edges, num_ids
from esmm_jax.types import Ragged
import numpy as np
import pytest

from tests.data.kuairand.days import history_of, NO_KEY

STRENGTH = 5.0


def log_odds(p):
  return math.log(p / (1 - p))


def make_log(seed=0, n=400):
  """Rows in no order of time, with gaps in the days and missing keys."""
  rng = np.random.default_rng(seed)
  lengths = rng.integers(0, 4, n)
  offsets = np.concatenate([[0], np.cumsum(lengths)])
  click = rng.integers(0, 2, n)
  return dict(
      keys={
          'user': rng.integers(NO_KEY, 30, n),
          'tags': Ragged(rng.integers(NO_KEY, 60, offsets[-1]), offsets),
      },
      day=rng.choice([20220430, 20220501, 20220503, 20220504], n),
      click=click,
      conversion=click * rng.integers(0, 2, n),
  )


def slow(log, name):
  """The formulas of `data.history.encode`, a loop over pairs of rows."""
  keys, day = log['keys'][name], log['day']
  if isinstance(keys, Ragged):
    offsets = keys.offsets
    keys = [
        keys.values[offsets[i] : offsets[i + 1]].tolist()
        for i in range(len(day))
    ]
  else:
    keys = [[k] for k in keys.tolist()]
  rows = []
  for i, entries in enumerate(keys):
    n = c = v = all_n = all_c = all_v = 0
    for j, others in enumerate(keys):
      if day[j] >= day[i]:
        continue
      all_n += 1
      all_c += log['click'][j]
      all_v += log['conversion'][j]
      times = sum(others.count(k) for k in entries if k >= 0)
      n += times
      c += times * log['click'][j]
      v += times * log['conversion'][j]
    p = (all_c + 0.5) / (all_n + 1)
    q = (all_v + 0.5) / (all_c + 1)
    rows.append((
        log_odds((c + STRENGTH * p) / (n + STRENGTH)) - log_odds(p),
        log_odds((v + STRENGTH * q) / (c + STRENGTH)) - log_odds(q),
        math.log(1 + n),
        n == 0,
        c == 0,
    ))
  return np.array(rows).T


@pytest.mark.parametrize('name', ['user', 'tags'])
def test_against_a_slow_loop(name):
  log = make_log()
  past = history_of(**log, strength=STRENGTH)[name]
  ctr, cvr, count, no_impression, no_click = slow(log, name)
  np.testing.assert_allclose(past.ctr.values, ctr, atol=1e-12)
  np.testing.assert_allclose(past.cvr.values, cvr, atol=1e-12)
  np.testing.assert_allclose(past.count.values, count, atol=1e-12)
  np.testing.assert_array_equal(past.ctr.missing, no_impression)
  np.testing.assert_array_equal(past.count.missing, no_impression)
  np.testing.assert_array_equal(past.cvr.missing, no_click)
  assert 0 < no_impression.sum() < no_click.sum() < len(ctr)


@pytest.mark.parametrize('day', [20220430, 20220501, 20220503, 20220504])
def test_labels_of_a_day_change_later_days_only(day):
  log = make_log(seed=1)
  flipped = dict(log)
  that_day = log['day'] == day
  flipped['click'] = np.where(that_day, 1 - log['click'], log['click'])
  flipped['conversion'] = flipped['click'] * (log['keys']['user'] % 2)
  flipped['conversion'][~that_day] = log['conversion'][~that_day]
  before = history_of(**log, strength=STRENGTH)
  after = history_of(**flipped, strength=STRENGTH)
  late = log['day'] > day
  for name in before:
    for a, b in zip(before[name], after[name]):
      np.testing.assert_array_equal(a.values[~late], b.values[~late])
      np.testing.assert_array_equal(a.missing[~late], b.missing[~late])
    if late.any():
      assert (before[name].ctr.values != after[name].ctr.values)[late].any()


def test_first_day_knows_nothing():
  log = make_log(seed=2)
  first = log['day'] == log['day'].min()
  for past in history_of(**log, strength=STRENGTH).values():
    for encoding in past:
      assert not encoding.values[first].any()
      assert encoding.missing[first].all()


def test_one_class_stays_finite():
  zeros = np.zeros(6, np.int64)
  day = np.array([1, 1, 2, 2, 3, 3])
  for click in (zeros, zeros + 1):
    past = history_of({'k': zeros}, day, click, click, STRENGTH)['k']
    assert all(np.isfinite(encoding.values).all() for encoding in past)


def test_counts_by_hand():
  key = np.array([1, 2, 1, 1, 2, 1])
  day = np.array([5, 5, 6, 6, 7, 9])
  none = np.zeros(6, np.int64)
  past = history_of({'k': key}, day, none, none, STRENGTH)['k']
  counts = np.rint(np.expm1(past.count.values)).tolist()
  assert counts == [0, 0, 1, 1, 1, 3]


def test_buckets_hold_equally_many_training_rows():
  values = np.concatenate([np.arange(100.0), [-1e9, 3.0], np.full(100, 1e9)])
  missing = np.arange(202) == 101
  edges = fit_edges(values[:100], 20)
  ids = bucket_ids(edges, values, missing)
  assert num_ids(edges) == 22
  sizes = np.bincount(ids[:100])
  assert len(sizes) == 22 and abs(sizes[2:] - 5).max() <= 1
  assert ids[100:103].tolist() == [2, 0, 21]  # past an end; missing; past
  assert (np.diff(ids[:100]) >= 0).all()


def test_equal_quantiles_make_one_bucket():
  values = np.array([0.0] * 85 + list(range(1, 16)))
  edges = fit_edges(values, 10)
  # The nine quantiles are 0, ..., 0, 5: the edge 5 parts two buckets.
  assert num_ids(edges) == 4
  ids = bucket_ids(edges, values, np.zeros(100, bool))
  assert ids.tolist() == [2] * 89 + [3] * 11


def test_buckets_of_a_constant():
  edges = fit_edges(np.ones(4), 20)
  ids = bucket_ids(edges, np.ones(4), np.zeros(4, bool))
  assert ids.tolist() == [2, 2, 2, 2]
  assert num_ids(edges) == 3


def test_take_gives_the_lists_of_the_rows():
  weights = np.array([0.1, 0.2, 0.3, 0.4])
  lists = Ragged(np.array([1, 2, 3, 4]), np.array([0, 2, 2, 4]), weights)
  taken = take(lists, np.array([2, -1, 0, 1, 2]))
  assert taken.values.tolist() == [3, 4, 1, 2, 3, 4]
  assert taken.offsets.tolist() == [0, 2, 2, 4, 4, 6]
  assert taken.weights.tolist() == [0.3, 0.4, 0.1, 0.2, 0.3, 0.4]

"""All kinds of parts, keys and delays against slow loops, on random logs."""

from esmm_jax.data.history import language
import numpy as np
import pytest

from tests.data.history import logs
from tests.data.history.logs import A_DAY, HOUR, log_of, MINUTE, MS, past_of
from tests.data.history.logs import random_rows, Row, Slow, START

AMOUNTS = 'amounts=impressions+clicks+conversions+watched'
DELAYS = ('1d', '2d', '1ms', '700ms', '30s', '10m', '1h')
COUNTERS = [
    *(f':delay={d}' for d in DELAYS),
    ':window=1d', ':delay=2d:window=2d', ':delay=1s:window=700ms',
    ':delay=10m:window=2h', ':delay=1h:window=1d',
    ':half_life=6h', ':delay=3d:half_life=2d', ':delay=1ms:half_life=30s',
    ':delay=10m:half_life=1d',
]
LASTS = [f':delay={d}:last=3' for d in DELAYS]
SESSIONS = ('1s', '90s', '30m', '1d')


def specs_of(key):
  """Every kind of part that a key can have."""
  parts = [f'{key}{options}:{AMOUNTS}' for options in COUNTERS]
  parts += [f'{key}:delay=5m', f'{key}:delay=6m:amounts=clicks']
  if key != 'tags':
    parts += [f'{key}:amounts=none{o}'.replace('1h', '2h')
              .replace('1d:', '4d:').replace('2d:', '5d:')
              .replace('1ms', '2ms').replace('700ms', '800ms')
              .replace('30s', '40s').replace('10m', '11m') for o in LASTS]
    parts += [f'session={key}:pause={p}' for p in SESSIONS]
    for only in ('all', 'click', 'conversion'):
      parts += [f'list=item:by={key}:last=4:of={only}:delay={d}'
                for d in ('1d', '1ms', '10m')]
  return language.parse(','.join(parts))


def check(rows, specs, at=None):
  """Compares some rows with the loops; returns the number of known values."""
  past = past_of(specs, log_of(rows))
  slow = Slow(rows)
  num_known, names = 0, set()
  for i in range(len(rows)) if at is None else at:
    for spec in specs:
      for name, value in slow.columns(spec, rows[i]).items():
        one = past[name][i]
        if isinstance(value, float):
          np.testing.assert_allclose(
              one, value, rtol=1e-9, atol=1e-11, err_msg=f'{name}, row {i}')
          num_known += not np.isnan(value)
        else:
          assert np.array_equal(one, value), (name, i, one, value)
          num_known += np.any(value)
        names.add(name)
  assert names <= set(past)
  raw = {n for n in past if n.endswith(' raw') and not n.startswith('past_')}
  assert set(past) - names == raw
  return num_known


LOGS = {
    'to the millisecond': dict(seed=0),
    'ties': dict(seed=1, step=20 * 60_000),
    'one user': dict(seed=2, users=1, num=60),
    'a day alone': dict(seed=3, span=A_DAY),
    'hours': dict(seed=4, step=3_600_000, span=8 * A_DAY),
}


@pytest.mark.parametrize('kind', LOGS)
@pytest.mark.parametrize('key', ['user', 'user+tab', 'tags'])
def test_random_logs(key, kind):
  rows = random_rows(**LOGS[kind])
  at = range(0, len(rows), 8)
  assert check(rows, specs_of(key), at) > 10 * len(at)


@pytest.mark.parametrize('key', ['user', 'user+tab', 'tags'])
def test_without_keys_events_or_rows(key):
  rows = random_rows(5, num=15)
  specs = specs_of(key)
  nobody = [r._replace(user=None, tags=(None,)) for r in rows]
  past = past_of(specs, log_of(nobody))
  assert check(nobody, specs) == sum(
      np.isfinite(v).all() * len(rows) for n, v in past.items()
      if n.endswith(' raw') and n.startswith('past_'))
  unseen = [r._replace(is_event=False) for r in rows]
  check(unseen, specs)
  for name, column in past_of(specs, log_of(unseen)).items():
    if name.startswith('past_'):
      assert not np.nan_to_num(column).any(), name
  empty = past_of(specs, log_of([]))
  assert set(empty) == set(past)
  assert all(len(column) == 0 for column in empty.values())


def test_a_key_that_comes_first_in_test():
  rows = [r for r in random_rows(6) if r.user != 'u0']
  late = START + 5 * A_DAY
  new = [Row(late + k * MINUTE, 'u0', 'a', ('x',), 'i1', 1, 0, 1.0,
             late + k * MINUTE) for k in range(3)]
  specs = language.parse('user:last=2,user:delay=1m:last=2,session=user')
  check(rows + new, specs)
  past = past_of(specs, log_of(rows + new))
  assert past['past_count_user'][-3:].tolist() == pytest.approx([np.nan] * 3,
                                                               nan_ok=True)
  np.testing.assert_allclose(
      past['past_count_user_1m raw'][-3:], np.log([1, 2, 3]))
  assert past['last_label_1_user_1m'][-3:].tolist() == [0, 3, 3]


@pytest.mark.parametrize('delay, ns', [
    ('1ms', MS), ('700ms', 700 * MS), ('30s', 30_000 * MS),
    ('10m', 10 * MINUTE), ('1h', HOUR), ('36h', 36 * HOUR)])
def test_an_event_is_seen_at_its_delay_and_not_a_moment_earlier(delay, ns):
  event = Row(START, 'u', 'a', ('x',), 'i1', 1, 1, 0.5, START)
  text = (f'user:delay={delay}:last=1,tags:delay={delay},'
          f'user+tab:delay={delay}:half_life=1h,'
          f'user:delay={delay}:window=1ms,'
          f'list=item:by=user:delay={delay}:last=2')
  asks = [START + ns - MS, START + ns - 1, START + ns, START + ns + MS]
  rows = [event, *(event._replace(time=t, asked=t, is_event=False)
                   for t in asks)]
  past = past_of(text, log_of(rows))
  for end in ('user', 'tags'):
    counts = past[f'past_count_{end}_{delay} raw']
    np.testing.assert_allclose(counts, np.log([1, 1, 1, 2, 2]))
  np.testing.assert_allclose(
      past[f'past_count_user+tab_{delay}_half_1h raw'],
      np.log([1, 1, 1, 2, 1 + 2.0 ** (-MS / HOUR)]))
  # The window of a millisecond: one that is a millisecond older is left out.
  np.testing.assert_allclose(
      past[f'past_count_user_{delay}_window_1ms raw'], np.log([1, 1, 1, 2, 1]))
  assert past[f'last_label_1_user_{delay}'].tolist() == [0, 0, 0, 4, 4]
  assert (past[f'last_item_user_{delay}'] > 0).tolist() == [
      [False] * 2, [False] * 2, [False] * 2, [True, False], [True, False]]


def test_a_day_sees_the_days_before_to_the_nanosecond():
  midnight = START + A_DAY  # Of the zone.
  event = Row(midnight - 1, 'u', 'a', ('x',), 'i1', 1, 1, 0.5, midnight - 1)
  asks = [midnight - 1, midnight, midnight + 23 * HOUR - 1,
          midnight + 23 * HOUR]  # This day has 23 hours.
  rows = [event, *(event._replace(time=t, asked=t, is_event=False)
                   for t in asks)]
  past = past_of('user:last=1,user:delay=2d,user:window=1d', log_of(rows))
  np.testing.assert_allclose(
      past['past_count_user raw'], np.log([1, 1, 2, 2, 2]))
  np.testing.assert_allclose(
      past['past_count_user_2d raw'], np.log([1, 1, 1, 1, 2]))
  np.testing.assert_allclose(
      past['past_count_user_window_1d raw'], np.log([1, 1, 2, 2, 1]))
  assert past['last_label_1_user'].tolist() == [0, 0, 4, 4, 4]


def test_centuries_do_not_come_round():
  """Delays and windows of a hundred years, from 1678 to 2261."""
  times = [-9_214_560_000 * 10**9, 0, 9_214_646_400 * 10**9]
  rows = [Row(t, 'u', 'a', ('x',), 'i1', 1, 0, 0.0, t) for t in times]
  log = log_of(rows, logs.BERLIN._replace(zone='UTC'))
  century = 36_500 * 24
  past = past_of(
      f'user:delay={century}h:last=1,user:delay=36500d:window=36500d,'
      f'user:delay=1ms:window={century}h,user:half_life=36500d,'
      'user:delay=1s:half_life=1h,session=user:pause=36500d', log)
  np.testing.assert_allclose(
      past[f'past_count_user_{century}h raw'], np.log([1, 2, 3]))
  assert past['past_count_user_36500d_window_36500d raw'].tolist() == [0, 0, 0]
  assert past[f'past_count_user_1ms_window_{century}h raw'].tolist() == [0] * 3
  halves = 2.0 ** (-np.array([292, 584]) / 100)
  np.testing.assert_allclose(
      past['past_count_user_half_36500d raw'],
      np.log1p([0, halves[0], halves.sum()]), rtol=1e-2)
  assert past['past_count_user_1s_half_1h raw'].tolist() == [0, 0, 0]
  assert past['session_position_user_36500d'].tolist() == [0, 0, 0]
  gaps = past['session_gap_user_36500d']
  assert np.isnan(gaps[0]) and (gaps[1:] > 22.9).all()


def test_a_day_does_not_see_its_own_first_moment():
  midnight = START + A_DAY
  event = Row(midnight, 'u', 'a', ('x',), 'i1', 1, 1, 0.5, midnight)
  asks = [midnight, midnight + 1, midnight + 23 * HOUR]
  rows = [event, *(event._replace(time=t, asked=t, is_event=False)
                   for t in asks)]
  past = past_of('user:last=1,tags:half_life=1d,user:window=1d', log_of(rows))
  for name in ('past_count_user raw', 'past_count_user_window_1d raw',
               'past_count_tags_half_1d raw'):
    assert (past[name] > 0).tolist() == [False, False, False, True], name
  assert past['last_label_1_user'].tolist() == [0, 0, 0, 4]

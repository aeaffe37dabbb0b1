"""Labels, times and keys of rows change nothing that may not see them."""

from esmm_jax.data.history import language
from esmm_jax.data.history.specs import Session
from hypothesis import given, Phase, settings, strategies as st
import numpy as np
import pytest

from tests.data.history.logs import A_DAY, assert_same, HOUR, log_of, MINUTE
from tests.data.history.logs import MS, past_of, random_rows, Slow, START

SPECS = language.parse(
    'user:last=3:amounts=impressions+clicks+conversions+watched,'
    'user+tab:delay=2d:window=1d,tags:half_life=1d,user:delay=10m:last=2,'
    'user+tab:delay=1h:window=6h,tags:delay=90s,user:delay=1ms,'
    'user+tab:delay=30m:half_life=2h:last=1,session=user:pause=30m,'
    'list=item:by=user+tab:last=3:delay=1h,'
    'list=item:by=user:of=click:last=2')


def sees(slow, spec, row, other):
  if isinstance(spec, Session):
    return other.time < row.asked
  return slow.is_seen(spec, row, other)


def columns_of(past, spec):
  return {name: column for name, column in past.items()
          if spec.suffix in (name[-len(spec.suffix):],
                             name.removesuffix(' raw')[-len(spec.suffix):])}


@settings(max_examples=10, phases=[Phase.generate])
@given(
    seed=st.integers(0, 10**6), at=st.integers(0, 43),
    step=st.sampled_from([1, 60_000, 3_600_000]),
    click=st.integers(0, 1), conversion=st.integers(0, 1),
    watched=st.sampled_from([-3.5, 0.0, 9.0]),
    user=st.sampled_from([None, 'u0', 'u1', 'new']),
    tags=st.sampled_from([(), ('x',), ('x', 'x', None), ('new',)]),
    moved=st.sampled_from([0, 1, -1, 15 * MINUTE, -HOUR, A_DAY, -2 * A_DAY]),
    is_event=st.booleans())
def test_rows_that_may_not_see_a_row_are_the_same_to_the_bit(
    seed, at, step, click, conversion, watched, user, tags, moved, is_event):
  rows = random_rows(seed, num=40, users=2, step=step)
  old = rows[at]
  new = old._replace(
      click=click, conversion=click * conversion, watched=watched, user=user,
      tags=tags, item='i9', time=old.time + moved, asked=old.asked + moved,
      is_event=is_event)
  changed = [*rows[:at], new, *rows[at + 1:]]
  before, after = (past_of(SPECS, log_of(some)) for some in (rows, changed))
  slow = Slow(rows)
  for spec in SPECS:
    blind = [
        i for i, row in enumerate(rows) if i != at
        and not sees(slow, spec, row, old) and not sees(slow, spec, row, new)]
    some = columns_of(before, spec)
    assert some
    assert_same(some, columns_of(after, spec), blind)


@pytest.mark.parametrize('label', ['click', 'conversion', 'watched'])
def test_rows_that_see_a_label_are_others(label):
  """So that the test above can fail."""
  rows = random_rows(0, num=60, users=1, span=2 * A_DAY)
  first = min(range(len(rows)), key=lambda i: (
      rows[i].user is None or rows[i].tab is None or not rows[i].tags
      or not rows[i].is_event, rows[i].time))
  changed = list(rows)
  flipped = dict(click=1 - rows[first].click, conversion=0) if (
      label == 'click') else {label: 1 - getattr(rows[first], label)}
  changed[first] = rows[first]._replace(**flipped)
  before, after = (past_of(SPECS, log_of(some)) for some in (rows, changed))
  differ = {n for n in before if not np.array_equal(
      before[n], after[n], equal_nan=True)}
  rates = {'click': 'past_ctr_', 'conversion': 'past_cvr_',
           'watched': 'past_mean_watched_'}
  names = {n for n in before if n.startswith(rates[label]) and '_2d_' not in n}
  assert len(names) >= 2
  assert names <= differ
  assert not any(n.startswith('session_') for n in differ)


def test_rows_of_one_time_and_request_do_not_see_each_other():
  """Ten rows that are shown together, labels of one of them changed."""
  rows = [r._replace(time=START, user='u', tab='a', is_event=True, tags=('x',))
          for r in random_rows(1, num=10)]
  # The second half of the request is written down a bit later.
  rows = [r._replace(time=START + (k % 2) * 900 * MS, asked=START)
          for k, r in enumerate(rows)]
  past = past_of(SPECS, log_of(rows))
  for name, column in past.items():
    if name.startswith(('last_', 'past_')) and not name.endswith(' raw'):
      assert not np.nan_to_num(column).any(), name
  assert not past['session_position_user_30m'].any()
  # The loops know of requests too: without them, the later half sees.
  alone = [r._replace(asked=r.time) for r in rows]
  seen = past_of(SPECS, log_of(alone))['past_count_user_1ms raw']
  assert ((seen > 0) == [k % 2 == 1 for k in range(len(rows))]).all()

"""Sums -> columns: numbers of every kind, ages, and sums of many bits."""

from esmm_jax.data.history import encode, language
from esmm_jax.data.history.encode import FRACTION
from esmm_jax.data.history.log import priors_of
from esmm_jax.data.history.priors import Priors, QUARTER
from esmm_jax.tasks import FUNNEL, Task
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.data.history import logs

SECOND = 10**9
(COUNTER,) = language.parse('u:amounts=impressions+clicks+conversions+a')


def sums(num, click=0, conversion=0, a=0, dtype=np.int64):
  return {'impressions': np.atleast_1d(np.array(num, dtype)),
          'click': np.atleast_1d(np.array(click, dtype)),
          'conversion': np.atleast_1d(np.array(conversion, dtype)),
          'a': np.atleast_1d(np.array(a, dtype))}


def test_typed_values():
  """m = 20, p = 30.5 / 101, q = 10.5 / 31, mean of a = 2."""
  values = encode.counter(
      COUNTER, sums(4, 3, 1, 12 * FRACTION), sums(100, 30, 10, 200 * FRACTION),
      FUNNEL)
  rate, prior = (3 + 20 * 30.5 / 101) / 24, 30.5 / 101
  expected = {
      'past_ctr_u': np.log(rate / (1 - rate)) - np.log(prior / (1 - prior)),
      'past_cvr_u': (
          logs.logit((1 + 20 * 10.5 / 31) / 23) - logs.logit(10.5 / 31)),
      'past_count_u': np.log(5),
      'past_mean_a_u': (12 + 20 * 2) / 24 - 2}
  assert list(values) == list(expected)
  for name, value in expected.items():
    assert values[name].values[0] == pytest.approx(value, rel=1e-12)
    assert not values[name].missing[0]


def test_a_key_without_past_has_the_prior():
  prior = sums([0, 1, 10**9], [0, 1, 0], [0, 1, 0], [0, -5000, 7])
  values = encode.counter(COUNTER, sums([0] * 3, [0] * 3, [0] * 3, [0] * 3),
                          prior, FUNNEL)
  for name, column in values.items():
    np.testing.assert_allclose(column.values, 0, atol=1e-12, err_msg=name)
    assert column.missing.all()
  clicked = encode.counter(COUNTER, sums(2, 0), sums(2, 0), FUNNEL)
  assert clicked['past_cvr_u'].missing[0]
  assert not clicked['past_ctr_u'].missing[0]


@pytest.mark.parametrize('strength', [1e-6, 1.0, 20.0, 1e38])
@pytest.mark.parametrize('num', [1, 1000, 10**9, 2**50])
def test_log_odds_are_always_numbers(num, strength):
  for part in (0, 1, num):
    one = encode.smoothed(*(np.array([float(v)]) for v in (
        part, num, part, num)), strength)
    assert np.isfinite(one).all()
  one, two, many = np.ones(1), np.full(1, 2.0), np.full(1, float(num))
  low = encode.smoothed(np.zeros(1), many, one, two, strength)
  high = encode.smoothed(many, many, one, two, strength)
  assert low[0] == pytest.approx(-high[0], rel=1e-2, abs=1e-9)


def test_pieces_and_columns_of_arrays_have_the_same_bits():
  rng = np.random.default_rng(0)
  table = rng.random((1001, 4)).cumsum(axis=0)[:, ::-1]
  prior = rng.integers(1, 10**6, (1001, 4)).cumsum(axis=1)[:, ::-1]
  names = ['impressions', 'click', 'conversion', 'a']

  def of(rows):
    return encode.counter(
        COUNTER, dict(zip(names, table[rows].T)),
        dict(zip(names, prior[rows].T)), FUNNEL)

  whole = of(slice(None))
  for low, high in ((0, 1), (3, 10), (995, 1001), (17, 18)):
    for name, column in of(slice(low, high)).items():
      assert column.values.tobytes() == whole[name].values[low:high].tobytes()
  alone = encode.counter(
      COUNTER, {n: c.copy() for n, c in zip(names, table.T)},
      {n: c.copy() for n, c in zip(names, prior.T)}, FUNNEL)
  for name, column in alone.items():
    assert column.values.tobytes() == whole[name].values.tobytes()


def test_ages():
  seconds = [-1, 0, 1, 2, 3, 4, 600, 3600, 86_400, 2**40]
  ages = np.array([-1 if s < 0 else s * SECOND for s in seconds[:-1]]
                  + [2**63 - 1])
  codes = encode.age_codes(ages)
  assert codes.dtype == np.int32
  assert codes.tolist() == [0, 2, 2, 4, 5, 6, 20, 25, 34, 65]
  assert encode.age_codes(np.array([SECOND - 1, 2 * SECOND - 1])).tolist() == [
      2, 2]
  values = encode.log_ages(ages)
  assert values.missing.tolist() == [True] + [False] * 9
  np.testing.assert_allclose(values.values[1:4], np.log([1, 2, 3]))


def test_tasks_of_other_funnels():
  tasks = (Task('ctr', 'click'), Task('like', 'liked'),
           Task('play', 'seconds', 'ctr', kind='regression'))
  assert encode.rates(tasks) == [
      ('ctr', 'click', 'impressions'), ('like', 'liked', 'impressions')]
  (spec,) = language.parse('u:amounts=liked+seconds', ['click', 'liked'])
  assert encode.numbers(spec, tasks) == ['seconds']
  some = {'impressions': np.array([4]), 'click': np.array([2]),
          'liked': np.array([1]), 'seconds': np.array([FRACTION * 6])}
  assert list(encode.counter(spec, some, some, tasks)) == [
      'past_like_u', 'past_mean_seconds_u']


def test_negative_and_fractional_numbers_add_up_exactly():
  rng = np.random.default_rng(0)
  numbers = rng.integers(-(2**40), 2**40, 50) / 1024
  rows = [
      row._replace(watched=float(number), user='u', time=logs.START,
                   asked=logs.START, is_event=True)
      for row, number in zip(logs.random_rows(0, num=50), numbers)]
  text = 'user:delay=1h:strength=1:amounts=watched'
  last = rows[-1]._replace(asked=logs.START + 2 * logs.HOUR, is_event=False)
  one = logs.past_of(text, logs.log_of([*rows, last]))
  total = sum(int(r.watched * FRACTION) for r in rows) / FRACTION
  mean = total / len(rows)  # A quarter of an hour has ended.
  assert one['past_mean_watched_user_1h'][-1] == pytest.approx(
      (total + mean) / (len(rows) + 1) - mean, rel=1e-9)


@pytest.mark.parametrize('value', [2**62, -(2**62), 2**61, 2**58])
def test_sums_that_do_not_fit_are_refused(value):
  rows = logs.random_rows(0, num=100)
  log = logs.log_of([r._replace(is_event=True) for r in rows])
  amounts = {**log.amounts, 'watched': np.full(len(rows), value)}
  with pytest.raises(InputError, match="number 'watched' .* 64 bits; write"):
    priors_of(log._replace(amounts=amounts))
  # In several pieces too, and where positive ones hide negative ones.
  amounts = np.array([[1, value // 8], [1, -(value // 8)]] * 4)
  with pytest.raises(InputError, match='64 bits'):
    priors = Priors.empty(2)
    for k in range(60):
      priors = priors.add(np.arange(8) * QUARTER + k, np.abs(amounts))
  amounts = {**log.amounts, 'watched': np.full(len(rows), value // 2**10)}
  whole = priors_of(log._replace(amounts=amounts))
  assert whole.sums[:, 3].sum() == value // 2**10 * len(rows)


def test_priors_know_the_quarters_that_have_ended():
  time = np.array([0, QUARTER - 1, QUARTER, 5 * QUARTER, -1])
  amounts = np.array([[1, 1], [1, 0], [1, 1], [1, -3], [1, 2]])
  whole = Priors.empty(2).add(time[:2], amounts[:2]).add(time[2:], amounts[2:])
  assert whole.quarter.tolist() == [-1, 0, 1, 5]
  limit = np.array([-QUARTER, -2, -1, QUARTER - 2, QUARTER - 1, 2 * QUARTER - 1,
                    6 * QUARTER - 2, 6 * QUARTER - 1, 2**62])
  assert whole.before(limit).tolist() == [
      [0, 0], [0, 0], [1, 2], [1, 2], [3, 3], [4, 4], [4, 4], [5, 1], [5, 1]]
  again = Priors.empty(2).add(time[::-1], amounts[::-1])
  np.testing.assert_array_equal(again.sums, whole.sums)

"""Means of a run of what its reports say of balancing."""

import json
import math

from esmm_jax.balancing import over_run, records
import jax.numpy as jnp
import numpy as np
import pytest

TERMS = ('ctr', 'cart', 'ctcvr')


def steps(num, seed=0):
  """Raw values of steps, in which tasks may be absent or have no gradient."""
  rng = np.random.default_rng(seed)
  made = []
  for _ in range(num):
    counts = rng.integers(0, 3, 3).astype(np.float32)
    weights = rng.uniform(0, 2, 3) * (counts > 0)
    gradients = rng.standard_normal((3, 5)) * (rng.random((3, 1)) < 0.8)
    gram = {'all': jnp.asarray(gradients @ gradients.T, jnp.float32)}
    raw = records.of_step(
        TERMS, {'': jnp.asarray(weights, jnp.float32)}, gram, counts)
    raw[records.DEGENERATE] = float(rng.random() < 0.2)
    made.append({k: float(v) for k, v in raw.items()})
  return made


def report(raw):
  """What the lines of steps say, as `phases.report` makes them."""
  means = {k: sum(r[k] for r in raw) / len(raw) for k in raw[0]}
  return {f'train/{k}': v for k, v in records.reported(means).items()}


def lines(raw, ends, skipped=()):
  """A line at each end; `skipped` steps are in no mean."""
  begin, made = 0, []
  for end in ends:
    left = [k for k in range(begin, end) if k not in skipped]
    line = {'step': end, 'train/loss': 0.5} | report([raw[k] for k in left])
    if n := end - begin - len(left):
      line['train/skipped'] = n
    begin = end
    made.append(line)
  return made


@pytest.mark.parametrize('ends', [
    (40,), (7, 14, 21, 28, 35, 40), (1, 2, 3, 39, 40), tuple(range(1, 41))])
def test_the_mean_of_a_run_is_that_of_its_steps(ends):
  """Wherever the lines fall; each record counts where it is defined."""
  raw = steps(40)
  whole = over_run.over_run(lines(raw, ends))
  expected = records.reported(
      {k: sum(r[k] for r in raw) / 40 for k in raw[0]})
  assert whole.keys() == expected.keys()
  for key, value in expected.items():
    assert whole[key] == pytest.approx(value, rel=1e-12, abs=1e-15), key
  assert 0 < whole['balancing/complete'] < 1


def test_skipped_steps_count_nothing():
  raw = steps(20)
  skipped = {3, 4, 11}
  whole = over_run.over_run(lines(raw, (5, 10, 15, 20), skipped))
  kept = [r for k, r in enumerate(raw) if k not in skipped]
  for key, value in over_run.over_run(lines(kept, (17,))).items():
    assert whole[key] == pytest.approx(value, rel=1e-12, abs=1e-15), key


def test_other_lines_do_not_count():
  """A line of the test split, and terms of the loss with such a name."""
  of_training = lines(steps(20), (10, 20))
  test = {'step': 20, 'test/ctr/auc': 0.5}
  whole = over_run.over_run([*of_training, test])
  assert whole == over_run.over_run(of_training)
  assert all(key.startswith('balancing/') for key in whole)
  assert over_run.over_run([{'step': 5, 'train/loss': 0.3}, test]) == {}


def test_what_is_no_number_is_left_out():
  """Products of gradients may be too large for float32."""
  some = lines(steps(20), (10, 20))
  key = 'train/balancing/cosine/all/ctr|ctcvr'
  for bad in (None, math.nan, math.inf):
    whole = over_run.over_run([some[0], some[1] | {key: bad}])
    assert whole[key[6:]] == pytest.approx(some[0][key], rel=1e-12)


@pytest.mark.parametrize('at', range(6))
def test_a_position_resumes_to_the_bit(at):
  made = lines(steps(30), (5, 10, 15, 20, 25, 30))
  totals = over_run.Totals()
  for line in made[:at]:
    totals.add(line['step'], line)
  saved = json.loads(json.dumps(totals.position()))
  resumed = over_run.Totals()
  resumed.load(saved)
  for line in made[at:]:
    resumed.add(line['step'], line)
  assert resumed.means() == over_run.over_run(made)


def test_a_run_without_records_has_no_position():
  totals = over_run.Totals()
  totals.add(5, {'train/loss': 0.5})
  assert totals.position() == {} == totals.means()


@pytest.mark.parametrize('part', ['', 'tables'])
def test_the_keys_that_a_run_may_have(part):
  gram = dict.fromkeys(('all', 'tables'), jnp.ones((3, 3)))
  raw = records.of_step(TERMS, {part: jnp.ones(3)}, gram, np.ones(3))
  expected = {k[6:] for k in report([{k: float(v) for k, v in raw.items()}])}
  known = over_run.keys(TERMS, ('all', 'tables', 'trunk'))
  assert expected < set(known) and len(known) == len(set(known))


@pytest.mark.parametrize('whole, text', [
    ({'share/ctr': 0.25, 'share/ctcvr': 0.75, 'conflict/all/ctr|ctcvr': 0.125,
      'conflict/tables/ctr|ctcvr': 0.5, 'degenerate': 0.0},
     'balancing x: mean share ctr 0.250, ctcvr 0.750; conflict 12.5 %'),
    ({'share/tables/ctr': 0.5, 'conflict/all/a|b': 0.1,
      'conflict/all/a|c': 0.2, 'degenerate': 0.015},
     'balancing x: mean share tables/ctr 0.500; conflict at most 20 % (a|c);'
     ' no solution in 1.5 % of the steps'),
    ({'degenerate': 0.0}, 'balancing x: no step on record'),
])
def test_the_line_at_the_end_of_a_run(whole, text):
  record = {f'balancing/{key}': value for key, value in whole.items()}
  assert over_run.told('x', record) == text

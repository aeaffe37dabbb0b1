"""Average precision, recall at a budget and KS against their definitions."""

from fractions import Fraction

from esmm_jax.metrics import METRICS, one_task, thresholds
from esmm_jax.metrics.classes import Classes
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import numpy as np
import pytest
from scipy.stats import ks_2samp
from sklearn.metrics import average_precision_score

INF, NAN = float('inf'), float('nan')
SCORES = st.sampled_from([-INF, -1e4, -0.5, -0.0, 0.0, 0.5, 1e4, INF])
ROWS = st.lists(
    st.tuples(SCORES, st.integers(0, 1)), min_size=2, max_size=24
).filter(lambda rows: len({y for _, y in rows}) == 2)
# No deadline: no test may fail because the machine is busy.
thorough = settings(max_examples=150, deadline=None)


def by_score(rows):
  """(rows, positives) of each distinct score, from the highest."""
  scores = sorted({s for s, _ in rows}, reverse=True)  # 0 and -0 are one.
  labels = [[y for s, y in rows if s == score] for score in scores]
  return [(len(y), sum(y)) for y in labels]


def precision_of(rows):
  every, above, total = 0, 0, Fraction(0)
  for num, positives in by_score(rows):
    every, above = every + num, above + positives
    total += positives * Fraction(above, every)
  return float(total / above)


def recall_of(rows, share):
  """The budget is spent score by score, rows of one score alike."""
  left, taken = share * len(rows), Fraction(0)
  for num, positives in by_score(rows):
    part = min(Fraction(1), max(left, Fraction(0)) / num)
    taken, left = taken + part * positives, left - num
  return float(taken / sum(y for _, y in rows))


def distance_of(rows):
  p = sum(y for _, y in rows)
  rates = [Fraction(0)]
  for num, positives in by_score(rows):
    step = Fraction(positives, p) - Fraction(num - positives, len(rows) - p)
    rates.append(rates[-1] + step)
  return float(max(map(abs, rates)))


@thorough
@given(ROWS, st.sampled_from([Fraction(n, 20) for n in range(1, 21)]))
def test_definitions(rows, share):
  scores, labels = (np.array(x) for x in zip(*rows))
  equal = lambda value: pytest.approx(value, rel=1e-13, abs=1e-15)
  assert thresholds.average_precision(scores, labels) == equal(
      precision_of(rows))
  assert thresholds.ks(scores, labels) == equal(distance_of(rows))
  assert thresholds.recall_at(float(share), scores, labels) == equal(
      recall_of(rows, share))


@pytest.mark.parametrize(
    'scores, labels, precision, recall, distance',
    [  # Recall is of a quarter of the rows.
        ([4, 3, 2, 1], [1, 0, 1, 0], (1 + 2 / 3) / 2, 1 / 2, 1 / 2),
        ([4, 3, 2, 1], [0, 0, 1, 1], (1 / 3 + 2 / 4) / 2, 0, 1),
        ([4, 3, 2, 1], [1, 1, 1, 0], 1, 1 / 3, 1),
        # All tied: the base rate, the budget, nothing.
        ([7.0] * 4, [1, 0, 0, 0], 1 / 4, 1 / 4, 0),
        # Two ties at the edge, of which the budget holds one.
        ([2, 2, 1, 1], [1, 0, 1, 0], (1 / 2 + 1 / 2) / 2, 1 / 4, 0),
        ([2, 1], [1, 0], 1, 1 / 2, 1),  # Half a row.
        ([2.0, 1.0], [1, 1], NAN, NAN, NAN),
        ([2.0, 1.0], [0, 0], NAN, NAN, NAN),
        ([], [], NAN, NAN, NAN),
    ],
)
def test_table(scores, labels, precision, recall, distance):
  scores, labels = np.array(scores, np.float32), np.array(labels)
  found = (
      thresholds.average_precision(scores, labels),
      thresholds.recall_at(0.25, scores, labels),
      thresholds.ks(scores, labels),
  )
  expected = (precision, recall, distance)
  assert found == pytest.approx(expected, rel=1e-15, nan_ok=True)


# More of either class, and more distinct scores than a piece has.
@pytest.mark.parametrize('rate', [0.04, 0.44, 0.9])
@pytest.mark.parametrize('decimals, rows', [(1, 20_000), (7, 350_000)])
def test_those_of_other_libraries(rate, decimals, rows):
  rng = np.random.default_rng(0)
  labels = rng.random(rows) < rate
  scores = np.round(rng.normal(size=rows) + labels, decimals)
  scores = scores.astype(np.float32)
  classes = Classes.of(scores, labels)
  assert classes.average_precision() == pytest.approx(
      average_precision_score(labels, scores), rel=1e-12)
  distance = ks_2samp(scores[labels], scores[~labels], method='asymp').statistic
  assert classes.ks() == pytest.approx(distance, rel=1e-12)
  # Cumulated over distinct scores, with straight lines between them.
  num, positives = np.zeros((2, len(np.unique(scores)) + 1))
  each = np.unique(-scores, return_inverse=True)[1] + 1
  np.add.at(num, each, 1)
  np.add.at(positives, each, labels)
  for share in (0.001, 0.01, 0.1, 0.777, 1.0):
    expected = np.interp(share * rows, num.cumsum(), positives.cumsum())
    assert classes.recall_at(share) == pytest.approx(
        expected / labels.sum(), rel=1e-12)


def test_sorted_once_for_a_task():
  """Each is what it is by itself, to the bit."""
  rng = np.random.default_rng(0)
  logits = np.round(rng.normal(size=3000), 2).astype(np.float32)
  labels = rng.integers(0, 2, 3000)
  found = one_task.of_events(logits, labels)
  assert list(found) == list(METRICS)
  for name, metric in METRICS.items():
    assert found[name] == metric(logits, labels, None), name


def test_budgets_of_names():
  scores, labels = np.arange(1000.0), np.zeros(1000)
  labels[[995, 950, 40, 30]] = 1
  expected = {'recall_at_1pct': 1 / 4, 'recall_at_10pct': 2 / 4}
  for name, value in expected.items():
    assert METRICS[name](scores, labels, None) == pytest.approx(value)


@pytest.mark.parametrize('share', [0, -0.5, 1.01, NAN])
def test_share_is_checked(share):
  with pytest.raises(InputError, match='share must be above 0 and at most 1'):
    thresholds.recall_at(share, [0.0, 1.0], [0, 1])

"""The margin of a point over a curve, by hand, by brute force and by draws."""

import itertools
import math

from esmm_jax.metrics.front_margin import front_margin
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pytest

NAN = float('nan')
SCORES = st.tuples(*[st.floats(-2, 2).map(lambda x: round(x, 4))] * 2)
CURVES = st.lists(SCORES, min_size=1, max_size=6)


def margin(curve, point):
  """Of one seed."""
  return front_margin(np.asarray([curve], float), [point]).value


@pytest.mark.parametrize(
    'curve, point, expected',
    [
        ([(1, 3), (3, 1)], (2, 2), 0),
        ([(1, 3), (3, 1)], (3, 2), 0.5),
        ([(1, 3), (3, 1)], (1, 2), -0.5),
        ([(3, 1), (1, 3)], (1, 2), -0.5),
        # Beyond an end: the lead in the score that the end is best in.
        ([(1, 3), (3, 1)], (3.25, 0.5), 0.25),
        ([(1, 3), (3, 1)], (0, 3.5), 0.5),
        # A point is compared with itself.
        ([(1, 3), (3, 1)], (1, 3), 0),
        ([(2, 2)], (3, 2.5), 1),
        ([(2, 2)], (1, 1.5), -0.5),
        ([(2, 2)], (3, 0), 1),
        # A dominated bend of the curve does not count.
        ([(1, 3), (0, 0), (3, 1)], (1, 1), 0),
        # All of one score equal.
        ([(1, 1), (2, 1)], (1.5, 2), 1),
    ],
)
def test_by_hand(curve, point, expected):
  assert margin(curve, point) == pytest.approx(expected)


@given(CURVES, SCORES)
def test_against_many_points_of_the_lines(curve, point):
  """No point of the lines is nearer, and one of 400 is nearly as near."""
  curve, point = np.asarray(curve), np.asarray(point)
  t = np.linspace(0, 1, 400)[:, None]
  lines = [a + t * (b - a) for a, b in itertools.pairwise(curve)] or [curve]
  brute = (point - np.concatenate(lines)).max(-1).min()
  got = margin(curve, point)
  assert got <= brute + 1e-12
  assert got >= brute - 8 / 399


@given(CURVES, SCORES, st.floats(0, 2))
def test_what_it_does_not_depend_on(curve, point, shift):
  """The direction of the curve, the order of the scores, a common shift."""
  expected = pytest.approx(margin(curve, point), abs=1e-12)
  assert margin(curve[::-1], point) == expected
  assert margin([p[::-1] for p in curve], point[::-1]) == expected
  moved = np.asarray(curve) + shift
  assert margin(moved, np.asarray(point) + shift) == expected
  raised = margin(curve, np.asarray(point) + shift)
  assert raised == pytest.approx(margin(curve, point) + shift, abs=1e-12)


def noisy(seeds):
  rng = np.random.default_rng(0)
  t = np.linspace(0.2, 1.4, 4)
  curve = 0.65 + 0.02 * np.stack([np.sin(t), np.cos(t)], -1)
  noise = rng.normal(0, 0.003, (seeds, 5, 2))
  return curve + noise[:, :4], 0.667 + noise[:, 4]


def test_it_is_that_of_the_means_and_of_drawn_seeds():
  """All 3^3 draws of three seeds, in the limit of many resamples."""
  values, point = noisy(3)
  drawn = [
      margin(values[list(d)].mean(0), point[list(d)].mean(0))
      for d in itertools.product(range(3), repeat=3)
  ]
  got = front_margin(values, point, resamples=20_000, confidence=0.74)
  assert got.value == pytest.approx(margin(values.mean(0), point.mean(0)))
  assert (got.n, got.resamples) == (3, 20_000)
  # 0.13 lies half way between 3 / 27 and 4 / 27, not at the end of a step.
  expected = np.quantile(drawn, [0.13, 0.87], method='inverted_cdf')
  assert [got.low, got.high] == pytest.approx(expected, abs=1e-12)
  assert got == front_margin(values, point, 20_000, confidence=0.74)
  many, point = noisy(8)
  few = [front_margin(many, point, 50, seed=k) for k in (0, 1)]
  assert few[0].value == few[1].value and few[0].low != few[1].low


def test_a_common_shift_of_the_seeds_is_no_noise():
  values, _ = noisy(1)
  shift = np.random.default_rng(1).normal(0, 0.01, (6, 1))
  curve = values + shift[:, None]
  got = front_margin(curve, values[0, 1] + 0.002 + shift, resamples=50)
  assert got[:3] == pytest.approx([got.value] * 3, abs=1e-15)


def test_incomplete_seeds_are_left_out_whole():
  values, point = noisy(5)
  expected = front_margin(values[[0, 2, 3]], point[[0, 2, 3]], 100)
  values[1, 3, 0], point[4, 1] = NAN, NAN
  assert front_margin(values, point, 100) == expected
  one = front_margin(values[:1], point[:1])
  assert math.isnan(one.low) and (one.n, one.resamples) == (1, 0)
  none = front_margin(values * NAN, point)
  assert all(map(math.isnan, none[:3])) and none.n == 0


def test_it_is_pessimistic():
  """As the docstring says: one more of nine equal models seems to be below."""
  rng = np.random.default_rng(0)
  got = [
      front_margin(
          rng.normal(0.65, 0.003, (5, 9, 2)), rng.normal(0.65, 0.003, (5, 2)),
          resamples=1,
      ).value
      for _ in range(50)
  ]
  assert np.mean(got) < -1e-4 and np.mean(np.asarray(got) < 0) > 0.6


@pytest.mark.parametrize(
    'values, point, words',
    [
        (np.zeros((3, 2)), np.zeros((3, 2)), r'values must be \[S, P, 2\]'),
        (np.zeros((3, 4, 2)), np.zeros((3, 1, 2)), r'point must be \[S, 2\]'),
        (np.zeros((3, 4, 2)), np.zeros((2, 2)), '3 seeds and point 2'),
        (np.zeros((3, 0, 2)), np.zeros((3, 2)), 'must have a point'),
        (np.full((1, 1, 2), np.inf), np.zeros((1, 2)), 'not be infinite'),
    ],
)
def test_bad_input(values, point, words):
  with pytest.raises(InputError, match=words):
    front_margin(values, point)

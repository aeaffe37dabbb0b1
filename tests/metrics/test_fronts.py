"""Fronts of two scores, by hand, by brute force and by simulation."""

import itertools
import math

from esmm_jax.metrics import fronts
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import numpy as np
import pytest
from scipy import stats

NAN = float('nan')
# Few levels, so that ties are common; -0. and 0. are one score.
LEVELS = st.sampled_from([-0.0, 0.0, 0.25, 0.5, 1.0, 1.5, 3.0])
POINTS = st.lists(st.tuples(LEVELS, LEVELS), min_size=1, max_size=7)
FLOATS = st.floats(-2, 2).map(lambda x: round(x, 6))
FLOAT_POINTS = st.lists(st.tuples(FLOATS, FLOATS), min_size=1, max_size=7)


def dominates(q, p):
  return q[0] >= p[0] and q[1] >= p[1] and (q[0] > p[0] or q[1] > p[1])


def union_area(points, reference):
  """By inclusion and exclusion of the rectangles above the reference."""
  sides = np.maximum(np.asarray(points) - reference, 0)
  total = 0.0
  for size in range(1, len(sides) + 1):
    for some in itertools.combinations(sides, size):
      total -= (-1) ** size * np.prod(np.min(some, axis=0))
  return total


def cell_area(points, reference):
  """By the cells of the grid through all coordinates."""
  xs = np.unique([reference[0], *(p[0] for p in points)])
  ys = np.unique([reference[1], *(p[1] for p in points)])
  total = 0.0
  for x0, x1 in itertools.pairwise(xs[xs >= reference[0]]):
    for y0, y1 in itertools.pairwise(ys[ys >= reference[1]]):
      if any(p[0] >= x1 and p[1] >= y1 for p in points):
        total += (x1 - x0) * (y1 - y0)
  return total


def noisy(seeds=5, points=9, seed=0):
  """Values [S, P, 2] along an arc and a baseline [S, 2] inside of it."""
  rng = np.random.default_rng(seed)
  t = np.linspace(0.2, 1.4, points)
  arc = 0.65 + 0.02 * np.stack([np.sin(t), np.cos(t)], -1)
  noise = rng.normal(0, 0.003, (2, seeds, points, 2))
  return arc + noise[0], 0.655 + noise[1, :, 0]


def test_pareto_by_hand():
  points = [(1, 3), (2, 2), (2, 2), (2, 1), (0, 3), (3, 0), (NAN, 9), (9, NAN)]
  expected = [True, True, True, False, False, True, False, False]
  assert fronts.pareto(points).tolist() == expected
  assert fronts.pareto([(NAN, NAN)]).tolist() == [False]
  assert fronts.pareto(np.zeros((0, 2))).shape == (0,)


@given(POINTS | FLOAT_POINTS)
def test_pareto_against_all_pairs(points):
  got = fronts.pareto(points)
  assert got.dtype == bool
  expected = [not any(dominates(q, p) for q in points) for p in points]
  assert got.tolist() == expected
  with_nan = fronts.pareto([(NAN, 7.0), *points, (7.0, NAN)])
  assert with_nan.tolist() == [False, *expected, False]


def hypervolume(points, reference):
  """Of the points of one seed."""
  return fronts.front_volume(np.asarray([points], float), reference).value


@pytest.mark.parametrize(
    'points, reference, expected',
    [
        ([(2, 3)], (0, 0), 6),
        ([(2, 3)], (1, 1), 2),
        ([(1, 3), (3, 1)], (0, 0), 5),
        ([(3, 1), (1, 3), (2, 2)], (0, 0), 6),
        ([(1, 3), (3, 1), (1, 1)], (0, 0), 5),
        ([(2, 2), (2, 2)], (0, 0), 4),
        ([(0.5, 9), (9, 0.5)], (1, 1), 0),
        ([(0.5, 9), (2, 2)], (1, 1), 1),
        ([(1, 1)], (1, 1), 0),
        (np.zeros((0, 2)), (0, 0), 0),
    ],
)
def test_hypervolume_by_hand(points, reference, expected):
  got = hypervolume(points, reference)
  assert isinstance(got, float)
  assert got == pytest.approx(expected)


@given(POINTS | FLOAT_POINTS, st.sampled_from([(0, 0), (0.5, -1), (-3, 1)]))
def test_hypervolume_against_unions_of_rectangles(points, reference):
  got = hypervolume(points, reference)
  assert got == pytest.approx(union_area(points, reference), abs=1e-12)
  assert got == pytest.approx(cell_area(points, reference), abs=1e-12)


@given(POINTS | FLOAT_POINTS, st.randoms(), st.floats(0, 2), st.floats(0, 2))
def test_what_hypervolume_does_not_depend_on(points, random, right, up):
  """The order of the points, and points that others dominate."""
  whole = pytest.approx(hypervolume(points, (-1, -1)), abs=1e-12)
  x, y = random.choice(points)
  more = [*points, (x - right, y - up)]
  random.shuffle(more)
  assert hypervolume(more, (-1, -1)) == whole
  front = np.asarray(points)[fronts.pareto(points)]
  assert hypervolume(front, (-1, -1)) == whole
  swapped = [p[::-1] for p in points]
  assert hypervolume(swapped, (-1, -1)) == whole


@given(POINTS, LEVELS, LEVELS)
def test_another_point_never_takes_area_away(points, x, y):
  before = hypervolume(points, (0, 0))
  after = hypervolume([*points, (x, y)], (0, 0))
  assert after >= before - 1e-12
  others = np.asarray(points)
  if min(x, y) > 0 and not np.any((others >= (x, y)).all(1)):
    assert after > before


def test_front_volume_is_that_of_the_means():
  values, baseline = noisy()
  reference = (0.6, 0.61)
  alone = fronts.front_volume(values, reference, resamples=200)
  ours = hypervolume(values.mean(0), reference)
  assert alone.value == pytest.approx(ours)
  assert (alone.n, alone.resamples) == (5, 200)
  assert alone.low < alone.value < alone.high
  both = fronts.front_volume(values, reference, baseline, resamples=200)
  others = hypervolume(baseline.mean(0)[None], reference)
  assert both.value == pytest.approx(ours - others)
  assert both.low < both.value < both.high


def test_the_interval_is_that_of_drawn_seeds():
  """All 3^3 draws of three seeds, in the limit of many resamples."""
  values, baseline = noisy(seeds=3)
  reference = np.array([0.6, 0.6])
  volumes = []
  for drawn in itertools.product(range(3), repeat=3):
    drawn = list(drawn)
    mean = baseline[drawn].mean(0)
    volume = hypervolume(values[drawn].mean(0), reference)
    volumes.append(volume - np.prod(mean - reference))
  got = fronts.front_volume(
      values, reference, baseline, resamples=20_000, confidence=0.74
  )
  # 0.13 lies half way between 3 / 27 and 4 / 27, not at the end of a step.
  expected = np.quantile(volumes, [0.13, 0.87], method='inverted_cdf')
  assert [got.low, got.high] == pytest.approx(expected, abs=1e-12)


def test_front_volume_is_seeded():
  values, baseline = noisy(seeds=8)
  args = (values, (0.6, 0.6), baseline)
  one = fronts.front_volume(*args, resamples=100, seed=3)
  assert one == fronts.front_volume(*args, resamples=100, seed=3)
  other = fronts.front_volume(*args, resamples=100, seed=4)
  assert other.value == one.value and other.low != one.low
  wide = fronts.front_volume(*args, resamples=100, seed=3, confidence=0.99)
  assert wide.low < one.low and wide.high > one.high


def test_the_baseline_is_drawn_with_its_seeds():
  """Only seeds vary, not the difference to the baseline: no spread."""
  shift = np.random.default_rng(0).normal(0, 0.01, 6)
  baseline = np.stack([0.7 + shift, np.full(6, 0.7)], -1)
  values = np.repeat(baseline[:, None], 3, 1)
  got = fronts.front_volume(values, (0.5, 0.5), baseline, resamples=100)
  assert got[:3] == pytest.approx((0, 0, 0), abs=1e-15)
  alone = fronts.front_volume(values, (0.5, 0.5), resamples=100)
  assert alone.high - alone.low > 1e-4


def test_incomplete_seeds_are_left_out_whole():
  values, baseline = noisy()
  args = dict(reference=(0.6, 0.6), resamples=100)
  complete = [0, 2, 3]
  expected = fronts.front_volume(
      values[complete], baseline=baseline[complete], **args)
  values[1, 4, 0] = NAN
  baseline[4, 1] = NAN
  got = fronts.front_volume(values, baseline=baseline, **args)
  assert got == expected and got.n == 3
  assert fronts.front_volume(values, **args).n == 4


def test_front_volume_at_the_edges():
  values, _ = noisy(seeds=1)
  one = fronts.front_volume(values, (0.6, 0.6))
  assert one.value == pytest.approx(hypervolume(values[0], (0.6, 0.6)))
  assert math.isnan(one.low) and math.isnan(one.high)
  assert (one.n, one.resamples) == (1, 0)
  none = fronts.front_volume(values * NAN, (0.6, 0.6))
  assert all(math.isnan(x) for x in none[:3]) and none.n == 0
  no_points = fronts.front_volume(np.zeros((3, 0, 2)), (0, 0), resamples=9)
  assert no_points == (0, 0, 0, 3, 9)


def test_the_best_of_noisy_points_is_optimistic():
  """As the docstring says: nine equal points seem to beat one like them."""
  rng = np.random.default_rng(0)
  got = [
      fronts.front_volume(
          rng.normal(0.65, 0.003, (5, 9, 2)), (0.6, 0.6),
          rng.normal(0.65, 0.003, (5, 2)), resamples=1,
      ).value
      for _ in range(50)
  ]
  assert np.mean(got) > 1e-4 and np.mean(np.asarray(got) > 0) > 0.8


def test_ellipse_by_hand():
  """Spread 2 along (1, 1) and 1 across, as variances over n - 1."""
  along, across = np.array([1, 1]) / math.sqrt(2), np.array([-1, 1]) / 2**0.5
  a, b = 2 * math.sqrt(1.5), math.sqrt(1.5)
  values = (3, 5) + np.stack([a * along, -a * along, b * across, -b * across])
  got = fronts.ellipse(values)
  assert got == pytest.approx((3, 5, 4, 2, 45))
  assert fronts.ellipse(values, 2) == pytest.approx((3, 5, 8, 4, 45))
  mirrored = fronts.ellipse(values * (1, -1))
  assert mirrored == pytest.approx((3, -5, 4, 2, -45))
  with_nan = fronts.ellipse([*values, (NAN, 1)])
  assert with_nan == got
  upright = fronts.ellipse([(0, -1), (0, 1)])
  assert upright == pytest.approx((0, 0, 2 * math.sqrt(2), 0, 90))


@pytest.mark.parametrize('seed', range(5))
def test_the_ellipse_has_mahalanobis_distance_one(seed):
  rng = np.random.default_rng(seed)
  values = rng.normal(size=(6, 2)) @ rng.normal(size=(2, 2)) + 0.6
  x, y, width, height, angle = fronts.ellipse(values, 1.5)
  assert width >= height and -90 < angle <= 90
  t, phi = np.linspace(0, 6, 20), math.radians(angle)
  turn = np.array(
      [[math.cos(phi), -math.sin(phi)], [math.sin(phi), math.cos(phi)]]
  )
  d = np.stack([width * np.cos(t), height * np.sin(t)], -1) / 2 @ turn.T
  inverse = np.linalg.inv(np.cov(values.T))
  distance = np.sqrt(np.einsum('ni,ij,nj->n', d, inverse, d))
  np.testing.assert_allclose(distance, 1.5)
  np.testing.assert_allclose((x, y), values.mean(0))


def test_ellipse_of_few_seeds():
  assert fronts.ellipse([(0.5, 0.25)]) == (0.5, 0.25, 0, 0, 0)
  got = fronts.ellipse([(NAN, 1), (1, NAN)])
  assert math.isnan(got.x) and math.isnan(got.y)
  assert got[2:] == (0, 0, 0)
  assert fronts.ellipse([(1, 2)] * 3)[:4] == (1, 2, 0, 0)


def test_trade_off_is_that_of_scipy():
  rng = np.random.default_rng(0)
  values = np.round(rng.normal(size=(12, 2)), 1)
  got = fronts.trade_off(values)
  assert got.slope == pytest.approx(stats.linregress(*values.T).slope)
  assert got.spearman == pytest.approx(stats.spearmanr(*values.T).statistic)
  assert fronts.trade_off([*values, (NAN, 5), (5, NAN)]) == got
  line = fronts.trade_off([(0, 4), (1, 2), (2, 0)])
  assert line == pytest.approx((-2, -1))


@pytest.mark.parametrize(
    'values, slope',
    [
        (np.zeros((0, 2)), NAN),
        ([(0, 1), (1, 0)], NAN),
        ([(0, 1), (1, 0), (NAN, 3)], NAN),
        ([(0.1, 1), (0.1, 2), (0.1, 3)], NAN),
        ([(1, 0.5), (2, 0.5), (3, 0.5)], 0),
    ],
)
def test_trade_off_at_the_edges(values, slope):
  """A constant second score has a slope, 0, but no ranks."""
  got = fronts.trade_off(values)
  np.testing.assert_equal([*got], [slope, NAN])


@pytest.mark.parametrize(
    'call',
    [
        lambda: fronts.pareto([1.0, 2.0]),
        lambda: fronts.pareto(np.zeros((3, 3))),
        lambda: fronts.pareto([(math.inf, 1)]),
        lambda: fronts.front_volume(np.zeros((1, 2, 2, 2)), (0, 0)),
        lambda: hypervolume([(1, 1)], 0.5),
        lambda: hypervolume([(1, 1)], (0, NAN)),
        lambda: hypervolume([(1, 1)], (0, -math.inf)),
        lambda: fronts.front_volume(np.zeros((3, 2)), (0, 0)),
        lambda: fronts.front_volume(np.zeros((3, 4, 2)), (0, 0, 0)),
        lambda: fronts.front_volume(
            np.zeros((3, 4, 2)), (0, 0), np.zeros((2, 2))
        ),
        lambda: fronts.front_volume(
            np.zeros((3, 4, 2)), (0, 0), np.zeros((3, 1, 2))
        ),
        lambda: fronts.ellipse(np.zeros(2)),
        lambda: fronts.trade_off(np.zeros((4, 1))),
    ],
)
def test_bad_input(call):
  with pytest.raises(InputError, match='must|seeds'):
    call()

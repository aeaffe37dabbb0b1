"""What the figures show, read from their axes and from the PNG."""

import subprocess
import sys

from esmm_jax.reporting import plots
from esmm_jax.reporting.plots import drawing
from esmm_jax.types import InputError
from matplotlib import collections, image, patches
from matplotlib.text import Text
import numpy as np
import pytest

pytestmark = pytest.mark.slow

NAN = float('nan')
WEIGHTS = [0.25, 0.5, 1, 2, 4]
METHODS = [f'method {k}' for k in range(7)]
SHARES = (0.01, 0.2, 0.4, 1.0)


def drawn(path):
  """The pixels; fails where the picture is blank."""
  pixels = image.imread(path)[..., :3]
  assert min(pixels.shape[:2]) > 300
  assert pixels.mean() > 0.5 and (pixels < 0.4).any(-1).sum() > 1000
  return pixels


def panels_of(figure):
  """The axes of a figure that hold a panel, not the colour bar."""
  return [a for a in figure.axes if a.get_label() != '<colorbar>']


def names(figure):
  return [a.get_title(loc='left') for a in panels_of(figure)]


def counts(figure):
  return [a.get_title(loc='right') for a in panels_of(figure)]


def legend(figure):
  assert len(figure.legends) == 1
  assert not any(a.get_legend() for a in figure.axes)
  return [text.get_text() for text in figure.legends[0].get_texts()]


def lines(axes, label):
  return [x for x in axes.get_lines() if x.get_label() == label]


def texts_apart(figure):
  """No two texts of the figure overlap, and none leaves it."""
  figure.draw_without_rendering()
  unseen = set()  # The labels of ticks beyond the limits are not drawn.
  for axes in figure.axes:
    for axis in (axes.xaxis, axes.yaxis):
      low, high = axis.get_view_interval()
      for tick in axis.get_major_ticks():
        if not low <= tick.get_loc() <= high:
          unseen |= {tick.label1, tick.label2}
  boxes = [
      (t.get_text(), t.get_window_extent().padded(-1))
      for t in figure.findobj(Text)
      if t.get_text().strip() and t.get_visible() and t not in unseen
  ]
  for k, (text, box) in enumerate(boxes):
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width, text
    assert box.y0 >= 0 and box.y1 <= figure.bbox.height, text
    for other, another in boxes[:k]:
      assert not box.overlaps(another), (text, other)


def scores(seeds=4, architectures=4, seed=0):
  """Architecture -> [S, P, 2] along an arc."""
  rng = np.random.default_rng(seed)
  t = np.linspace(0.2, 1.4, len(WEIGHTS))
  arc = 0.65 + 0.02 * np.stack([np.sin(t), np.cos(t)], -1)
  return {
      f'model {k}': arc + rng.normal(0, 0.003, (seeds, len(WEIGHTS), 2))
      for k in range(architectures)
  }


def draw_fronts(tmp_path, series, weights=WEIGHTS, single=None, **more):
  if single is None:
    single = np.random.default_rng(1).normal(0.655, 0.003, (4, 2))
  path = str(tmp_path / 'made' / 'fronts.png')
  figure = plots.fronts(
      series, weights, single, path, 'Trade-offs', 'CTR AUC', 'CVR AUC', **more
  )
  drawn(path)
  texts_apart(figure)
  return figure


def test_fronts(tmp_path):
  series = scores()
  single = np.array([[0.65, 0.66], [0.66, 0.66], [0.67, 0.69]])
  figure = draw_fronts(tmp_path, series, single=single)
  assert figure.get_suptitle() == 'Trade-offs'
  # Two rows of three, of which two are empty.
  assert names(figure) == [*series, '', '']
  assert counts(figure) == ['4 seeds'] * 4 + ['', '']
  for axes, (name, values) in zip(panels_of(figure), series.items()):
    [own] = lines(axes, 'mean of this architecture')
    np.testing.assert_allclose(own.get_xydata(), values.mean(0))
    others = lines(axes, 'mean of another architecture')
    np.testing.assert_allclose(
        [line.get_xydata() for line in others],
        [x.mean(0) for other, x in series.items() if other != name],
    )
    [upright] = lines(axes, 'single-task, ± 1 standard deviation')
    assert list(upright.get_xdata()) == pytest.approx([0.66, 0.66])
    ys = [list(line.get_ydata()) for line in axes.get_lines()]
    assert any(y == pytest.approx([0.67, 0.67]) for y in ys)
    bands = [p for p in axes.patches if isinstance(p, patches.Rectangle)]
    ends = [(b.get_x(), b.get_x() + b.get_width()) for b in bands]
    assert ends[0] == pytest.approx((0.65, 0.67))
    ends = [(b.get_y(), b.get_y() + b.get_height()) for b in bands]
    std = np.std([0.66, 0.66, 0.69], ddof=1)
    assert ends[1] == pytest.approx((0.67 - std, 0.67 + std))
    ovals = [p for p in axes.patches if isinstance(p, patches.Ellipse)]
    centres = [p.get_center() for p in ovals]
    np.testing.assert_allclose(centres, values.mean(0))
  colour_bar = figure.axes[-1]
  assert colour_bar.get_ylabel() == 'log2 of the CTR : CVR weight'
  assert colour_bar.get_ylim() == (-2, 2)
  assert len(legend(figure)) == 6


def test_points_of_fronts(tmp_path):
  """Joined and coloured in the order of the weights, the front ringed."""
  means = np.array([(0.7, 0.6), (0.6, 0.7), (0.62, 0.65), (0.65, 0.66)])
  figure = draw_fronts(
      tmp_path, {'A': means[None]}, [8, 1, 2, 4], weight_label='ratio'
  )
  axes = panels_of(figure)[0]
  [line] = lines(axes, 'mean of this architecture')
  np.testing.assert_allclose(line.get_xydata(), means[[1, 2, 3, 0]])
  found = {
      c.get_label(): (c.get_offsets().tolist(), c.get_array().tolist())
      for c in axes.collections
      if isinstance(c, collections.PathCollection)
  }
  assert found == {
      'mean of one weight': ([[0.62, 0.65]], [1]),
      'on the Pareto front of the panel': (
          [[0.6, 0.7], [0.65, 0.66], [0.7, 0.6]], [0, 2, 3],
      ),
  }
  # One seed has no spread, one architecture no others.
  assert not any(isinstance(p, patches.Ellipse) for p in axes.patches)
  assert counts(figure) == ['1 seed']
  assert not lines(axes, 'mean of another architecture')
  assert figure.axes[-1].get_ylabel() == 'ratio'


def test_the_ellipse_of_two_seeds_is_a_line(tmp_path):
  """It has no area, so its edge is drawn; that of three seeds has none."""
  values = np.array([[(0.6, 0.6)], [(0.62, 0.64)], [(0.64, 0.6)]])
  for num, width in ((2, 1.4), (3, 0)):
    axes = panels_of(draw_fronts(tmp_path, {'A': values[:num]}, [1]))[0]
    [oval] = [p for p in axes.patches if isinstance(p, patches.Ellipse)]
    assert oval.get_linewidth() == width
    assert oval.get_label() == '1 standard deviation of the seeds'
  # Both axes, over n - 1: .02 and .04 / root 3.
  assert sorted([oval.get_width(), oval.get_height()]) == pytest.approx(
      [2 * 0.02, 2 * 0.04 / np.sqrt(3)])


def test_lone_points_of_fronts(tmp_path):
  """The first name filled, the others hollow and joined to it."""
  points = {
      f'method {k}': {
          'method': np.array([[0.64, 0.65], [0.66, 0.66]]) + k / 900,
          'replay': np.array([[0.65, 0.64], [0.65, NAN]]) + k / 900,
      }
      for k in range(20)
  }
  points['method 3']['method'][:] = NAN
  figure = draw_fronts(tmp_path, scores(architectures=1), points=points)
  axes = panels_of(figure)[0]
  texts = legend(figure)
  assert {*points} - {'method 3'} <= {*texts} and 'method 3' not in texts
  assert {'method', 'replay'} <= {*texts}
  [filled] = lines(axes, 'method 0')
  np.testing.assert_allclose(filled.get_xydata(), [[0.65, 0.655]])
  drawn = [line.get_xydata().tolist() for line in axes.get_lines()]
  [joined] = [d for d in drawn if len(d) == 2 and d[0] == [0.65, 0.655]]
  np.testing.assert_allclose(joined[1], [0.65, 0.64])
  looks = {
      (lines(axes, m)[0].get_marker(), lines(axes, m)[0].get_color())
      for m in points if m != 'method 3'}
  assert len(looks) == 19
  with pytest.raises(InputError, match='A, replay must be'):
    draw_fronts(tmp_path, scores(), points={'A': {'replay': np.zeros(2)}})


def test_missing_runs_of_fronts(tmp_path):
  series = scores(architectures=3)
  series['model 0'][0, 1, 0] = NAN
  series['model 1'][:, 2] = NAN
  series['model 2'][:] = NAN
  single = np.array([[0.65, 0.66], [0.9, NAN]])
  figure = draw_fronts(tmp_path, series, single=single)
  first, second, third = panels_of(figure)
  assert counts(figure) == [
      '3 to 4 of 4 seeds', '0 to 4 of 4 seeds', '0 of 4 seeds',
  ]
  expected = series['model 0'].mean(0)
  expected[1] = series['model 0'][1:, 1].mean(0)
  [line] = lines(first, 'mean of this architecture')
  np.testing.assert_allclose(line.get_xydata(), expected)
  [line] = lines(second, 'mean of this architecture')
  assert len(line.get_xydata()) == 4
  assert not third.collections
  [upright] = lines(first, 'single-task')
  assert upright.get_xdata()[0] == 0.65
  # Nothing at all is still a figure, without a cross-hair.
  figure = draw_fronts(tmp_path, series, single=np.full((2, 2), NAN))
  assert 'single-task' not in legend(figure)


@pytest.mark.parametrize(
    'series, weights, single',
    [
        ({}, WEIGHTS, np.zeros((2, 2))),
        ({'A': np.zeros((3, 4, 2))}, WEIGHTS, np.zeros((2, 2))),
        ({'A': np.zeros((5, 2))}, WEIGHTS, np.zeros((2, 2))),
        ({'A': np.zeros((3, 5, 2))}, WEIGHTS, np.zeros((2, 3))),
        ({'A': np.zeros((3, 5, 2))}, [0, 1, 2, 3, 4], np.zeros((2, 2))),
    ],
)
def test_bad_fronts(series, weights, single, tmp_path):
  with pytest.raises(InputError, match='must be|no panel'):
    plots.fronts(series, weights, single, str(tmp_path / 'x.png'), '', '', '')
  assert not list(tmp_path.iterdir())


def test_training_size(tmp_path):
  rng = np.random.default_rng(0)
  panels = {
      label: {m: {s: rng.normal(0.65, 0.01, 3) for s in SHARES}
              for m in METHODS}
      for label in ('CVR AUC (clicked)', 'CTCVR AUC')
  }
  panels['CTCVR AUC']['method 2'][0.2][0] = NAN
  panels['CTCVR AUC']['method 2'][0.4][:2] = NAN
  panels['CTCVR AUC']['method 2'][1.0][:] = NAN
  path = str(tmp_path / 'made' / 'size.png')
  figure = plots.training_size(panels, path, 'Size')
  drawn(path)
  texts_apart(figure)
  assert [a.get_ylabel() for a in figure.axes] == list(panels)
  assert counts(figure) == ['3 seeds', '0 to 3 of 3 seeds']
  assert legend(figure) == METHODS
  seen = set()
  for axes, panel in zip(figure.axes, panels.values()):
    ticks = [t.get_text() for t in axes.get_xticklabels()]
    assert ticks == ['1 %', '20 %', '40 %', '100 %']
    places = set()
    for container, (name, by_share) in zip(axes.containers, panel.items()):
      line, caps, [bars] = container
      values = np.stack([by_share[s] for s in SHARES])
      here = ~np.isnan(values).all(1)
      x, y = line.get_data()
      np.testing.assert_allclose(y, np.nanmean(values[here], 1))
      np.testing.assert_array_equal(np.round(x), np.flatnonzero(here))
      places |= {round(place, 6) for place in x}
      known = [x[~np.isnan(x)] for x in values]
      spread = [x.std(ddof=1) for x in known if len(x) > 1]
      ends = [np.asarray(s)[:, 1] for s in bars.get_segments() if len(s)]
      half = np.ptp(ends, axis=1) / 2
      np.testing.assert_allclose(half, spread)
      seen.add((name, line.get_marker(), line.get_color()))
    # No two points stand above each other.
    assert len(places) == sum(len(c[0].get_xdata()) for c in axes.containers)
  assert len(seen) == len({s[1] for s in seen}) == len(METHODS)
  assert len({s[2] for s in seen}) == len(METHODS)


def test_panels_of_deciles(tmp_path):
  rng = np.random.default_rng(0)
  cells = [('A', 'x'), ('A', 'y'), ('B', 'x'), ('C', 'y')]
  panels = {
      cell: {m: rng.normal(1, 0.1, (5, 10)) for m in METHODS[:4]}
      for cell in cells
  }
  # A panel without the first method: the others keep their colours.
  del panels['A', 'y']['method 0']
  panels['A', 'x']['method 0'][2] = NAN
  path = str(tmp_path / 'made' / 'deciles.png')
  figure = plots.cvr_by_ctr_decile_panels(panels, path, 'Deciles')
  drawn(path)
  texts_apart(figure)
  grid = dict(zip([(r, c) for r in 'ABC' for c in 'xy'], figure.axes))
  assert len(figure.axes) == len(grid)
  assert legend(figure) == METHODS[:4]
  assert names(figure) == ['x', 'y', '', '', '', '']
  assert [grid[r, 'x'].get_ylabel().strip() for r in 'ABC'] == ['A', 'B', 'C']
  assert counts(figure) == [
      '4 to 5 of 5 seeds', '5 seeds', '5 seeds', '', '', '5 seeds'
  ]
  assert not grid['B', 'y'].lines and not grid['C', 'x'].lines
  colours = {}
  for cell, panel in panels.items():
    axes = grid[cell]
    assert axes.get_yscale() == 'linear' and axes.get_ylim()[0] == 0
    for band, (method, values) in zip(axes.collections, panel.items()):
      values = values[~np.isnan(values).any(1)]
      mean, std = values.mean(0), values.std(0, ddof=1)
      [line] = lines(axes, method)
      np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 11))
      np.testing.assert_allclose(line.get_ydata(), mean)
      box = band.get_datalim(axes.transData)
      assert box.y0 == pytest.approx((mean - std).min())
      assert box.y1 == pytest.approx((mean + std).max())
      assert colours.setdefault(method, line.get_color()) == line.get_color()
    ys = [list(line.get_ydata()) for line in axes.get_lines()]
    assert [1, 1] in ys
  assert len(set(colours.values())) == 4


@pytest.mark.parametrize(
    'ratio, scale',
    [(3.9, 'linear'), (0.26, 'linear'), (4.1, 'log'), (0.2, 'log'),
     (0, 'log'), (NAN, 'linear')],
)  # fmt: skip
def test_far_ratios_have_a_log_axis(ratio, scale, tmp_path):
  values = np.ones((2, 10))
  values[0, 3] = ratio
  path = str(tmp_path / 'x.png')
  figure = plots.cvr_by_ctr_decile_panels(
      {('A', 'x'): {'m': values}, ('B', 'x'): {'m': np.ones((1, 10))}},
      path, 'Far',
  )
  drawn(path)
  assert [a.get_yscale() for a in figure.axes] == [scale] * 2
  if scale == 'log':
    low, high = figure.axes[1].get_ylim()
    assert 0 < low < 1 < high
    labels = {t.get_text() for t in figure.axes[0].get_yticklabels()}
    assert '1' in labels


def test_one_panel_of_deciles(tmp_path):
  """The figure of the demo, from the results of its runs."""
  runs = {
      name: {f'test/cvr_entire/ratio_ctr_decile_{d}': bias**d
             for d in range(1, 11)} | {'test/cvr_entire/ratio': bias}
      for name, bias in (('ESMM', 1.0), ('click space', 1.1))
  }
  path = str(tmp_path / 'made' / 'deciles.png')
  assert plots.cvr_by_ctr_decile(runs, path, 'Deciles') is None
  drawn(path)


def test_bad_values():
  for call in (
      lambda: plots.training_size({}, 'x.png', ''),
      lambda: plots.training_size({'a': {'m': {1: [[1.0]]}}}, 'x.png', ''),
      lambda: plots.cvr_by_ctr_decile_panels({}, 'x.png', ''),
      lambda: plots.cvr_by_ctr_decile_panels(
          {('a', 'b'): {'m': np.ones((3, 9))}}, 'x.png', ''
      ),
  ):
    with pytest.raises(InputError, match='must be|no panel'):
      call()


@pytest.mark.parametrize(
    'found, total, expected',
    [
        ([5, 5], 5, '5 seeds'),
        ([3, 3], 5, '3 of 5 seeds'),
        ([3, 5], 5, '3 to 5 of 5 seeds'),
        ([1], 1, '1 seed'),
        ([0], 1, '0 of 1 seed'),
        ([], 0, '0 seeds'),
    ],
)
def test_seeds(found, total, expected):
  assert drawing.seeds(found, total) == expected


def test_colours_and_markers_are_distinct():
  assert len(set(drawing.COLOURS)) == len(set(drawing.MARKERS)) == 8


def test_nothing_is_imported_until_a_figure_is_drawn(root):
  program = (
      'import sys; from esmm_jax.reporting import plots; '
      'print("matplotlib" in sys.modules)'
  )
  done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True, text=True, cwd=root, check=False)
  assert done.stdout.strip() == 'False', done.stderr


def test_funnel(tmp_path):
  rng = np.random.default_rng(0)
  click = np.arange(2000) % 10 == 0
  cvr = np.where(click, 0.2, 0.1) * rng.uniform(0.01, 1, 2000)
  conversion = click & (np.arange(2000) % 50 == 0)
  path = str(tmp_path / 'funnel.png')
  figure = plots.funnel(click, conversion, cvr, path, 'A log')
  drawn(path)
  texts_apart(figure)
  counts = figure.axes[0]
  assert [b.get_width() for b in counts.patches] == [2000, 200, 40]
  said = [t.get_text() for t in counts.texts]
  assert said == ['2,000\n100.00%', '200\n10.00%', '40\n2.00%']
  assert legend(figure) == [
      f'all impressions: mean {cvr.mean():.3f}',
      f'clicked: mean {cvr[click].mean():.3f}']
  with pytest.raises(InputError, match='conversion must be'):
    plots.funnel(click, conversion[1:], cvr, path, '')

"""The pictures of the pages: what they are given is what they draw."""

import os
from types import SimpleNamespace

from esmm_jax.reporting import plots
from esmm_jax.reporting.page.bins import observed_rate
from esmm_jax.types import InputError
import numpy as np
import pytest

NAN = float('nan')


def lines(axes):
  """Label -> (x, y), of what has a label."""
  return {
      line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
      for line in axes.get_lines()
      if not line.get_label().startswith('_')
  }


def curve(predicted, positives, rows):
  return SimpleNamespace(
      predicted=np.array(predicted), observed=observed_rate(positives, rows))


@pytest.fixture
def path(tmp_path):
  path = str(tmp_path / 'plots' / 'picture.png')
  yield path
  with open(path, 'rb') as f:
    assert f.read(4) == b'\x89PNG'
  assert os.listdir(tmp_path / 'plots') == ['picture.png']


def test_learning(path):
  panels = {
      'ctr: loss, nats': {
          'training': ([10, 50, 100], [9.0, 0.4, 0.3]),
          'validation': ([50, 100], [0.5, 0.45]),
      },
      'AUC': {'AUC ctr': ([50, 100], [0.6, 0.7])},
      'more': {'training': ([10, 100], [1.0, NAN])},
  }
  figure = plots.learning(panels, path, 'Title', selected=50)
  first, second, third, blank = figure.axes
  assert lines(first) == panels['ctr: loss, nats']
  assert lines(second) == panels['AUC']
  # The beginning, 9, does not set the axis: .3 to .5 and 8 % on each side.
  np.testing.assert_allclose(first.get_ylim(), (0.284, 0.516))
  for axes in (first, second, third):
    assert list(axes.get_lines()[-1].get_xdata()) == [50, 50]
  assert not blank.get_lines()
  assert figure.get_suptitle() == 'Title'
  # A curve has no markers; a point would be invisible without one.
  assert first.get_lines()[0].get_marker() == ''
  few = {'ctr': {'training': ([4], [0.4]), 'validation': ([4], [0.5])}}
  (axes,) = plots.learning(few, path, 'One report').axes
  assert all(x.get_marker() for x in axes.get_lines())


def test_calibration_curves(path):
  """Predictions that are far apart have log axes; 0 of 50 has no point."""
  near = curve([0.1, 0.2], [5, 15], [50, 50])
  far = curve([0.001, 0.1], [0, 4], [50, 50])
  changed = curve([0.12, 0.3], [5, 15], [50, 50])
  panels = {'ctr': {'as trained': near, 'Platt': changed},
            'ctcvr': {'as trained': far}}
  figure = plots.calibration_curves(panels, path, 'Title')
  ctr, ctcvr = figure.axes
  assert lines(ctr) == {
      'as trained': ([0.1, 0.2], [0.1, 0.3]),
      'Platt': ([0.12, 0.3], [0.1, 0.3])}
  assert ctr.get_xscale() == 'linear' and ctcvr.get_xscale() == 'log'
  x, y = lines(ctcvr)['as trained']
  assert x == [0.001, 0.1] and np.isnan(y[0]) and y[1] == 0.08
  assert ctr.get_title('left') == 'ctr'


def test_observed_cvr(path):
  deciles = SimpleNamespace(
      predicted=np.array([0.1, 0.2]),
      predicted_clicked=np.array([0.15, 0.25]),
      observed=observed_rate([0, 5], [0, 50]),  # No click in the first.
      true=np.array([0.3, 0.4]))
  figure = plots.observed_cvr(deciles, path, 'Title')
  found = lines(figure.axes[0])
  assert found['predicted, all impressions'] == ([1, 2], [0.1, 0.2])
  assert found['predicted, clicked ones'] == ([1, 2], [0.15, 0.25])
  assert found['true, all impressions'] == ([1, 2], [0.3, 0.4])
  deciles.true = None
  figure = plots.observed_cvr(deciles, path, 'Title')
  assert 'true, all impressions' not in lines(figure.axes[0])


def test_gates(path):
  """Gates of 2 and 3 experts; the first one mixes evenly."""
  loads = {'gate_ctr': [0.5, 0.5], 'gate_cvr': [0.02, 0.28, 0.7]}
  entropies = {'gate_ctr': np.log(2), 'gate_cvr': np.log(3) / 2}
  figure = plots.gates(loads, entropies, path, 'Title')
  (axes,) = figure.axes
  widths = [bar.get_width() for bar in axes.patches]
  assert widths == [0.5, 0.02, 0.5, 0.28, 0, 0.7]
  starts = [bar.get_x() for bar in axes.patches]
  assert starts == pytest.approx([0, 0, 0.5, 0.02, 1, 0.3])
  texts = [t.get_text() for t in axes.texts]
  assert texts == [
      '50 %', '', '50 %', '28 %', '', '70 %', '100 %', '50 %', 'entropy']


def test_gains(path):
  panels = {
      'CTR': {'a': [0.01, -0.2, 0.03, 0.2], 'b': [-0.02, -0.03, -0.01, 0.01]},
      'CVR': {'a': [0.5, NAN, NAN, NAN], 'b': [NAN] * 4},
  }
  figure = plots.gains(panels, path, 'Title')
  ctr, cvr = figure.axes
  points = [line for line in ctr.get_lines() if line.get_marker() == 'o']
  assert [line.get_xdata()[0] for line in points] == [0.01, -0.02]
  faces = [line.get_markerfacecolor() for line in points]
  assert faces[0] == 'white' and faces[1] == points[1].get_color()
  # -.2 is cut off at 5 x .02, .03 is not; 6 % on each side.
  np.testing.assert_allclose(ctr.get_xlim(), (-0.1078, 0.0378))
  np.testing.assert_allclose(cvr.get_xlim(), (-0.03, 0.53))
  assert [t.get_text() for t in ctr.get_yticklabels()] == ['a', 'b']


@pytest.mark.parametrize(
    'draw',
    [
        lambda path: plots.learning({}, path, 'T'),
        lambda path: plots.calibration_curves({}, path, 'T'),
        lambda path: plots.gates({}, {}, path, 'T'),
        lambda path: plots.gains({}, path, 'T'),
    ],
)
def test_nothing_to_draw(draw, tmp_path):
  with pytest.raises(InputError, match='nothing to draw'):
    draw(str(tmp_path / 'a.png'))
  assert os.listdir(tmp_path) == []


def test_wrong_gains(tmp_path):
  with pytest.raises(InputError, match=r'a must be \[4\]'):
    plots.gains({'CTR': {'a': [1.0]}}, str(tmp_path / 'a.png'), 'T')

"""The points and tables of a seesaw laboratory."""

from esmm_jax.sweeps import seesaw, seesaw_flags
from esmm_jax.sweeps.points import run_name, settings
from esmm_jax.tasks import CART_FUNNEL, CLICK, CLICKED, CONVERSION, FUNNEL, Task
from esmm_jax.types import InputError
import pytest

ENTIRE = {'ctr': 1.0, 'cvr_clicked': 0.0, 'ctcvr': 1.0}
CART = {
    'ctr': 1.0, 'atr_clicked': 0.0, 'ctatr': 1.0, 'ptr_carted': 0.0,
    'cvr_clicked': 0.0, 'ctcvr': 1.0}
WATCHED = (CLICK, CONVERSION, Task('watch', 'watch', 'ctr', 'regression'))
LIKES = (*FUNNEL, Task('like', 'like', 'ctr'))


@pytest.mark.parametrize('weights, tasks, named, pair, scores', [
    (ENTIRE, FUNNEL, '', ('ctr', 'ctcvr'), ('ctr', 'cvr_clicked')),
    (ENTIRE, FUNNEL, 'ctcvr, ctr', ('ctcvr', 'ctr'), ('cvr_clicked', 'ctr')),
    ({'ctr': 1.0, 'cvr_clicked': 2.0}, FUNNEL, '',
     ('ctr', 'cvr_clicked'), ('ctr', 'cvr_clicked')),
    # The first and the last one of three.
    (CART, CART_FUNNEL, '', ('ctr', 'ctcvr'), ('ctr', 'ptr_carted')),
    (CART, CART_FUNNEL, 'ctatr,ctcvr',
     ('ctatr', 'ctcvr'), ('atr_clicked', 'ptr_carted')),
    # A regression has no AUC.
    (ENTIRE | {'ctwatch': 1.0}, WATCHED, '',
     ('ctr', 'ctcvr'), ('ctr', 'cvr_clicked')),
    (ENTIRE | {'ctlike': 1.0}, LIKES, '',
     ('ctr', 'ctlike'), ('ctr', 'like_clicked')),
    # Losses that are of no label do not count.
    ({'ctr': 1.0, 'cvr_entire': 1.0, 'imputation': 1.0}, FUNNEL, '',
     ('ctr', 'cvr_entire'), ('ctr', 'cvr_clicked')),
])
def test_losses_and_their_scores(weights, tasks, named, pair, scores):
  assert seesaw_flags.pair(weights, tasks, named) == pair
  choices = [
      'ctr', 'cvr_clicked', 'ctcvr', 'atr_clicked', 'ptr_carted',
      'like_clicked']
  assert seesaw_flags.score_spaces(pair, tasks, choices) == scores


@pytest.mark.parametrize('call, words', [
    (lambda: seesaw_flags.pair({'cvr_clicked': 1.0}, CLICKED), 'two losses'),
    (lambda: seesaw_flags.pair(ENTIRE, FUNNEL, 'ctr'), '--tasks=ctr: name two'),
    (lambda: seesaw_flags.pair(ENTIRE, FUNNEL, 'ctr,ctr'), 'name two'),
    (lambda: seesaw_flags.pair(ENTIRE, FUNNEL, 'ctr,'), 'name two'),
    (lambda: seesaw_flags.pair(ENTIRE, FUNNEL, 'ctr,ctcv'), "mean 'ctcvr'"),
    (lambda: seesaw_flags.pair(ENTIRE, FUNNEL, 'ctr,cvr_clicked'),
     'loss_weights.cvr_clicked is 0'),
    (lambda: seesaw_flags.score_spaces(('cvr_clicked', 'ctcvr'), FUNNEL,
                                 ['ctr', 'cvr_clicked', 'ctcvr']),
     'both scored by cvr_clicked'),
    (lambda: seesaw_flags.score_spaces(('ctr', 'teacher'), FUNNEL, ['ctr']),
     'the loss teacher has no AUC'),
    (lambda: seesaw_flags.score_spaces(('ctr', 'ctwatch'), WATCHED, ['ctr']),
     'the loss ctwatch has no AUC'),
    (lambda: seesaw_flags.score_spaces(('ctr', 'ctcvr'), FUNNEL, ['ctr'],
                                 'ctr,cvr'), "no AUC of 'cvr'"),
    (lambda: seesaw_flags.arms('pcgard', ['pcgrad']), "mean 'pcgrad'"),
    (lambda: seesaw_flags.arms('pcgrad,pcgrad', ['pcgrad']),
     'pcgrad is there twice'),
    (lambda: seesaw_flags.arms('cagrad:c', ['cagrad']), 'write NAME=VALUE'),
    (lambda: seesaw_flags.ratios('1'), 'two positive numbers'),
    (lambda: seesaw_flags.ratios('1,0'), 'two positive numbers'),
    (lambda: seesaw_flags.ratios('1,inf'), 'two positive numbers'),
    (lambda: seesaw_flags.ratios('1,nan'), 'two positive numbers'),
    (lambda: seesaw_flags.ratios('1,1.0'), 'all different'),
    (lambda: seesaw_flags.ratios('1,a'), 'Write numbers'),
])
def test_what_is_refused(call, words):
  with pytest.raises(InputError, match=words):
    call()


def test_methods_and_their_options():
  arms = seesaw_flags.arms(
      'pcgrad,cagrad:c=.2:rescale=norm', ['pcgrad', 'cagrad'])
  assert [arm.label for arm in arms] == ['pcgrad', 'cagrad c=.2 rescale=norm']
  assert arms[1].settings == {
      'balancing.name': 'cagrad', 'balancing.c': 0.2,
      'balancing.rescale': 'norm'}
  assert seesaw_flags.arms('', ['pcgrad']) == ()
  assert [a.label for a in seesaw_flags.arms('all', ['a', 'b'])] == ['a', 'b']


def design(**changes):
  options = dict(
      base={'config': 'configs/esmm.py:smoke', 'loss_weights.ctr': 2.0},
      single={'config': 'configs/single_task.py:smoke'},
      terms=('ctr', 'ctcvr'), weights=(2.0, 1.0),
      scores=('ctr', 'cvr_clicked'), others=('ctcvr',), ratios=(0.5, 2.0),
      seeds=2, arms=seesaw_flags.arms('pcgrad', ['pcgrad']))
  return seesaw.Design(**options | changes)


def test_points():
  """Weights of the losses sum to 3, as in the config; seeds are outermost."""
  points = seesaw.points(design())
  assert [(p['seed'], p['@arm'], p['@ratio']) for p in points[:6]] == [
      (0, 'single_task', None), (0, 'static', 0.5), (0, 'static', 2.0),
      (0, 'pcgrad', 'method'), (0, 'pcgrad', 'replay'),
      (0, 'config', 'as it is')]
  assert [p['seed'] for p in points[6:]] == [1] * 6
  single, low, high, method, replay, config = map(settings, points[:6])
  esmm = {'config': 'configs/esmm.py:smoke', 'seed': 0}
  assert single == {'config': 'configs/single_task.py:smoke', 'seed': 0}
  assert low == esmm | {'loss_weights.ctr': 1.0, 'loss_weights.ctcvr': 2.0}
  assert high == esmm | {'loss_weights.ctr': 2.0, 'loss_weights.ctcvr': 1.0}
  assert config == esmm | {'loss_weights.ctr': 2.0}
  assert method == config | {'balancing.name': 'pcgrad'}
  assert replay == config | {
      'balancing.name': 'replay', 'balancing.of': f'../{run_name(method)}'}


def test_tables_are_of_the_same_runs():
  tables = seesaw.tables(design(), 'title', 'note')
  names = {run_name(p) for p in tables.front.points}
  assert len(names) == 12
  for table in filter(None, tables):
    assert {run_name(p) for p in table.points} <= names
  assert [c.metric for c in tables.front.columns] == [
      'test/ctr/auc', 'test/cvr_clicked/auc', 'test/ctcvr/auc']
  cell = dict(tables.replays.baseline_cell(tables.replays.points[0]))
  assert cell == {'@arm': 'pcgrad', '@ratio': 'replay', 'seed': 0}
  assert {p['@arm'] for p in tables.config.points} == {
      'static', 'pcgrad', 'config'}
  assert seesaw.tables(design(arms=()), 'title', 'note').replays is None

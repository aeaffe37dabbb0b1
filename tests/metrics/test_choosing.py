"""The metric that selects: it exists, or it is refused with what there is."""

from esmm_jax.metrics.by_space import evaluate, metric_keys, Observed
from esmm_jax.metrics.choosing import check_metric, DEFAULT, resolve
from esmm_jax.metrics.undefined import undefined
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, spaces, Task
from esmm_jax.types import InputError
import numpy as np
import pytest

WATCH = Task('play_time', 'play_time', 'ctr', kind='regression')
# Tasks of a log, and what selects where nothing is set.
TASKS = {
    'click and conversion': (FUNNEL, DEFAULT),
    'cart': (CART_FUNNEL, DEFAULT),
    'and watch time': ((*FUNNEL, WATCH), DEFAULT),
    'click alone': (FUNNEL[:1], 'valid/ctr/logloss'),
    'click and watch time': ((FUNNEL[0], WATCH), 'valid/ctplay_time/mse'),
    'conversion alone': (
        (Task('cvr', 'conversion'),), 'valid/cvr/logloss'),
    'parallel': (
        (FUNNEL[0], Task('like', 'like', 'ctr'), Task('save', 'save', 'ctr')),
        'valid/ctsave/logloss'),
    'a rating': (
        (Task('rating', 'rating', kind='regression'),), 'valid/rating/mse'),
}
CASES = [(name, groups, truth) for name in TASKS for groups in (False, True)
         for truth in ((), ('p_ctr', 'p_cvr', 'p_atr'))]


def scored(tasks, groups, truth, num=200):
  """Predictions of random rows, and the rows."""
  rng = np.random.default_rng(0)
  labels = {}
  for task in tasks:
    parent = {t.name: t.label for t in tasks}.get(task.parent)
    value = rng.integers(0, 2, num) * (1 if parent is None else labels[parent])
    binary = task.kind == 'binary'
    labels[task.label] = value if binary else value * rng.random(num)
  if 'click' not in labels:
    truth = ()
  observed = Observed(
      labels, rng.integers(0, 9, num) if groups else None,
      {name: rng.uniform(0.1, 0.9, num) for name in truth}, tasks)
  outputs = {s.output: rng.standard_normal(num) for s in spaces(tasks)}
  return outputs, observed


@pytest.mark.parametrize('name, groups, truth', CASES)
def test_what_is_computed_is_what_is_foretold(name, groups, truth):
  outputs, observed = scored(TASKS[name][0], groups, truth)
  metrics = evaluate(outputs, observed)
  keys = metric_keys(observed.tasks, groups, observed.truth)
  assert list(metrics) == keys
  assert undefined(metrics, observed, 'test') == []
  for key in keys:
    check_metric(f'valid/{key}', keys)
  choice = resolve(None, None, True, observed.tasks)
  assert choice.metric == TASKS[name][1]
  check_metric(choice.metric, keys)
  assert bool(choice.warnings) == (choice.metric != DEFAULT)


@pytest.mark.parametrize('mode', [None, 'min', 'max'])
def test_no_metric_needs_no_end(mode):
  assert resolve('', mode, True, FUNNEL) == ('', mode or 'min', ())


@pytest.mark.parametrize('metric, words', [
    ('valid/ctcvr/acu', "Did you mean 'valid/ctcvr/auc'?"),
    ('valid/cvr/auc', 'valid/cvr_clicked/auc'),
    ('valid/auc', 'valid/ctr/auc'),
    ('valid/', 'valid/ctr/auc'),
    ('valid/atr_clicked/auc', 'valid/ctcvr/auc'),
    ('valid/ctcvr/gauc', 'GAUC needs a group.*dataset.group'),
    ('valid/cvr_entire/auc', 'only a simulated log has'),
    ('valid/ctcvr_common/auc', 'valid/ctcvr/auc'),
    ('valid/gate_ctr/entropy', 'valid/ctr/auc'),
])
def test_what_is_not_computed(metric, words):
  keys = metric_keys(FUNNEL, has_groups=False)
  with pytest.raises(InputError, match=f"'{metric}', which is none of the metr"
                     f'.*{words}') as e:
    check_metric(metric, keys)
  assert 'calibration' not in str(e.value)  # It could not choose.


@pytest.mark.parametrize('changes, lines', [
    (dict(click=np.ones(9, int)), {
        'ctr': ('auc, normalized entropy, gauc', 'click is 1 in all 9 rows')}),
    (dict(conversion=np.zeros(9, int)), {
        'cvr_clicked': (
            'auc, normalized entropy, gauc',
            'conversion is 0 in all 6 rows with click 1'),
        'ctcvr': (
            'auc, normalized entropy, gauc', 'conversion is 0 in all 9 rows')}),
    (dict(click=np.zeros(9, int), conversion=np.zeros(9, int)), {
        'ctr': ('auc, normalized entropy, gauc', 'click is 0 in all 9 rows'),
        'cvr_clicked': (
            'auc, logloss, normalized entropy, calibration, ece, gauc',
            'there are no rows with click 1'),
        'ctcvr': (
            'auc, normalized entropy, gauc', 'conversion is 0 in all 9 rows')}),
    (dict(groups=np.arange(9)), {
        'ctr': ('gauc cannot be computed and is', 'no group of rows has both'),
        'cvr_clicked': ('gauc', 'no group of rows with click 1 has both'),
        'ctcvr': ('gauc', 'no group of rows has both values')}),
    (dict(), {}),
])
def test_what_is_not_defined_is_said(changes, lines):
  labels = dict(
      click=np.array([1, 1, 1, 0, 1, 1, 0, 1, 0]),
      conversion=np.array([1, 0, 0, 0, 1, 0, 0, 0, 0]))
  groups = changes.pop('groups', np.zeros(9, int))
  observed = Observed(labels | changes, groups, {})
  outputs = {k: np.linspace(-1, 1, 9) for k in ('ctr', 'cvr', 'ctcvr')}
  got = undefined(evaluate(outputs, observed), observed, 'test')
  assert len(got) == len(lines)
  for line, (space, (names, reason)) in zip(got, lines.items()):
    assert line.startswith(f'test/{space}: ')
    for name in names.split(', '):
      assert name in line, line
    assert reason in line, line

"""Selection: the best evaluation on a validation metric, never a test one."""

import json
import math

from esmm_jax.training.selection import chosen, copy, merge, Selection
from esmm_jax.training.selection import SelectionOptions
from esmm_jax.training.state import TrainState
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import pytest

AUC, LOSS = 'valid/ctcvr/auc', 'valid/ctcvr/logloss'


def options(metric=LOSS, mode='min', patience=0):
  return SelectionOptions(metric, mode, patience)


def state(x):
  """A TrainState of which only the parameters are of interest."""
  return TrainState(
      step=0,
      table=jnp.full((2, 1, 3), float(x)),
      net={'tower_ctr': {'bias': jnp.full(1, float(x))}},
      stats={},
      table_opt=(),
      net_opt=(),
      keys=None,
      sums={},
      steps_since_report=0,
      bad_step=-1,
      skipped=None,
  )


def number(parameters):
  values = {float(x.ravel()[0]) for x in jax.tree.leaves(parameters)}
  assert len(values) == 1
  return values.pop()


def run(selection, values, metric=LOSS):
  """Feeds evaluations at steps 10, 20, ..; returns the parameters kept."""
  best = copy(state(0).params)
  for k, value in enumerate(values, 1):
    metrics = {metric: value, 'valid/ctr/auc': k / 100}
    if selection.update(10 * k, metrics):
      best = merge(best, state(k).params, [True])
  return best


@pytest.mark.parametrize(
    'mode, values, step',
    [
        ('min', [0.5], 10),
        ('min', [0.5, 0.4, 0.45], 20),
        ('max', [0.5, 0.4, 0.45], 10),
        ('max', [0.5, 0.6, 0.7], 30),
        ('min', [-1.0, -2.0, 0.0], 20),
        ('max', [-3.0, -2.0, -4.0], 20),
        # Of equals the first stays.
        ('min', [0.5, 0.3, 0.3], 20),
        ('max', [0.7, 0.7], 10),
        # nan is worse than any number, wherever it comes.
        ('min', [0.5, math.nan, 0.6], 10),
        ('max', [0.5, math.nan, 0.6], 30),
        ('min', [math.nan, 0.5, 0.6], 20),
        ('max', [math.nan, 0.5, math.nan], 20),
        ('min', [math.nan, math.inf], 20),
        # Nothing can be told apart: the last.
        ('min', [math.nan, math.nan, math.nan], 30),
        ('max', [math.nan, math.nan], 20),
    ],
)
def test_the_best_is_kept(mode, values, step):
  selection = Selection(options(mode=mode), True)
  best = run(selection, values)
  assert selection.step == step
  assert number(best) == step / 10
  assert selection.metrics['valid/ctr/auc'] == step / 1000
  assert number(chosen([selection], best, state(99).params)) == step / 10


@pytest.mark.parametrize('metric, step', [
    (AUC, 20), (LOSS, 30), ('valid/ctr/gauc', 20), ('valid/ctr/ece', 30),
    ('valid/cvr_clicked/normalized_entropy', 30), ('valid/cvr_entire/kl', 30),
    ('valid/cvr_entire/auc', 20)])
def test_the_name_of_the_metric_says_which_end_is_best(metric, step):
  selection = Selection(options(metric, mode=None), True)
  run(selection, [0.5, 0.9, 0.1], metric)
  assert selection.step == step and selection.warnings == ()
  # The mode overrides, and is asked about.
  other = {20: 'min', 30: 'max'}[step]
  selection = Selection(options(metric, mode=other), True)
  run(selection, [0.5, 0.9, 0.1], metric)
  assert selection.step == 50 - step
  (line,) = selection.warnings
  assert f"selection.mode is '{other}', but {metric} is better when" in line


def test_a_metric_that_is_never_a_number_still_lets_patience_end():
  selection = Selection(options(patience=2), True)
  run(selection, [math.nan, math.nan])
  assert not selection.stopped and selection.is_blind
  run(selection, [math.nan])
  assert selection.stopped and selection.step == 10
  selection.update(99, {LOSS: 0.5})
  assert not selection.is_blind and not selection.stopped


@pytest.mark.parametrize('mode', [None, 'min'])
@pytest.mark.parametrize('has_valid', [True, False])
def test_without_a_metric_the_last_parameters_stay(has_valid, mode):
  """Nothing is best at an end of no metric, so none is asked for."""
  selection = Selection(options('', mode), has_valid)
  assert not selection.keeps
  run(selection, [0.5, 0.6, 0.7])
  assert selection.step == 0 and not selection.stopped
  assert selection.metrics == {LOSS: 0.7, 'valid/ctr/auc': 0.03}
  assert number(chosen([selection], {}, state(99).params)) == 99


def test_before_the_first_evaluation_the_last_parameters_are_chosen():
  selection = Selection(options(), True)
  best = copy(state(0).params)
  assert number(chosen([selection], best, state(7).params)) == 7


@pytest.mark.parametrize(
    'patience, values, stopped',
    [
        (0, [1, 2, 3, 4], [False] * 4),
        (1, [1, 2], [False, True]),
        (2, [1, 2, 3], [False, False, True]),
        (2, [3, 4, 2, 3, 3], [False, False, False, False, True]),
    ],
)
def test_patience(patience, values, stopped):
  selection = Selection(options(patience=patience), True)
  got = []
  for k in range(1, len(values) + 1):
    selection = Selection(options(patience=patience), True)
    run(selection, values[:k])
    got.append(selection.stopped)
  assert got == stopped


def test_what_is_kept_is_a_copy():
  """The step that comes next consumes the buffers of the state."""
  old = state(1)
  best = merge(copy(state(0).params), old.params, [True])
  start = copy(old.params)
  jax.tree.map(lambda x: x.delete(), [old.table, old.net])
  assert number(best) == number(start) == 1


def params(*values):
  """Parameters of as many replicas, each of one number."""
  x = jnp.asarray(values, jnp.float32)
  return {
      'table': jnp.tile(x[:, None], (2, 1, 3)),
      'net': {'tower_ctr': {'kernel': jnp.tile(x[:, None, None], (1, 2, 4))}},
      'stats': {'mean': x},
  }


def numbers(tree):
  """The number of each replica, the same in all leaves."""
  table = tree['table'][0, :, 0]
  for leaf in jax.tree.leaves([tree['net'], tree['stats']]):
    assert (leaf.reshape(len(table), -1) == table[:, None]).all()
  assert (tree['table'] == table[:, None]).all()
  return table.tolist()


def test_each_replica_keeps_its_own_best():
  merged = merge(params(1, 2, 3), params(4, 5, 6), [False, True, False])
  assert numbers(merged) == [1, 5, 3]
  kept, last, unseen = (
      Selection(options(), True),
      Selection(options(metric=''), True),
      Selection(options(), True),
  )
  for selection in (kept, last):
    selection.update(10, {LOSS: 0.5})
  # The third one has not been evaluated.
  got = chosen([kept, last, unseen], params(1, 2, 3), params(7, 8, 9))
  assert numbers(got) == [1, 8, 9]


@pytest.mark.parametrize('values', [[0.5, 0.4, 0.6, math.nan], []])
def test_position_goes_through_json(values):
  """A run that goes on chooses and stops as one that never stopped."""
  one = Selection(options(patience=3), True)
  run(one, values)
  other = Selection(options(patience=3), True)
  other.load(json.loads(json.dumps(one.position())))
  assert (other.step, other.metrics) == (one.step, one.metrics)
  for selection in (one, other):
    selection.update(99, {LOSS: 0.45})
  assert (other.step, other.stopped) == (one.step, one.stopped)
  assert one.stopped == bool(values)


@pytest.mark.parametrize(
    'given, has_valid, words',
    [
        (dict(mode='largest'), True, ['mode', "'largest'", 'max, min']),
        (dict(metric='test/ctcvr/auc'), True, ["'test/ctcvr/auc'", 'never']),
        (dict(metric='train/loss'), True, ["'train/loss'", 'validation']),
        # The three ways are named.
        (dict(), False, [
            'no validation split', 'valid_files', 'valid_share',
            "selection.metric=''"]),
        (dict(metric=None, patience=2), False,
         ['selection.patience is 2', 'no validation split']),
        (dict(metric='valid/ctcvr/calibration', mode=None), True,
         ['neither', 'valid/ctcvr/logloss']),
        (dict(metric='valid/ctr/gauc_coverage'), True, ['neither']),
        # Nothing could stop early: it is not left out without a word.
        (dict(metric='', patience=1), True,
         ['selection.patience is 1', "selection.metric is ''"]),
        (dict(patience=-1), True, ['selection.patience is -1']),
    ],
)
def test_what_cannot_be_selected_on(given, has_valid, words):
  with pytest.raises(InputError) as e:
    Selection(options(**given), has_valid)
  assert all(word in str(e.value) for word in words), str(e.value)


def test_a_metric_that_was_not_computed():
  selection = Selection(options('valid/ctcvr/acu'), True)
  with pytest.raises(InputError) as e:
    selection.update(1, {AUC: 0.5, 'test/ctcvr/auc': 1.0})
  assert "'valid/ctcvr/acu'" in str(e.value) and AUC in str(e.value)
  assert 'test/' not in str(e.value)

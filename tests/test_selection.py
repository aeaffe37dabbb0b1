"""Selection: the best evaluation on a validation metric, never a test one."""

import json
import math

from esmm_jax.selection import Selection
from esmm_jax.train_state import TrainState
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import pytest

AUC, LOSS = 'valid/ctcvr/auc', 'valid/ctcvr/logloss'


def options(metric=LOSS, mode='min', patience=0):
  return dict(metric=metric, mode=mode, patience=patience)


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
      since=0,
      bad_step=-1,
  )


def number(parameters):
  values = {float(x.ravel()[0]) for x in jax.tree.leaves(parameters)}
  assert len(values) == 1
  return values.pop()


def run(selection, values, metric=LOSS):
  """Feeds evaluations at steps 10, 20, ..; returns the parameters kept."""
  best = selection.start(state(0))
  for k, value in enumerate(values, 1):
    metrics = {metric: value, 'valid/ctr/auc': k / 100}
    best = selection.update(10 * k, metrics, state(k), best)
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
    ],
)
def test_the_best_is_kept(mode, values, step):
  selection = Selection(options(mode=mode), True)
  best = run(selection, values)
  assert selection.step == step
  assert number(best) == step / 10
  assert selection.metrics['valid/ctr/auc'] == step / 1000
  assert number(selection.choose(state(99), best)) == step / 10


def test_without_a_metric_the_last_parameters_stay():
  selection = Selection(options(metric='', patience=1), False)
  best = run(selection, [0.5, 0.6, 0.7])
  assert best == {} and selection.metrics == {} and not selection.stopped
  assert number(selection.choose(state(99), best)) == 99


def test_before_the_first_evaluation_the_last_parameters_are_chosen():
  selection = Selection(options(), True)
  assert number(selection.choose(state(7), selection.start(state(0)))) == 7


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
  selection = Selection(options(), True)
  old = state(1)
  best = selection.update(10, {LOSS: 0.5}, old, selection.start(old))
  start = selection.start(old)
  jax.tree.map(lambda x: x.delete(), [old.table, old.net])
  assert number(best) == number(start) == 1


@pytest.mark.parametrize('values', [[0.5, 0.4, 0.6, math.nan], []])
def test_position_goes_through_json(values):
  """A run that goes on chooses and stops as one that never stopped."""
  one = Selection(options(patience=3), True)
  run(one, values)
  other = Selection(options(patience=3), True)
  other.load(json.loads(json.dumps(one.position())))
  assert (other.step, other.metrics) == (one.step, one.metrics)
  for selection in (one, other):
    selection.update(99, {LOSS: 0.45}, state(9), {})
  assert (other.step, other.stopped) == (one.step, one.stopped)
  assert one.stopped == bool(values)


@pytest.mark.parametrize(
    'given, has_valid, words',
    [
        (options(mode='largest'), True, ['mode', "'largest'", 'min or max']),
        (options('test/ctcvr/auc'), True, ["'test/ctcvr/auc'", 'never']),
        (options('train/loss'), True, ["'train/loss'", 'validation']),
        (options(), False, ['needs a validation split']),
    ],
)
def test_what_cannot_be_selected_on(given, has_valid, words):
  with pytest.raises(InputError) as e:
    Selection(given, has_valid)
  assert all(word in str(e.value) for word in words), str(e.value)


def test_a_metric_that_was_not_computed():
  selection = Selection(options('valid/ctcvr/acu'), True)
  with pytest.raises(InputError) as e:
    selection.update(1, {AUC: 0.5, 'test/ctcvr/auc': 1.0}, state(1), {})
  assert "'valid/ctcvr/acu'" in str(e.value) and AUC in str(e.value)
  assert 'test/' not in str(e.value)

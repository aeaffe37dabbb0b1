"""Trials that Optuna draws and ends, and a search without it."""

import importlib.util
import math
import sys

from esmm_jax.tuning import early_end, search
from esmm_jax.tuning.space import Dimension
from esmm_jax.types import InputError
import numpy as np
import pytest

SPACE = (
    Dimension('rate', (), 1e-4, 1e-2, log=True),
    Dimension('size', (), 1, 4, whole=True),
    Dimension('units', ((8, 4), (4,))))
needs_optuna = pytest.mark.skipif(
    importlib.util.find_spec('optuna') is None,
    reason="Optuna is not installed: pip install 'esmm_jax[tune]'")


def loss(params):
  return (math.log10(params['rate']) + 3) ** 2 + params['size'] / 10


def trials(num, sampler, seed=0, batch=2):
  """What `num` trials draw, when each ends with its `loss`."""
  one, drawn = search.Search(SPACE, 'min', sampler, 'none', seed), []
  while len(drawn) < num:
    asked = [one.ask() for _ in range(min(batch, num - len(drawn)))]
    for number, params in asked:
      one.end(number, [loss(params)], search.COMPLETE)
      drawn.append(params)
  return drawn, one


@needs_optuna
@pytest.mark.long
@pytest.mark.parametrize('sampler', search.SAMPLERS)
def test_the_same_calls_give_the_same_trials(sampler):
  first, one = trials(16, sampler)
  assert trials(16, sampler)[0] == first != trials(16, sampler, seed=1)[0]
  # More trials begin with the same ones, also where the last batch was cut.
  assert trials(19, sampler)[0][:16] == first == trials(16, sampler)[0]
  losses = [loss(params) for params in first]
  assert one.best == int(np.argmin(losses))
  assert one.values == dict(enumerate(losses))
  assert {type(p['size']) for p in first} == {int}
  assert {p['units'] for p in first} == {(8, 4), (4,)}


@needs_optuna
@pytest.mark.long
def test_what_is_drawn():
  """On a log scale half of the values lie below the middle; TPE gathers."""
  at_random = [p['rate'] for p in trials(200, 'random')[0]]
  assert min(at_random) >= 1e-4 and max(at_random) <= 1e-2
  below = np.mean(np.asarray(at_random) < 1e-3)
  assert abs(below - 0.5) < 4 * math.sqrt(0.25 / 200)
  drawn = trials(60, 'tpe')[0]
  far = lambda some: np.mean([loss(params) for params in some])
  assert far(drawn[30:]) < 0.75 * far(trials(60, 'random')[0][30:])


@needs_optuna
@pytest.mark.long
@pytest.mark.parametrize('mode, sign', [('min', 1), ('max', -1)])
def test_median(mode, sign):
  """Of five complete trials, at the same evaluation; the best so far counts."""
  one = search.Search(SPACE, mode, 'random')
  curves = [[5.0, 1.0], [4.0, 2.0], [3.0, 2.5], [2.0, 1.5], [1.0, 1.0]]
  for curve in curves:
    number, _ = one.ask()
    # Too few are complete for a median.
    assert not one.ends(number, [sign * 9.0])
    state = one.end(number, [sign * 9.0, *(sign * x for x in curve)],
                    search.COMPLETE)
    assert state == search.COMPLETE
  number, _ = one.ask()
  medians = np.median([[9.0, *curve] for curve in curves], axis=0)
  assert medians.tolist() == [9.0, 3.0, 1.5]
  assert not one.ends(number, [sign * 9.0])
  assert not one.ends(number, [sign * 9.0, sign * 3.0])
  assert one.ends(number, [sign * x for x in (9.0, 3.0, 1.6)])
  assert one.end(number, [sign * 9.0], search.PRUNED) == search.PRUNED
  assert sorted(one.values) == [0, 1, 2, 3, 4] and one.best == 0
  number, _ = one.ask()
  assert one.end(number, [math.nan], search.COMPLETE) == search.FAILED
  number, _ = one.ask()
  assert one.end(number, [], search.FAILED) == search.FAILED
  assert one.values[4] == sign * 1.0 and len(one.values) == 5


def test_without_optuna(monkeypatch):
  monkeypatch.setitem(sys.modules, 'optuna', None)
  with pytest.raises(InputError, match=r"pip install 'esmm_jax\[tune\]'"):
    search.Search(SPACE, 'min')


def test_who_is_asked():
  """The innermost block; nobody behind it."""
  said = []

  def watch(*about):
    said.append(about)
    return True

  assert not early_end.asked('a', 1, {})
  with early_end.watching(watch):
    assert early_end.asked('a', 2, {'m': 1.0})
    with early_end.watching(lambda *_: False):
      assert not early_end.asked('a', 3, {})
  assert not early_end.asked('a', 4, {}) and said == [('a', 2, {'m': 1.0})]

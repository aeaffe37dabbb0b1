"""A number that no run can have is refused, whatever key it is of."""

import math

from esmm_jax.training import ranges
from esmm_jax.training.ranges import Range, RANGES
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten
from experiments import load
from hypothesis import given, settings, strategies as st
import pytest

from tests.configs import config_fuzz


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


@pytest.mark.parametrize('held, text, inside, outside', [
    (Range(0, 1), '[0, 1]', (0, 0.5, 1), (-1e-9, 1.001)),
    (Range(0, 1, open_low=True), '(0, 1]', (1e-9, 1), (0,)),
    (Range(0, 1e30, open_high=True), '[0, 1e+30)', (0, 1e29), (1e30,)),
    (Range(1, 2**31 - 1), '[1, 2147483647]', (1, 2**31 - 1), (0, 2**31)),
])
def test_range(held, text, inside, outside):
  assert str(held) == text
  assert all(map(held.holds, inside))
  assert not any(map(held.holds, (*outside, math.nan, math.inf, -math.inf)))


def test_every_key_is_one_of_a_config():
  """A key that no config has any more would be checked for nothing."""
  known = set()
  for name in config_fuzz.CONFIGS:
    known |= flatten(config_fuzz.config(name).to_dict()).keys()
  assert RANGES.keys() <= known


@pytest.mark.parametrize('key, value, words', [
    ('learning_rate', 0.0, 'learning_rate is 0.0; .* a number in \\(0, 1e'),
    ('log_every', 0, 'log_every is 0; .* a whole number in \\[1, 2147483647'),
    ('loss_weights.ctr', math.inf, 'loss_weights.ctr is inf; .* in \\[0, 1e'),
    ('sampling.unclicked_rate', 1.5, 'unclicked_rate is 1.5'),
    ('sampling.unclicked_rate', -0.1, 'unclicked_rate is -0.1'),
    ('sampling.unclicked_rate', math.nan, 'unclicked_rate is nan'),
    ('sampling.conversion_copies', 0.5, 'conversion_copies is 0.5'),
    ('model.tower_units', (80, 0), 'model.tower_units is \\(80, 0\\)'),
    ('model.tower_units', ('x',), 'the width of each layer'),
    ('model.tower_units', (1,) * 65, 'at most 64 whole numbers'),
])
def test_refused(key, value, words):
  tree = config_fuzz.config('esmm.py')
  ranges.check(tree)
  load.set_key(tree, key, value)
  with pytest.raises(InputError, match=words):
    ranges.check(tree)


CASES = [(n, *case) for n in ('esmm.py', 'ple.py') for case in
         config_fuzz.cases(n)]


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(case=st.sampled_from(CASES))
def test_a_wrong_value_is_no_traceback(data_dir, case):
  words = config_fuzz.outcome(*case, data_dir)
  assert words is None or len(words) > 20


@pytest.mark.long
@pytest.mark.parametrize('name', config_fuzz.CONFIGS)
def test_any_wrong_value_is_no_traceback(data_dir, name):
  refused = 0
  for key, value in config_fuzz.cases(name):
    refused += config_fuzz.outcome(name, key, value, data_dir) is not None
  assert refused > 200

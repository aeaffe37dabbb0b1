"""Schedules against their formulas, names, and the mask of weight decay."""

import math

from esmm_jax.optim import network
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

TOTAL = 110


def schedule(**changes):
  return network.schedule(network.ScheduleOptions(**changes), TOTAL)


@pytest.mark.parametrize('warmup', [0, 1, 10])
@pytest.mark.parametrize(
    'name, end, formula',
    [
        ('constant', 0.01, lambda t: 1.0),
        ('cosine', 0.1,
         lambda t: 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t))),
        ('cosine', 0.0, lambda t: 0.5 * (1 + math.cos(math.pi * t))),
        ('exponential', 0.01, lambda t: 0.01**t),
        ('exponential', 1.0, lambda t: 1.0),
    ],
)
def test_schedules(warmup, name, end, formula):
  """Linear from 1 / (warmup + 1), then the formula, then constant."""
  factor = schedule(name=name, warmup_steps=warmup, end_factor=end)
  for step in (0, 1, 5, 9, 10, 11, 60, 109, 110, 500):
    if step < warmup:
      want = (step + 1) / (warmup + 1)
    else:
      want = formula(min((step - warmup) / (TOTAL - 1 - warmup), 1))
    got = factor(jnp.int32(step))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        jax.jit(factor)(jnp.int32(step)), want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('warmup', [0, 1, 10, TOTAL - 2])
@pytest.mark.parametrize('name', ['cosine', 'exponential'])
def test_the_last_step_has_the_end_factor(name, warmup):
  """Steps are numbered from 0, so the last one is TOTAL - 1."""
  factor = schedule(name=name, warmup_steps=warmup, end_factor=0.05)
  np.testing.assert_allclose(factor(jnp.int32(TOTAL - 1)), 0.05, rtol=1e-5)
  np.testing.assert_allclose(factor(jnp.int32(warmup)), 1, rtol=1e-6)


@pytest.mark.parametrize('name', ['cosine', 'exponential'])
def test_a_run_of_one_step_has_the_whole_rate(name):
  options = network.ScheduleOptions(name=name)
  assert network.schedule(options, 1)(jnp.int32(0)) == 1


def test_a_warmup_longer_than_the_run():
  """It never ends; no division by zero."""
  factor = schedule(name='cosine', warmup_steps=TOTAL)
  np.testing.assert_allclose(factor(jnp.int32(TOTAL - 1)), 110 / 111, rtol=1e-6)


@pytest.mark.parametrize('end, words', [
    (0.0, 'end_factor must be > 0'), (-1.0, 'end_factor is -1.0'),
    (math.nan, 'end_factor is nan')])
def test_exponential_decay_to_nothing(end, words):
  with pytest.raises(InputError, match=words):
    schedule(name='exponential', end_factor=end)


@pytest.mark.parametrize(
    'call, words',
    [
        (lambda: schedule(name='linear'),
         ['schedule.name', "'linear'", 'cosine']),
        (lambda: network.OptimizerOptions(name='adamw'),
         ['optimizer.name', "'adamw'", 'adagrad']),
    ],
)
def test_unknown_names(call, words):
  with pytest.raises(InputError) as e:
    call()
  assert all(word in str(e.value) for word in words), str(e.value)


def test_is_kernel():
  """Weight decay is for matrices, not for biases nor for batch norm."""
  net = {
      'tower_ctr': {
          'dense_0': {'kernel': 1, 'bias': 2},
          'norm_0': {'scale': 3, 'bias': 4},
      },
      'kernel_bank': {'bias': 5, 'kernel': 6},
  }
  assert network.is_kernel(net) == {
      'tower_ctr': {
          'dense_0': {'kernel': True, 'bias': False},
          'norm_0': {'scale': False, 'bias': False},
      },
      'kernel_bank': {'bias': False, 'kernel': True},
  }

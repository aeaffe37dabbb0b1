"""How many examples a second were trained."""

import json
import math
import time

from esmm_jax.training.clock import Clock
import pytest


@pytest.fixture
def now(monkeypatch):
  """The time, in seconds: an array of one that a test moves."""
  seconds = [100.0]
  monkeypatch.setattr(time, 'perf_counter', lambda: seconds[0])
  return seconds


def run(clock, now, *parts):
  """A process that does these (steps, seconds)."""
  clock.start()
  for steps, seconds in parts:
    clock.count(steps)
    now[0] += seconds
    clock.read()


def test_compilation_and_pauses_do_not_count(now):
  clock = Clock(8)
  run(clock, now, (1, 50.0), (3, 2.0))
  with clock.paused():
    now[0] += 1000.0
  clock.read()  # Nothing was done since.
  clock.count(5)
  now[0] += 2.0
  clock.read()
  assert clock.rate == 8 * 8 / 4.0


def test_a_step_that_is_alone_counts_with_its_compilation(now):
  clock = Clock(8)
  assert math.isnan(clock.rate)
  run(clock, now, (1, 4.0))
  assert clock.rate == 2.0


def test_it_is_taken_over_by_the_next_process(now):
  """Of other replicas, too: a position holds examples, not steps."""
  first = Clock(16)
  run(first, now, (1, 50.0), (4, 2.0))
  second = Clock(8)
  second.load(json.loads(json.dumps(first.position())))
  assert second.rate == first.rate == 32.0
  run(second, now, (1, 70.0), (2, 6.0))
  assert second.rate == (64 + 16) / 8.0
  assert first.rate == 32.0

"""Parts of an evaluation on several cores."""

import os
import threading

from esmm_jax.metrics import METRICS, side_by_side
from esmm_jax.metrics.by_space import evaluate, Observed
import numpy as np
import pytest
from scipy import special

MANY = 200_000


@pytest.fixture
def four_cores(monkeypatch):
  monkeypatch.setattr(
      os, 'sched_getaffinity', lambda _: {0, 1, 2, 3}, raising=False)


def test_results_are_in_order_and_from_other_threads(four_cores):
  begun = threading.Barrier(3, timeout=60)  # All three at once.

  def part(k):
    begun.wait()
    return k, threading.get_ident()

  parts = [lambda k=k: part(k) for k in range(3)]
  numbers, threads = zip(*side_by_side.run(parts, MANY))
  assert numbers == (0, 1, 2)
  assert threading.get_ident() not in threads and len(set(threads)) == 3


def test_the_first_error_is_raised(four_cores):
  def fails(text):
    raise ValueError(text)

  parts = [lambda: 1, lambda: fails('second'), lambda: fails('third')]
  with pytest.raises(ValueError, match='second'):
    side_by_side.run(parts, MANY)


def test_settings_of_numpy_hold(four_cores):
  parts = [lambda: np.float64(1) / np.zeros(1)] * 2
  with np.errstate(divide='raise'), pytest.raises(FloatingPointError):
    side_by_side.run(parts, MANY)


@pytest.mark.parametrize('num_rows', [0, 1000, 50_000_000])
def test_few_rows_and_very_many_are_done_one_part_at_a_time(
    four_cores, num_rows
):
  """Fewer are done before threads begin; more would take too much memory."""
  threads = side_by_side.run([threading.get_ident] * 3, num_rows)
  assert threads == [threading.get_ident()] * 3


def data(rng):
  p = special.expit(rng.standard_normal((2, MANY)) - 1)
  click, conversion = (rng.random((2, MANY)) < p).astype(np.int8)
  noisy = special.logit(p) + 0.3 * rng.standard_normal(p.shape)
  outputs = dict(zip(('ctr', 'cvr'), noisy.astype(np.float32)))
  outputs['ctcvr'] = special.logit(p.prod(axis=0)).astype(np.float32)
  truth = {'p_ctr': p[0], 'p_cvr': p[1]}
  labels = {'click': click, 'conversion': click * conversion}
  return outputs, Observed(labels, rng.integers(0, 9000, MANY), truth)


def test_the_same_metrics_on_one_core_and_on_four(monkeypatch):
  outputs, observed = data(np.random.default_rng(0))
  found = []
  for cores in (1, 4):
    monkeypatch.setattr(
        os, 'sched_getaffinity', lambda _, n=cores: set(range(n)),
        raising=False)
    found.append(evaluate(outputs, observed))
  assert list(found[0].items()) == list(found[1].items())
  assert len(found[0]) == 59 and np.isfinite(list(found[0].values())).all()


def test_the_metric_of_a_script_is_called_by_the_callers_thread(four_cores):
  outputs, observed = data(np.random.default_rng(1))
  threads = []

  def caller(logits, labels, where):
    threads.append(threading.get_ident())
    return 0.5

  METRICS['caller'] = caller
  try:
    assert evaluate(outputs, observed)['ctcvr/caller'] == 0.5
  finally:
    del METRICS['caller']
  assert threads == [threading.get_ident()] * 3

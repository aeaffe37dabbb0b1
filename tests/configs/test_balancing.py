"""The table of balancing: its methods, their replays, and the fixed weights."""

import functools
import os

from configs.tables import balancing
from esmm_jax.balancing import BALANCERS
from esmm_jax.sweeps import replicas
from esmm_jax.sweeps.points import run_name, runs
from esmm_jax.training.settings import Settings
from esmm_jax.workdir.folder import flatten, with_run_section
from experiments import load
import pytest

METHODS = {*BALANCERS} - {'static', 'replay'}


table = functools.cache(balancing.get_table)


@functools.cache
def first(variant):
  """The points of the first block and seed."""
  points = table(variant).points
  keys = ('@world', '@model', 'seed')
  return [p for p in points if all(p[k] == points[0][k] for k in keys)]


@functools.cache
def at_one_rate(variant):
  """Those of them with the first learning rate, and their configs."""
  rate = first(variant)[0]['@rate']
  points = [p for p in first(variant) if p['@rate'] == rate]
  configs = {
      run_name(p): load.point({k: v for k, v in p.items() if k[0] != '@'})
      for p in points}
  return points, configs


def test_the_first_block_has_every_method_of_the_registry():
  for variant in ('', 'cpu', 'kuairand'):
    points = first(variant)
    arms = {(p['@method'], p['@arm']) for p in points}
    expected = {(m, arm) for m in METHODS for arm in ('method', 'replay')}
    expected |= {('static', ratio) for ratio in balancing.RATIOS}
    assert arms == expected | {('single_task', None)}
    assert len(points) == len(arms) * len(balancing.RATES)
  assert {*balancing.FEW} <= METHODS


@pytest.mark.parametrize('variant', balancing.VARIANTS)
def test_a_replay_is_of_the_run_of_its_seed_and_rate(variant):
  points = runs(table(variant).points)
  replays = {
      name: p for name, p in points.items()
      if p.get('balancing.name') == 'replay'}
  assert len(replays) > 3
  for name, point in replays.items():
    other = os.path.normpath(os.path.join(name, point['balancing.of']))
    rest = {k: v for k, v in point.items() if k[:10] != 'balancing.'}
    method = points[other]
    assert method.pop('balancing.name') in METHODS
    assert method == rest
    method['balancing.name'] = 'x'  # Several replays may be of one run.


@pytest.mark.parametrize('variant', ['cpu', 'smoke', 'kuairand_cpu'])
def test_every_point_is_a_run(variant):
  _, configs = at_one_rate(variant)
  for config in configs.values():
    settings = Settings.read(config)
    weights = settings.objective.loss_weights
    assert set(weights) <= {'ctr', 'ctcvr', 'cvr_clicked'}


def test_fixed_weights_are_powers_of_two():
  points, configs = at_one_rate('cpu')
  got = {
      p['@arm']: configs[run_name(p)].loss_weights
      for p in points if p['@method'] == 'static'}
  assert list(got) == [2.0**k for k in range(-6, 3)]
  for ratio, weights in got.items():
    assert weights.ctr / weights.ctcvr == pytest.approx(ratio)
    assert weights.ctr + weights.ctcvr == pytest.approx(2)


def test_programs():
  """A method is one of its own; replays and fixed weights share theirs."""
  points, configs = at_one_rate('cpu')
  flat = {
      name: flatten(with_run_section(c.to_dict()))
      for name, c in configs.items()}
  arm = {
      run_name(p): p['@method'] if p['@arm'] == 'method' else str(p['@arm'])
      for p in points}
  groups = replicas.replica_groups(flat, 64)
  together = [{arm[n] for n in names} for names in groups]
  for method in METHODS:
    assert {method} in together
  assert {str(ratio) for ratio in balancing.RATIOS} in together
  # Replays of methods with their own towers, and of those that weigh them.
  assert together.count({'replay'}) <= 2
  assert len(groups) <= len(METHODS) + 4


def test_blocks():
  def of(variant):
    points = table(variant).points
    return list(dict.fromkeys((p['@world'], p['@model']) for p in points))

  assert len(of('')) == 12 and len(of('cpu')) == 6 and len(of('kuairand')) == 8
  assert of('cpu')[0] == ('centre', 'shared_embedding')
  assert [w for w, _ in of('kuairand_cpu')] == ['like', 'long_view']
  points = table('cpu').points
  assert {p['seed'] for p in points} == set(range(10))
  assert all(p['seed'] == p['dataset.seed'] for p in points)

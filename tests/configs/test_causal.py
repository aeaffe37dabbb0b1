"""The table of causal estimators: its arms, worlds and programs."""

import functools
import math

from configs.tables import causal
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import bind
from esmm_jax.sweeps import replicas
from esmm_jax.sweeps.points import run_name
from esmm_jax.tasks import FUNNEL
from esmm_jax.training.settings import Settings
from esmm_jax.workdir.folder import flatten, with_run_section
from experiments import load
import pytest


@functools.cache
def first(variant):
  """Arm -> points and their configs, of the first world and seed."""
  table = causal.get_table(variant)
  first = table.points[0]
  keys = ('@world', 'seed')
  points = [p for p in table.points if all(p[k] == first[k] for k in keys)]
  configs = {
      run_name(p): load.point({k: v for k, v in p.items() if k[0] != '@'})
      for p in points}
  return points, configs


@pytest.mark.parametrize('variant', ['cpu', 'smoke', 'kuairand_cpu'])
def test_every_arm_is_a_run(variant):
  """Options and weights are those that its estimator has."""
  points, configs = first(variant)
  arms = {p['@arm'] for p in points}
  no_truth = variant.startswith('kuairand')
  assert ({'bound', 'IPS, true p'} & arms == set()) == no_truth
  if variant != 'smoke':
    assert arms == {a.label for a in causal.ARMS if not (no_truth and a.truth)}
  for config in configs.values():
    objective = Settings.read(config).objective
    bound = bind(
        objective.estimator, ESTIMATORS[objective.estimator],
        objective.options, FUNNEL)
    assert set(objective.loss_weights) <= set(bound.weights)


def test_weights_are_half_decades():
  steps = [math.log10(w) for w in causal.WEIGHTS]
  assert [round(2 * s) for s in steps] == list(range(-4, 5))
  points, configs = first('cpu')
  by_arm = {}
  for p in points:
    weights = configs[run_name(p)].loss_weights
    by_arm.setdefault(p['@arm'], []).append(
        (p['@weight'], weights.ctr, weights.cvr_clicked))
  assert by_arm['naive'] == [(w, None, w) for w in causal.WEIGHTS]
  assert [x[:2] for x in by_arm['IPS']] == [
      (0.1, 10.0), (1.0, 1.0), (10.0, 0.1)]


def test_arms_that_share_shapes_are_one_program():
  """Floors and caps too: they are numbers of a program, not its form."""
  points, configs = first('cpu')
  flat = {
      name: flatten(with_run_section(c.to_dict()))
      for name, c in configs.items()}
  arm = {run_name(p): p['@arm'] for p in points}
  groups = replicas.replica_groups(flat, 16)
  together = [tuple(dict.fromkeys(arm[n] for n in names)) for names in groups]
  assert ('naive',) in together and ('ESMM', 'ESMM + clicks') in together
  assert ('IPS', 'IPS, floor .1', 'IPS, cap 15') in together
  assert len(groups) == len(set(together)) == 15


def test_worlds_differ_in_what_their_names_say():
  table = causal.get_table('cpu')
  assert len({p['@world'] for p in table.points}) == len(causal.WORLDS) == 12
  seeds = {p['seed'] for p in table.points}
  assert seeds == set(range(10))
  assert all(p['seed'] == p['dataset.seed'] for p in table.points)
  (centre,) = [
      p for p in table.points
      if (p['@world'], p['@arm'], p['seed']) == ('centre', 'DCMT', 0)]
  for world, changes in causal.WORLDS.items():
    (point,) = [
        p for p in table.points
        if (p['@world'], p['@arm'], p['seed']) == (world, 'DCMT', 0)]
    changed = {k: v for k, v in point.items() if centre.get(k) != v}
    assert changed.pop('@world', 'centre') == world and changed == changes


def test_starts_take_ips_apart_in_the_narrow_world():
  """Rows that `cpu` has are the same runs; the others are IPS of floor .2."""
  cpu, starts = map(causal.get_table, ('cpu', 'cpu_start'))
  assert {p['@world'] for p in starts.points} == {'narrow'}
  names = {run_name(p): p['@arm'] for p in starts.points}
  shared = {run_name(p): p['@arm'] for p in cpu.points if run_name(p) in names}
  assert {a: list(shared.values()).count(a) for a in shared.values()} == {
      'naive': 90, 'IPS': 30, 'bound': 10}
  options = {
      p['@arm']: (
          p.get('estimator_options.propensity'),
          p['estimator_options.propensity_floor'],
          p.get('estimator_options.warmup_steps'))
      for p in starts.points if 'floor' in p['@arm']}
  assert options == {
      'floor .2': (None, 0.2, None),
      'true p, floor .2': ('true', 0.2, None),
      'true p, floor .2, warm-up': ('true', 0.2, 50.0)}

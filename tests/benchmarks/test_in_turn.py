"""What is measured in turn: work, exponents, rounds, batches for torch."""

import json
import math
import os
import subprocess
import time

from benchmarks import common
from benchmarks.in_turn import arms, lists_torch, prepare_process, work
from esmm_jax.balancing import BALANCERS
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.parallel import forking


@pytest.mark.long
def test_each_axis_has_its_steps():
  named = {
      axis: [p.name for p in work.points(axis, work.OTHERS, work.METHODS)]
      for axis in work.AXES}
  assert named['fields'] == ['fields_10', 'fields_50', 'fields_100']
  assert named['lists'] == ['lists_5x8', 'lists_5x20', 'lists_5x50']
  assert named['replicas'] == ['replicas_4', 'replicas_16']
  assert {*named['estimators'], 'entire_space'} == {*ESTIMATORS}
  assert {*named['balancers'], 'static', 'replay'} == {*BALANCERS}
  points = work.points('fields', (), ()) + work.points('lists', (), ())
  # 18 single ids, and 5 lists of 4, 10 and 25 entries on average.
  ids = [10, 50, 100, 38, 68, 143]
  assert [p.work for p in points] == pytest.approx([n / 23 for n in ids])


@pytest.mark.parametrize('lists, list_len', [(0, 20), (5, 8), (2, 3)])
def test_work_of_lists_is_the_ids_of_an_example(lists, list_len):
  source, schema = common.make_data(1000, lists, list_len, examples=20_000)
  columns = source.read(0, len(source), [f.name for f in schema.fields])
  ids = sum(
      len(c.values) if f.pooled else len(c)
      for f, c in zip(schema.fields, columns.values()))
  expected = work.list_work(lists, list_len) * 23 * 20_000
  assert ids == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize('name, forward, backward', [
    ('click_space', 2, 2), ('unbias', 2, 2), ('delayed_dfm', 3, 3),
    # Weights over their sum, but terms that share no tower.
    ('ips', 2, 2), ('dcmt', 3, 3),
    # Three gradients of the propensity: its own, and of two balance terms.
    ('stable_dr', 4, 6)])
def test_work_of_estimators_is_their_products(name, forward, backward):
  assert work.estimator_work(name) == (forward + 2 * backward) / 6


@pytest.mark.parametrize('name, forward, backward', [
    ('static', 2, 2),
    # Weights that are known before the gradients.
    ('random', 2, 2), ('uncertainty', 2, 2),
    # The tower of CTR has two gradients.
    ('pcgrad', 2, 3), ('gradnorm', 2, 3), ('stch', 2, 3),
    ('famo', 4, 3)])  # Losses after the step.
def test_work_of_balancers_is_their_products(name, forward, backward):
  assert work.balancer_work(name) == (forward + 2 * backward) / 6


@pytest.mark.parametrize('cost, before, expected', [
    ((4, 4), [], 1.0), ((4, 8), [], 1.5), ((0.25, 0.5), [], 0.5),
    # From 4 to 16: 8 times the cost.
    ((16, 16), [(4, 2)], 1.5),
    # What is on the other side of the base, or beyond, is no neighbour.
    ((4, 16), [(0.5, 3), (16, 99)], 2.0), ((1, 1.2), [], None)])
def test_exponents(cost, before, expected):
  assert work.exponent(*cost, before) == (
      None if expected is None else pytest.approx(expected))


class Fake:
  """An arm whose windows take what is written here."""

  def __init__(self, name, times, log):
    self._name, self._times, self._log = name, iter(times), log

  def take_window(self):
    self._log.append(self._name)
    ms = next(self._times)
    return ms, 2 * ms


def test_turns_and_their_ratio():
  log = []
  times = arms.turns(
      [Fake('a', [10, 20, 30], log), Fake('b', [20, 30, 90], log)], 3)
  assert log == ['a', 'b'] * 3
  assert times.tolist() == [
      [[10, 20], [20, 40], [30, 60]], [[20, 40], [30, 60], [90, 180]]]
  # 2, 1.5 and 3: the median of ratios, not the ratio of medians.
  assert arms.ratio(times[1, :, 0], times[0, :, 0]) == 2
  assert math.isclose(arms.ratio(times[0, :, 1], times[1, :, 1]), 0.5)


def test_seconds_of_processes():
  """Between two readings; a process that began in between from 0."""
  usage = prepare_process.Usage
  before = {1: usage('program', 2.0, 9), 7: usage('ray', 1.5, 9)}
  after = {
      1: usage('program', 2.5, 9), 5: usage('workers', 1.25, 9),
      3: usage('workers', 4.0, 9), 7: usage('ray', 2.0, 9),
      8: usage('ray', 1.0, 9)}
  assert prepare_process.seconds(before, after) == {
      'program': 0.5, 'workers': [4.0, 1.25], 'ray': 1.5}


def test_this_process_and_those_below_it():
  with subprocess.Popen(['sleep', '60']) as child:
    usages = prepare_process.usages()
    child.kill()
  assert usages[os.getpid()].kind == 'program'
  assert usages[child.pid].kind == 'ray'  # What is neither.
  assert usages[os.getpid()].peak > usages[child.pid].peak > 0
  assert 0 < usages[os.getpid()].cpu <= time.process_time() + 1


def test_batches_for_torch(tmp_path):
  """The ids of a field are moved by the rows of those before."""
  data = source, schema = common.make_data(100, 2, 3, examples=50)
  path = tmp_path / 'batches.npz'
  lists_torch.write_batches(str(path), data, 20)
  with np.load(path) as file:
    arrays = dict(file)
  fields = schema.fields
  first = np.cumsum([0, *(f.vocab_size for f in fields)])
  assert arrays['num_rows'] == first[-1] and arrays['num_fields'] == 23
  for k, start in ((0, 0), (1, 20), (2, 9)):  # 40 modulo 50 - 20 + 1.
    columns = source.read(
        start, start + 20, [f.name for f in fields] + ['click'])
    single = [
        columns[f.name] + i for f, i in zip(fields, first) if not f.pooled]
    assert np.array_equal(arrays[f'single_{k}'], np.transpose(single))
    assert arrays[f'click_{k}'].tolist() == columns['click'].tolist()
    ends = [*arrays[f'starts_{k}'][1:], len(arrays[f'lists_{k}'])]
    entries = [
        arrays[f'lists_{k}'][a:b].tolist()
        for a, b in zip(arrays[f'starts_{k}'], ends)]
    expected = []
    for f, row in zip(fields, first):
      if f.pooled:
        values, offsets = columns[f.name].values, columns[f.name].offsets
        expected += [
            (values[a:b] + row).tolist() for a, b in zip(offsets, offsets[1:])]
    assert entries == expected


def test_without_torch_nothing_is_measured(tmp_path):
  with pytest.raises(InputError, match='pip install torch') as refused:
    lists_torch.check_torch(str(tmp_path / 'python'))
  assert str(refused.value).startswith(f'--torch_python={tmp_path}/python is')


@pytest.mark.slow
@pytest.mark.long
def test_beside_torch(tmp_path):
  """A program that says what torch would: 100 ms a step, or 50."""
  python = tmp_path / 'python'
  python.write_text(
      '#!/bin/sh\n'
      'steps=1; [ "$3" = mixed ] && steps=2\n'
      'while read -r seconds; do\n'
      '  echo "{\\"steps\\": $steps, \\"wall\\": 0.1, \\"cpu\\": 0.4}"\n'
      'done\n')
  python.chmod(0o700)
  with forking.Program('benchmarks.in_turn.lists_torch') as program:
    done = program.run(
        f'--torch_python={python}', '--rows=1000', '--batch_size=64',
        '--list_len=3', '--rounds=1', '--seconds=0')
  assert done.returncode == 0, done.stderr
  lines = [json.loads(line) for line in done.stdout.splitlines()]
  bags, mixed, *ours = lines
  assert (bags['ms'], bags['cpu_ms'], bags['ratio']) == (100, 400, 0.5)
  assert (mixed['ms'], mixed['cpu_ms'], mixed['ratio']) == (50, 200, 1)
  assert [line['name'] for line in ours] == ['train', 'step_lazy']
  for line in ours:
    assert line['ratio'] == pytest.approx(50 / line['ms'], rel=0.01)
    assert line['cpu_ratio'] == pytest.approx(200 / line['cpu_ms'], rel=0.01)

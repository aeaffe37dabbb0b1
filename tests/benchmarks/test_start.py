"""The parts of a run's time: none twice, none left out."""

import json
import time
import types

from benchmarks import start
import pytest

from tests.parallel import forking


def test_parts_do_not_overlap(monkeypatch):
  clock = types.SimpleNamespace(now=100.0)

  def waits(seconds):
    clock.now += seconds
    return seconds

  # The processors work a quarter of the time.
  monkeypatch.setattr(time, 'time', lambda: clock.now)
  monkeypatch.setattr(time, 'process_time', lambda: (clock.now - 100) / 4)
  sections = start.Sections(begun=100.0)
  waits(4)
  owner = types.SimpleNamespace(waits=waits)
  sections.counted('waiting', owner, 'waits')
  with sections.of('outer'):
    waits(8)
    assert owner.waits(16) == 16
    waits(32)
    with pytest.raises(TypeError):
      owner.waits('?')
  waits(64)
  sections.end()
  assert sections.seconds == {
      'imports': [68.0, 17.0], 'outer': [40.0, 10.0], 'waiting': [16.0, 4.0]}


@pytest.mark.long
def test_a_cold_and_a_warm_run():
  with forking.Program('benchmarks.start') as program:
    done = program.run('--spec=configs/esmm.py:smoke')
  assert done.returncode == 0, done.stderr
  cold, warm = map(json.loads, done.stdout.splitlines())
  assert (cold['run'], warm['run']) == ('cold', 'warm')
  for run in (cold, warm):
    assert run['steps'] == 79
    assert set(run['parts']) == {
        'imports', 'other', 'building', 'data', 'initialising', 'training',
        'predicting', 'metrics', 'saving', 'writing'}
    for k, total in enumerate(('seconds', 'cpu_seconds')):
      parts = sum(both[k] for both in run['parts'].values())
      assert parts == pytest.approx(run[total], abs=0.1)

"""Sweeps beside others: two processes on one folder, and what they leave."""

import json
import os
import subprocess

from esmm_jax import locks, ownership
from esmm_jax.sweeps import groups
from esmm_jax.sweeps.replicas import group_name
from esmm_jax.sweeps.saved_runs import failed_since
from esmm_jax.types import InputError
from experiments import load
import pytest

from tests.sweeps.test_sweep import run, start, write_table

ROWS = dict(
    one=('learning_rate', 1e-2), two=('learning_rate', 1e-3),
    three=('batch_size', 256))


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


def numbers(workdir):
  """Run -> its log loss and its steps."""
  results = {}
  for name in sorted(os.listdir(workdir / 'runs')):
    with open(workdir / 'runs' / name / 'results.json', encoding='utf-8') as f:
      values = json.load(f)
    results[name] = values['test/ctcvr/logloss'], values['steps']
  return results


@pytest.mark.long
def test_two_sweeps_share_a_folder(tmp_path, data_dir):
  """Both do what the other does not, and both end well."""
  path = write_table(tmp_path, 1, **ROWS)
  data, more = f'--data_dir={data_dir}', '--replicas=1'
  alone, shared = tmp_path / 'alone', tmp_path / 'shared'
  assert run('sweep', path, alone, data, more).returncode == 0
  both = [
      start('sweep', path, shared, data, more, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
      for _ in range(2)]
  ends = [p.communicate(timeout=300) for p in both]
  assert [p.returncode for p in both] == [0, 0], ends
  assert all('Done: 3 of 3 runs' in out for out, _ in ends), ends
  assert numbers(shared) == numbers(alone)
  assert not os.listdir(shared / 'failed')
  # Another sweep of the folder, whose groups are other ones.
  stale = shared / 'groups' / group_name(['x'])
  ownership.claim(str(stale), ownership.GROUP)
  groups.note(str(shared), sorted(numbers(shared)))
  unfinished = groups.note(str(shared), [*numbers(shared), 'not-there'])
  done = run('sweep', path, shared, data)
  assert done.returncode == 0, done.stderr
  # That of finished runs is gone; no note says whose the other one is.
  assert sorted(os.listdir(shared / 'groups')) == sorted(
      [stale.name, os.path.basename(unfinished) + '.json'])


@pytest.mark.long
def test_a_config_that_raises_anything(tmp_path, data_dir):
  """The points that have a config are trained."""
  broken = tmp_path / 'broken.py'
  broken.write_text('def get_config(name=""):\n  return 1 / 0\n')
  path = tmp_path / 'small.py'
  write_table(tmp_path, 1, one=('log_every', 9))
  path.write_text(path.read_text().replace(
      "fixed('config', 'configs/esmm.py:smoke')",
      f"sweep('config', ['configs/esmm.py:smoke', {str(broken)!r}])"
  ).replace("rows=('@row',)", "rows=('@row', 'config')"))
  workdir = tmp_path / 'sweep'
  done = run('sweep', path, workdir, f'--data_dir={data_dir}')
  errors = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
  assert done.returncode == 1 and len(errors) == 1, done.stderr
  assert '1 of 2 runs failed' in errors[0]
  assert 'broken.py: line 2: ZeroDivisionError: division by zero' in errors[0]
  assert 'Traceback' not in done.stderr
  assert len(numbers(workdir)) == 1


@pytest.mark.parametrize('body, words', [
    ('raise SystemExit(3)', 'line 2: SystemExit: 3'),
    ('return [][1]', 'line 2: IndexError: list index out of range'),
    ('return name.size', "line 2: AttributeError: 'str' object"),
    ('return {}["a"]', "line 2: KeyError: 'a'"),
    ('return int(name)', "line 2: invalid literal for int"),
    ('raise RecursionError("deep")', 'line 2: RecursionError: deep'),
    ('assert not name', 'line 2: AssertionError: '),
    ('return (', "'(' was never closed"),
])
def test_a_config_file_that_raises(body, words, tmp_path):
  path = tmp_path / 'c.py'
  path.write_text(f'def get_config(name):\n  {body}\n')
  with pytest.raises(InputError) as e:
    load.config(f'{path}:x')
  assert str(e.value).startswith(f'--config={path}:x: ')
  assert words in str(e.value) and '\n' not in str(e.value)


def test_runs_that_another_process_is_at(tmp_path):
  workdir = str(tmp_path)
  assert not groups.in_use(workdir, ['a', 'b'])
  with locks.held(os.path.join(workdir, 'runs', 'b')):
    # A lock belongs to an open file, so that this is as another process.
    assert f'process {os.getpid()} on' in groups.in_use(workdir, ['a', 'b'])
    assert not groups.in_use(workdir, ['a'])
  assert not groups.in_use(workdir, ['a', 'b'])
  assert os.listdir(tmp_path / 'runs') == ['b']  # Looking makes no folder.


def test_groups_of_finished_runs_are_removed(finished, tmp_path):
  """Unless a run is unfinished, another process uses it, or nobody knows."""
  finished.copy(tmp_path / 'runs' / 'a')
  finished.copy(tmp_path / 'runs' / 'c')
  over, begun = (groups.note(str(tmp_path), n) for n in (['a'], ['a', 'b']))
  stale = str(tmp_path / 'groups' / group_name(['x']))
  for folder in (over, begun, stale):
    ownership.claim(folder, ownership.GROUP)
  groups.note(str(tmp_path), ['a', 'c'])  # Killed before it had a folder.
  with locks.held(over):
    groups.remove_finished(str(tmp_path))
  assert os.path.exists(over) and os.path.exists(f'{over}.json')
  groups.remove_finished(str(tmp_path))
  assert sorted(os.listdir(tmp_path / 'groups')) == sorted(
      os.path.basename(p) for p in (begun, f'{begun}.json', stale))


def test_what_is_no_group_stays(tmp_path):
  folder = tmp_path / 'groups'
  folder.mkdir()
  for name, text in {
      'a.json': '["x"]', 'b.json': '{"x": 1}', 'c.json': '[1]', 'd.json': 'x',
      'notes.txt': 'mine'}.items():
    (folder / name).write_text(text)
  groups.remove_finished(str(tmp_path))
  assert sorted(os.listdir(folder)) == [
      'a.json', 'b.json', 'c.json', 'd.json', 'notes.txt']
  groups.remove_finished(str(tmp_path / 'none'))


@pytest.mark.parametrize('text, expected', [
    ('{"message": "no luck"}', 'no luck'), ('["x"]', 'a.json'),
])
def test_a_failure_that_is_new(text, expected, tmp_path):
  (tmp_path / 'failed').mkdir()
  path = tmp_path / 'failed' / 'a.json'
  assert not failed_since(str(tmp_path), 'a', 0.0)
  path.write_text(text)
  os.utime(path, (100.0, 100.0))
  assert expected in failed_since(str(tmp_path), 'a', 99.0)
  assert not failed_since(str(tmp_path), 'a', 100.0)

"""Compiled programs that the next run need not compile again."""

import errno
import json
import os
import subprocess
import sys

from esmm_jax.doctor import compiled
import jax
from jax.experimental.compilation_cache import compilation_cache
import jax.numpy as jnp
import numpy as np
import pytest

from tests import ROOT

HIT = '/jax/compilation_cache/cache_hits'
events: list[str] = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))


@pytest.fixture(autouse=True)
def no_folder_of_the_suite():
  names = [
      'jax_compilation_cache_dir', 'jax_persistent_cache_enable_xla_caches',
      'jax_persistent_cache_min_compile_time_secs',
      'jax_persistent_cache_min_entry_size_bytes']
  before = {name: jax.config.values[name] for name in names}
  jax.config.update('jax_compilation_cache_dir', None)
  compilation_cache.reset_cache()
  yield
  for name, value in before.items():
    jax.config.update(name, value)
  compilation_cache.reset_cache()


def run(folder, power=3, **options):
  """(bytes of a result, programs that were loaded) in a block of `kept`."""
  del events[:]
  x = np.linspace(0, 1, 1000, dtype=np.float32)
  with compiled.kept(str(folder), **options):
    y = np.asarray(jax.jit(lambda x: jnp.cumsum(jnp.sin(x)) ** power)(x))
  return y.tobytes(), events.count(HIT)


def files(folder):
  return sorted(p for p in folder.rglob('*') if p.is_file())


def test_a_program_is_loaded_and_gives_the_same_bits(tmp_path, capfd):
  first, hits = run(tmp_path)
  assert hits == 0 and len(files(tmp_path)) == 1
  assert run(tmp_path) == (first, 1)
  assert run('') == (first, 0)  # Neither read nor written.
  assert len(files(tmp_path)) == 1
  assert ''.join(capfd.readouterr()) == ''


@pytest.mark.parametrize('damage', ['changed', 'cut', 'empty'])
def test_a_damaged_program_is_compiled_again(tmp_path, damage, capfd):
  first, _ = run(tmp_path)
  (file,) = files(tmp_path)
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  cut = {'changed': len(content), 'cut': 100, 'empty': 0}[damage]
  file.write_bytes(content[:cut])
  assert run(tmp_path) == (first, 0)
  assert run(tmp_path) == (first, 1)
  assert len(files(tmp_path)) == 1
  assert ''.join(capfd.readouterr()) == ''


def test_the_oldest_leave_first(tmp_path):
  for power in (3, 4, 5):
    run(tmp_path, power)
    for k, file in enumerate(sorted(files(tmp_path), key=os.path.getmtime)):
      os.utime(file, (k, k))
  ages = sorted(files(tmp_path), key=os.path.getmtime)
  size = sum(f.stat().st_size for f in ages)
  _, hits = run(tmp_path, 6, limit=size)
  left = files(tmp_path)
  assert hits == 0 and sum(f.stat().st_size for f in left) <= size
  assert ages[0] not in left and ages[2] in left
  assert [run(tmp_path, power)[1] for power in (5, 6)] == [1, 1]


def test_a_folder_that_cannot_be_is_one_warning(tmp_path, capsys):
  first, _ = run('')
  (tmp_path / 'file').touch()
  assert run(tmp_path / 'file') == (first, 0)
  (line,) = capsys.readouterr().err.splitlines()
  assert line == (
      f'warning: compiled programs are not kept in {tmp_path / "file"}: File'
      ' exists (errno 17, EEXIST). Something else stands there; move it, or use'
      ' another name. The run goes on. --compilation_cache=FOLDER names another'
      " one, and --compilation_cache='' none.")


def test_a_full_disk_is_one_warning(tmp_path, monkeypatch, capsys):
  run(tmp_path)
  before = files(tmp_path)

  def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  with monkeypatch.context() as m:
    m.setattr(os, 'replace', full)
    _, hits = run(tmp_path, 4)
  (line,) = capsys.readouterr().err.splitlines()
  assert 'No space left on device' in line and 'The run goes on.' in line
  assert hits == 0 and files(tmp_path) == before


def test_a_folder_that_others_may_write_to_is_not_read(tmp_path, capsys):
  """What stands there would be run."""
  first, _ = run(tmp_path)
  (part,) = tmp_path.iterdir()
  assert part.stat().st_mode & 0o777 == 0o700
  part.chmod(0o770)
  assert run(tmp_path) == (first, 0)
  (line,) = capsys.readouterr().err.splitlines()
  assert 'belongs to somebody else, or others may write to it' in line


def test_no_folder_is_made_where_nothing_was_compiled(tmp_path):
  with pytest.raises(KeyError), compiled.kept(str(tmp_path / 'a')):
    raise KeyError
  assert list(tmp_path.iterdir()) == []


def test_a_folder_that_jax_has_stays(tmp_path):
  jax.config.update('jax_compilation_cache_dir', str(tmp_path / 'theirs'))
  run(tmp_path / 'ours')
  assert jax.config.jax_compilation_cache_dir == str(tmp_path / 'theirs')
  assert not (tmp_path / 'ours').exists()


@pytest.mark.long
def test_runs_at_once_have_the_numbers_of_one_alone(tmp_path):
  """Of the command; without the folder that the suite gives to JAX."""
  keep = {k: v for k, v in os.environ.items() if not k.startswith('JAX_COMP')}

  def start(name, *more):
    return subprocess.Popen(
        [
            sys.executable, '-m', 'experiments.train',
            '--config=configs/esmm.py:smoke', f'--workdir={tmp_path / name}',
            f'--data_dir={tmp_path / "data"}', *more,
        ],
        cwd=ROOT, env=keep, text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE)

  def lines(name):
    text = (tmp_path / name / 'metrics.jsonl').read_text('utf-8')
    return [
        {k: v for k, v in json.loads(line).items() if k != 'time'}
        for line in text.splitlines()
    ]

  def end(*programs):
    for said in [program.communicate()[1] for program in programs]:
      # A slow machine shows progress; JAX would warn of a half-written file.
      assert 'arning' not in said and 'rror' not in said
    assert {program.returncode for program in programs} == {0}

  end(start('alone', '--compilation_cache='))
  assert not (tmp_path / 'data' / 'compiled').exists()
  for names in (['a', 'b'], ['c', 'd']):
    end(*[start(name) for name in names])
    assert len(files(tmp_path / 'data' / 'compiled')) > 10
    for name in names:
      assert lines(name) == lines('alone') and len(lines(name)) > 3

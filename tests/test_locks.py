"""Locks: who waits, who is refused, and what is never touched."""

import errno
import io
import os
import subprocess
import sys
import threading
import time

from esmm_jax import locks
from esmm_jax.types import InputError
import pytest

from tests import ROOT


DIES = '''
import os, sys
from esmm_jax import locks
with getattr(locks, sys.argv[1])(sys.argv[2], 'x'):
  os.kill(os.getpid(), 9)
'''


def test_a_folder_is_held_by_one(tmp_path):
  folder = str(tmp_path / 'new' / 'run')
  with locks.held(folder):
    with pytest.raises(locks.InUse) as e, locks.held(folder):
      pass
    assert f'is in use by process {os.getpid()} on ' in str(e.value)
  with locks.held(folder):
    pass


@pytest.mark.parametrize('kind', ['held', 'waiting'])
def test_the_lock_of_a_killed_process_is_free(tmp_path, kind):
  path = tmp_path if kind == 'held' else tmp_path / '.lock'
  done = subprocess.run(
      [sys.executable, '-c', DIES, kind, str(path)], cwd=ROOT, check=False)
  assert done.returncode == -9
  assert (tmp_path / '.lock').read_text().startswith('process ')
  with locks.held(str(tmp_path)):
    pass


def test_one_waits_for_the_other(tmp_path, monkeypatch):
  """The order is that of a list: nobody's part lies between another's."""
  # Not `capfd`: what comes between its reading and its emptying is lost.
  said = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', said)
  path, order = str(tmp_path / 'l'), []
  inside = threading.Event()

  def first():
    with locks.waiting(path, 'the work') as is_locked:
      order.append(('first', is_locked))
      inside.set()
      # Until the second one has said that it waits.
      end = time.monotonic() + 60
      while '\n' not in said.getvalue() and time.monotonic() < end:
        time.sleep(0.01)
      order.append(said.getvalue())

  thread = threading.Thread(target=first)
  thread.start()
  inside.wait()
  with locks.waiting(path, 'the work') as is_locked:
    order.append(('second', is_locked))
  thread.join()
  assert order[0] == ('first', True) and order[2:] == [('second', True)]
  assert order[1].startswith(f'Waiting for the work by process {os.getpid()}')
  assert order[1].count('\n') == 1


def test_a_lock_file_that_is_removed_and_made_anew(tmp_path):
  """The one who waits takes the file that has the name, not the old one."""
  path = str(tmp_path / 'l')
  with locks.waiting(path, 'x'):
    os.remove(path)
    with locks.waiting(path, 'x') as is_locked:
      assert is_locked  # Another file.
  with locks.waiting(path, 'x') as is_locked:
    assert is_locked


FOREIGN = {
    'symlink': lambda p: p.symlink_to('victim'),
    'dangling': lambda p: p.symlink_to('nothing'),
    'file': lambda p: p.write_text('precious'),
    'long file': lambda p: p.write_bytes(b'\0' * 4096),
    'like ours': lambda p: p.write_text('process 1 on a\nprecious'),
    'hard link': lambda p: os.link(p.parent / 'victim', p),
    'folder': lambda p: p.mkdir(),
    'pipe': lambda p: os.mkfifo(p),
}


@pytest.mark.parametrize('kind', FOREIGN)
def test_what_others_have_put_there(tmp_path, kind):
  """Refused in a line that names it; no byte of it is changed."""
  (tmp_path / 'victim').write_text('precious')
  path = tmp_path / '.lock'
  FOREIGN[kind](path)
  before = os.lstat(path)
  content = path.read_bytes() if path.is_file() else None
  with pytest.raises(InputError, match=r'\.lock was not made by') as e:
    with locks.held(str(tmp_path)):
      pass
  assert '\n' not in str(e.value)
  after = os.lstat(path)
  assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
  assert content == (path.read_bytes() if path.is_file() else None)
  assert (tmp_path / 'victim').read_text() == 'precious'
  assert not (tmp_path / 'nothing').exists()


LEFT = 'process 12 on host'


@pytest.mark.parametrize('text', [
    *(LEFT[:k] for k in range(len(LEFT) + 1)), '\0' * 20, LEFT[:9] + '\0' * 9])
def test_what_was_left_is_taken(tmp_path, text):
  """Of a killed process, or torn by a power cut."""
  (tmp_path / '.lock').write_text(text)
  with locks.held(str(tmp_path)):
    held = (tmp_path / '.lock').read_text()
  assert held.startswith(f'process {os.getpid()} on ') and '\0' not in held


def test_a_lock_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(InputError, match='--workdir=.*stands there'):
    with locks.held(str(tmp_path / 'file')):
      pass


@pytest.mark.parametrize('code', ['ENOLCK', 'EOPNOTSUPP', 'ENOSYS'])
def test_without_locks(tmp_path, monkeypatch, capfd, code):
  """NFS without its lock service: one warning, and the work is done."""

  def refuse(number, how):
    del number, how
    raise OSError(getattr(errno, code), os.strerror(getattr(errno, code)))

  monkeypatch.setattr(locks, '_warned', False)
  monkeypatch.setattr(locks.fcntl, 'flock', refuse)
  done = []
  with locks.held(str(tmp_path)):
    with locks.waiting(str(tmp_path / 'l'), 'x') as is_locked:
      done.append(is_locked)
  err = capfd.readouterr().err
  assert done == [False] and err.count('\n') == 1
  assert err.startswith(f'warning: {tmp_path}/.lock cannot be locked (')


def test_another_error_of_the_lock_names_the_file(tmp_path, monkeypatch):
  def refuse(number, how):
    del number, how
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  monkeypatch.setattr(locks.fcntl, 'flock', refuse)
  with pytest.raises(InputError, match=r'\.lock cannot be locked: Input'):
    with locks.held(str(tmp_path)):
      pass

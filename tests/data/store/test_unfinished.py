"""Who prepares, who waits, and what killed processes leave behind."""

import errno
import io
import os
import pathlib
import re
import sys
import threading
import time

from esmm_jax import locks
from esmm_jax.data.store import unfinished
from esmm_jax.types import InputError
import pytest

from tests import toy as toy_lib
from tests.toy import Toy

DAY = 24 * 60 * 60


def slow(tmp_path, begun, go):
  """A data set that stops before its end until it is let on."""
  toy = Toy(data_dir=tmp_path)
  shards_of = toy.shards_of

  def stopping(split):
    yield from shards_of(split)
    if split == 'test':
      begun.set()
      assert go.wait(60)

  toy.shards_of = stopping
  return toy


def refusing(tmp_path):
  """A data set that must not be prepared."""

  def refuse():
    raise AssertionError('it was prepared twice')

  toy = Toy(data_dir=tmp_path)
  toy._generate_splits = refuse
  return toy


def folder_of(tmp_path):
  return tmp_path / 'toy' / '1.1.0'


def hidden(tmp_path):
  """Names beside the folder of the data set."""
  return sorted(os.listdir(tmp_path / 'toy'))


@pytest.mark.parametrize('host', ['this', 'another'])
def test_one_prepares_and_the_other_waits(tmp_path, monkeypatch, host):
  """No process id and no name of a machine is asked."""
  # Not `capfd`: what comes between its reading and its emptying is lost.
  said = io.StringIO()
  monkeypatch.setattr(sys, 'stderr', said)
  begun, go = threading.Event(), threading.Event()
  first, second = slow(tmp_path, begun, go), refusing(tmp_path)
  assert not second.info.splits
  thread = threading.Thread(target=first.prepare)
  thread.start()
  assert begun.wait(60)
  [partial] = [n for n in hidden(tmp_path) if n.endswith('.partial')]
  if host == 'another':  # Its ids are not those of processes here.
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    monkeypatch.setattr(locks.socket, 'gethostname', lambda: 'container')
  waiting = threading.Thread(target=second.prepare)
  waiting.start()
  # Progress of the first one may come before and behind it.
  line = f'Waiting for {folder_of(tmp_path)} to be prepared by .*\n'
  end = time.monotonic() + 60
  while not re.search(line, said.getvalue()) and time.monotonic() < end:
    time.sleep(0.01)
  assert re.search(line, said.getvalue()), said.getvalue()
  assert partial in hidden(tmp_path) and not folder_of(tmp_path).exists()
  go.set()
  thread.join()
  waiting.join()
  assert second.columns_sha256 == first.columns_sha256
  assert second.report == {'rows': toy_lib.SIZES}
  assert len(second.as_data_source('train').read(0, 150)['user']) == 150
  assert hidden(tmp_path) == ['.1.1.0.lock', '1.1.0']


def test_the_first_one_fails_and_the_other_prepares(tmp_path):
  begun, go = threading.Event(), threading.Event()
  first, second = Toy(data_dir=tmp_path), Toy(data_dir=tmp_path)
  errors = []

  def prepare_and_fail():
    try:
      first.prepare()
    except RuntimeError as e:
      errors.append(str(e))

  def fail(split):
    del split
    begun.set()
    assert go.wait(60)
    raise RuntimeError('its files are gone')
    yield

  first.shards_of = fail
  thread = threading.Thread(target=prepare_and_fail)
  thread.start()
  assert begun.wait(60)
  waiting = threading.Thread(target=second.prepare)
  waiting.start()
  go.set()
  thread.join()
  waiting.join()
  assert errors == ['its files are gone']
  assert len(second.as_data_source('test').read(0, 75)['user']) == 75
  assert hidden(tmp_path) == ['.1.1.0.lock', '1.1.0']


def leave(tmp_path, name, note=True, age=0):
  """Leaves the folder of a preparation that was killed."""
  folder = tmp_path / 'toy' / name
  (folder / 'part-train-0').mkdir(parents=True)
  (folder / 'part-train-0' / 'user.npy').write_bytes(b'\0' * 100)
  if note:
    (folder / 'process.json').write_text('{"pid": 1, "host": "elsewhere"}')
  for path in [*folder.rglob('*'), folder]:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age))
  return folder


def test_what_a_killed_process_left(tmp_path):
  """Of this version at once; of an earlier one when a day has gone by."""
  gone = [
      leave(tmp_path, '.1.1.0.abcd1234.partial', note=False),
      leave(tmp_path, 'incomplete.OLD_1.1.0', age=DAY + 9),
  ]
  stays = [
      leave(tmp_path, 'incomplete.NEW_1.1.0'),
      leave(tmp_path, 'incomplete.OTHER_1.1.0', note=False, age=2 * DAY),
      leave(tmp_path, 'incomplete.OLD_2.0.0', age=2 * DAY),
      leave(tmp_path, '.2.0.0.abcd1234.partial', note=False, age=2 * DAY),
      leave(tmp_path, 'thesis', age=2 * DAY),
  ]
  (tmp_path / 'toy' / '.1.1.0.x.partial').write_text('a file of somebody')
  Toy(data_dir=tmp_path).prepare()
  assert [p for p in gone if p.exists()] == []
  assert [p for p in stays if not p.exists()] == []
  assert (tmp_path / 'toy' / '.1.1.0.x.partial').exists()


def test_brackets_in_the_name_of_a_folder(tmp_path):
  folder = tmp_path / 'a[1]*?'
  left = leave(folder, '.1.1.0.abcd1234.partial')
  Toy(data_dir=folder).prepare()
  assert not left.exists() and folder_of(folder).exists()


def test_without_locks_nothing_is_removed(tmp_path, monkeypatch, capfd):
  """It may be of a process that lives."""

  def refuse(number, how):
    del number, how
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  left = leave(tmp_path, '.1.1.0.abcd1234.partial', age=2 * DAY)
  monkeypatch.setattr(locks, '_warned', False)
  monkeypatch.setattr(locks.fcntl, 'flock', refuse)
  toy = Toy(data_dir=tmp_path).prepare()
  assert len(toy.as_data_source('test').read(0, 75)['user']) == 75
  assert left.exists()
  lines = capfd.readouterr().err.splitlines()
  assert sum(line.startswith('warning: ') for line in lines) == 1


def test_a_lock_of_others_is_left_alone(tmp_path):
  (tmp_path / 'toy').mkdir()
  (tmp_path / 'victim').write_text('precious')
  (tmp_path / 'toy' / '.1.1.0.lock').symlink_to('../victim')
  with pytest.raises(InputError, match=r'\.1\.1\.0\.lock was not made by'):
    Toy(data_dir=tmp_path).prepare()
  assert (tmp_path / 'victim').read_text() == 'precious'


def test_complete_data_needs_no_lock(tmp_path):
  """A folder that many read may be read-only."""
  Toy(data_dir=tmp_path).prepare()
  (tmp_path / 'toy' / '.1.1.0.lock').unlink()
  with unfinished.alone(os.fspath(pathlib.Path(tmp_path, 'toy', '1.1.0'))):
    again = refusing(tmp_path).prepare()
  assert len(again.as_data_source('test').read(0, 75)['user']) == 75


def states(toy):
  """What a power cut may leave of a preparation, as (name, files).

  Files are written one after the other and all are on the disk before the
  rename: so before it the folder has its temporary name, and in it some files,
  of which any may be torn; after it all is whole.
  """
  root = pathlib.Path(toy.data_path)
  files = {
      str(p.relative_to(root)): p.read_bytes()
      for p in sorted(root.rglob('*')) if p.is_file()}
  names = list(files)
  for k in range(0, len(names) + 1, 4):
    part = {name: files[name] for name in names[:k]}
    yield '.1.1.0.abcd1234.partial', part
    for tear in (lambda c: b'', lambda c: c[:len(c) // 2],
                 lambda c: b'\0' * len(c)):
      yield '.1.1.0.abcd1234.partial', part | {
          name: tear(files[name]) for name in names[max(k - 2, 0):k]}
  yield '1.1.0', files
  yield '1.1.0', {}  # Of a version that synchronised nothing.


@pytest.mark.slow
def test_power_cuts(tmp_path, toy):
  """The same command makes the data, or finds it; nothing is left over."""
  tried = 0
  for tried, (name, files) in enumerate(states(toy), start=1):
    data_dir = tmp_path / str(tried)
    (data_dir / 'toy' / name).mkdir(parents=True)
    for file, content in files.items():
      path = data_dir / 'toy' / name / file
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(content)
    data = Toy(data_dir=data_dir).prepare()
    assert data.columns_sha256 == toy.columns_sha256
    assert {*hidden(data_dir)} <= {'.1.1.0.lock', '1.1.0'}
    data.as_data_source('train').verify(data.as_data_source('train').names)
  assert tried > 60

"""Raw files are told apart by what they hold, however they are dressed up."""

import hashlib
import json
import os
import shutil
import time

from esmm_jax.data.files import file_hashes
from esmm_jax.data.files.file_hashes import Hashes, NOTE
from esmm_jax.data.files.same_files import check, check_raw
from esmm_jax.types import InputError
import fsspec
import pytest

OLD_NS = 1_600_000_000 * 10**9


class Log:
  """A raw file, the facts noted of it, and the files read to be hashed."""

  def __init__(self, folder, monkeypatch):
    self.path = str(folder / 'log.csv')
    self.prepared = str(folder / 'data' / '1.1.0')
    self.note = folder / 'data' / NOTE
    os.makedirs(self.prepared)
    self.read = []
    make = hashlib.sha256
    monkeypatch.setattr(
        file_hashes.hashlib, 'sha256',
        lambda *a: self.read.append(1) or make(*a))
    self.write(b'user,click\n1,0\n2,1\n')
    self.facts = {self.path: Hashes(self.prepared).facts(self.path)}

  def write(self, data):
    """In place: the same inode."""
    with open(self.path, 'r+b' if os.path.exists(self.path) else 'wb') as f:
      f.write(data)

  def check(self):
    """Warnings, and the number of files that were read."""
    self.read.clear()
    warnings = check(
        self.facts, {self.path: self.path}, self.prepared, 'files', '')
    return warnings, len(self.read)


@pytest.fixture
def log(tmp_path, monkeypatch):
  return Log(tmp_path, monkeypatch)


def settle(monkeypatch):
  """From now on the clock is an hour ahead of the files."""
  now = time.time_ns()
  monkeypatch.setattr(
      file_hashes.time, 'time_ns', lambda: now + 3600 * 10**9)


def test_a_file_is_read_once(log, monkeypatch):
  settle(monkeypatch)
  assert log.check() == ([], 1)
  assert [log.check() for _ in range(3)] == [([], 0)] * 3
  os.remove(log.note)
  assert log.check() == ([], 1)


def test_a_file_of_this_second_is_not_noted(log):
  """It may be changed again at the same time."""
  assert log.check() == ([], 1)
  assert log.check() == ([], 1)
  assert not log.note.exists()


def test_a_file_that_is_changed_as_it_is_read(log, monkeypatch):
  stamp, number = file_hashes.stamp, [0]

  def growing(path):
    number[0] += 1
    return [number[0], *stamp(path)[1:]]

  monkeypatch.setattr(file_hashes, 'stamp', growing)
  with pytest.raises(InputError, match='log.csv was changed while it was read'):
    Hashes(log.prepared).facts(log.path)


def touch(log):
  os.utime(log.path)


def old(log):
  os.utime(log.path, ns=(OLD_NS, OLD_NS))


def copy(log):
  shutil.copy(log.path, log.path + '.new')
  os.replace(log.path + '.new', log.path)


def copy_with_times(log):
  shutil.copy2(log.path, log.path + '.new')
  os.replace(log.path + '.new', log.path)


def link(log):
  shutil.move(log.path, log.path + '.there')
  os.symlink(log.path + '.there', log.path)


def write_again(log):
  log.write(b'user,click\n1,0\n2,1\n')


def owner_can_read(log):
  os.chmod(log.path, 0o400)


@pytest.mark.parametrize('change', [
    touch, old, copy, copy_with_times, link, write_again, owner_can_read])
def test_the_same_content_is_the_same(log, change, monkeypatch):
  settle(monkeypatch)
  log.check()
  change(log)
  assert log.check() == ([], 1)
  assert log.check() == ([], 0)


def edit(log):
  log.write(b'user,click\n1,1\n')


def edit_and_set_the_time_back(log):
  s = os.stat(log.path)
  edit(log)
  os.utime(log.path, ns=(s.st_atime_ns, s.st_mtime_ns))


def replace(log):
  with open(log.path + '.new', 'wb') as f:
    f.write(b'user,click\n9,0\n2,1\n')
  os.replace(log.path + '.new', log.path)


def replace_with_the_time(log):
  s = os.stat(log.path)
  replace(log)
  os.utime(log.path, ns=(s.st_atime_ns, s.st_mtime_ns))


def link_to_another(log):
  with open(log.path + '.other', 'wb') as f:
    f.write(b'user,click\n9,0\n2,1\n')
  os.remove(log.path)
  os.symlink(log.path + '.other', log.path)


@pytest.mark.parametrize('is_noted', [False, True])
@pytest.mark.parametrize('change', [
    edit, edit_and_set_the_time_back, replace, replace_with_the_time,
    link_to_another])
def test_other_content_of_the_same_size(log, change, is_noted, monkeypatch):
  if is_noted:
    settle(monkeypatch)
  log.check()
  size = os.path.getsize(log.path)
  change(log)
  assert os.path.getsize(log.path) == size
  for _ in range(2):
    with pytest.raises(InputError) as e:
      log.check()
    for part in ('prepared from other files', log.path, 'other content'):
      assert part in str(e.value)


def test_another_size_is_refused_unread(log):
  log.write(b'user,click\n1,0\n2,1\n3,0\n')
  log.read.clear()
  with pytest.raises(InputError, match='was 19 bytes then and is 23 bytes now'):
    log.check()
  assert not log.read


@pytest.mark.parametrize('text', [
    '', '{', '[]', '{"files": 3}', '{"files": {"PATH": [1]}}', 'flipped'])
def test_a_damaged_note_condemns_no_file(log, text, monkeypatch):
  settle(monkeypatch)
  log.check()
  if text == 'flipped':
    note = json.loads(log.note.read_text())
    note['files'][log.path][-1] = '0' * 64
    text = json.dumps(note)
  log.note.write_text(text.replace('PATH', log.path))
  assert log.check() == ([], 1)
  assert log.check() == ([], 0)


def test_a_folder_that_cannot_be_written(log, monkeypatch):
  settle(monkeypatch)

  def refuse(*args):
    raise PermissionError(13, 'Read-only')

  monkeypatch.setattr(file_hashes, 'write_json', refuse)
  assert [log.check() for _ in range(2)] == [([], 1)] * 2


def test_sizes_of_an_earlier_version_warn(log):
  log.facts = {log.path: os.path.getsize(log.path)}
  (line,), num_read = log.check()
  assert num_read == 0
  for part in (log.prepared, log.path, 'size', 'delete that folder'):
    assert part in line
  edit(log)
  assert log.check()[0] == [line]
  log.facts = {log.path: 3}
  with pytest.raises(InputError, match='was 3 bytes then'):
    log.check()


def test_files_that_come_and_go(log):
  with pytest.raises(InputError, match='other raw files than those in R: new.*'
                     'absent then.*files, leave raw_dir empty'):
    check_raw(
        log.facts, {log.path: log.path, 'new': log.path}, log.prepared, 'R')
  with pytest.raises(InputError, match='log.csv was 19 bytes.*is absent now'):
    check(log.facts, {}, log.prepared, 'files', '')


# Remote files.


def remote(monkeypatch, **info):
  """A file in fsspec's memory, whose file system tells `info` of it."""
  fs = fsspec.filesystem('memory')
  fs.pipe('/r/log.csv', b'abc')
  tell_of_it(monkeypatch, **info)
  return fs, 'memory://r/log.csv'


def tell_of_it(monkeypatch, **info):
  fs = fsspec.filesystem('memory')
  tell = type(fs).info

  def told(self, path, **kwargs):
    entry = {k: v for k, v in tell(self, path, **kwargs).items()
             if k in ('name', 'size', 'type')}
    return entry | info

  monkeypatch.setattr(type(fs), 'info', told)


def same(path, facts, tmp_path):
  return Hashes(str(tmp_path)).holds(path, facts)


@pytest.mark.parametrize('tag', ['ETag', 'etag', 'md5Hash', 'crc32c'])
def test_a_remote_file_with_a_tag_is_not_read(tag, tmp_path, monkeypatch):
  fs, path = remote(monkeypatch, **{tag: 'one'})
  monkeypatch.setattr(type(fs), 'open', None)
  facts = Hashes(str(tmp_path)).facts(path)
  assert facts == {'bytes': 3, 'tag': 'one'}
  assert same(path, facts, tmp_path)
  tell_of_it(monkeypatch, **{tag: 'two'})
  assert not same(path, facts, tmp_path)


def test_a_small_remote_file_without_a_tag_is_read(tmp_path, monkeypatch):
  fs, path = remote(monkeypatch)
  facts = Hashes(str(tmp_path)).facts(path)
  assert facts == {'bytes': 3, 'sha256': hashlib.sha256(b'abc').hexdigest()}
  tell_of_it(monkeypatch, ETag='one')  # Compared by what was noted.
  assert same(path, facts, tmp_path)
  fs.pipe('/r/log.csv', b'abd')
  assert not same(path, facts, tmp_path)


def test_a_large_remote_file_without_a_tag_has_its_time(tmp_path, monkeypatch):
  monkeypatch.setattr(file_hashes, 'SMALL', 2)
  _, path = remote(monkeypatch, LastModified='noon')
  facts = Hashes(str(tmp_path)).facts(path)
  assert facts == {'bytes': 3, 'modified': 'noon'}
  assert same(path, facts, tmp_path)
  tell_of_it(monkeypatch, LastModified='one')
  assert not same(path, facts, tmp_path)
  tell_of_it(monkeypatch)
  facts = Hashes(str(tmp_path)).facts(path)
  assert facts == {'bytes': 3}
  assert check({path: facts}, {path: path}, str(tmp_path), 'files', '')


# The state of a file that is scored.


@pytest.mark.parametrize('change', [touch, edit, edit_and_set_the_time_back,
                                    replace_with_the_time, copy_with_times])
def test_every_change_is_another_state(log, change):
  before = file_hashes.state(log.path)
  assert file_hashes.state(log.path) == before
  time.sleep(0.02)  # The kernel's clock has steps.
  change(log)
  assert file_hashes.state(log.path) != before


def test_the_state_of_a_remote_file(monkeypatch):
  _, path = remote(monkeypatch, ETag='one', mtime=3)
  assert file_hashes.state(path) == '3 bytes, ETag one'
  tell_of_it(monkeypatch, mtime=4)
  assert file_hashes.state(path) == '3 bytes, mtime 4'

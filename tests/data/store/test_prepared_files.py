"""What is read of prepared data is what was written, or one line says so."""

import errno
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys

from esmm_jax.data.store import prepared_files
from esmm_jax.data.store.columns import open_folder, write_column
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests import ROOT
from tests.toy import Toy

MARKER, NOTE = prepared_files.MARKER, prepared_files.NOTE
DESCRIPTIONS = ['dataset_info.json', 'features.json', 'metadata.json']
TRAIN = 'toy-train.columns-00001-of-00003'
COLUMNS = [
    f'{TRAIN}/{name}.npy'
    for name in ('user', 'price', 'click', 'history.values', 'history.offsets',
                 'history.weights', 'session', 'truth/p_ctr')
]


@pytest.fixture
def own(toy, tmp_path):
  """The folder of a copy of the toy data set, with the times of its files."""
  shutil.copytree(toy.data_dir_root, tmp_path / 'data')
  return tmp_path / 'data' / 'toy' / '1.1.0'


def read_all(folder):
  """Opens a data set and reads every row of it, as a new process would."""
  prepared_files._hashed.clear()
  data = Toy(data_dir=os.fspath(folder.parent.parent)).prepare()
  for split in data.info.splits:
    for source in (data.as_data_source(split), data.truth_source(split)):
      source.read(0, len(source))
  return data


def flip(content):
  at = len(content) // 2
  return content[:at] + bytes([content[at] ^ 4]) + content[at + 1:]


DAMAGES = {
    'empty': lambda c: b'',
    'half': lambda c: c[:len(c) // 2],
    'one byte short': lambda c: c[:-1],
    'flip': flip,
    'last bit': lambda c: c[:-1] + bytes([c[-1] ^ 1]),
    'zeros': lambda c: b'\0' * len(c),
    'noise': lambda c: np.random.default_rng(0).bytes(len(c)),
    'longer': lambda c: c + b'\0',
    'absent': lambda c: None,
}


def damage(path, how):
  """Changes a file; size and time are kept where the damage allows it."""
  before = os.stat(path)
  content = DAMAGES[how](path.read_bytes())
  if content is None:
    path.unlink()
    return
  path.write_bytes(content)
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


# The others in test-slow: they are the same to the code, which compares hashes.
SOME = [
    how if how in ('flip', 'half', 'absent')
    else pytest.param(how, marks=pytest.mark.slow) for how in DAMAGES]


@pytest.mark.parametrize('how', SOME)
@pytest.mark.parametrize('file', [*DESCRIPTIONS, *COLUMNS])
def test_damage_is_found(own, file, how):
  """With both lists of checksums, and with each of them alone."""
  lists = {name: (own / name).read_bytes() for name in (MARKER, NOTE)}
  damage(own / file, how)
  for lost in ([], [MARKER], [NOTE]):
    for name, content in lists.items():
      (own / name).unlink(missing_ok=True)
      if name not in lost:
        (own / name).write_bytes(content)
    with pytest.raises(InputError) as e:
      read_all(own)
    assert file in str(e.value) and '\n' not in str(e.value)
    assert 'elete' in str(e.value)


@pytest.mark.parametrize('how', SOME)
@pytest.mark.parametrize('name', [MARKER, NOTE])
def test_a_damaged_list_is_no_licence(own, toy, name, how):
  """The data is as sound as before, and damage to it is still found."""
  damage(own / name, how)
  assert read_all(own).columns_sha256 == toy.columns_sha256
  damage(own / COLUMNS[0], 'flip')
  with pytest.raises(InputError, match='user.npy is not as it was written'):
    read_all(own)


def test_a_list_that_is_made_to_fit_is_no_licence(own):
  damage(own / COLUMNS[0], 'flip')
  listed = json.loads((own / NOTE).read_text())
  listed['files'][COLUMNS[0]][2] = prepared_files.sha256(own / COLUMNS[0])
  (own / NOTE).write_text(json.dumps(listed))
  with pytest.raises(InputError, match='user.npy is not as it was written'):
    read_all(own)
  marker = json.loads((own / MARKER).read_text())
  marker['files'][COLUMNS[0]][1] = listed['files'][COLUMNS[0]][2]
  (own / MARKER).write_text(json.dumps(marker))  # Its own checksum is wrong.
  assert read_all(own)  # Both were made to fit: nothing else is known here.


def test_data_without_a_list_is_said(own, toy):
  """Of the earliest versions, or lost: the first reader takes what is there."""
  (own / NOTE).unlink()
  (own / MARKER).unlink()
  data = read_all(own)
  assert data.columns_sha256 == toy.columns_sha256
  [text] = data.warnings
  assert 'has no list of checksums (sha256.json)' in text
  assert not read_all(own).warnings
  damage(own / COLUMNS[0], 'flip')
  with pytest.raises(InputError, match='user.npy is not as it was written'):
    read_all(own)


@pytest.mark.parametrize('how', DAMAGES)
@pytest.mark.parametrize('file', DESCRIPTIONS)
def test_a_damaged_description_without_a_list(own, file, how):
  """One line that names the file, or nothing was changed that is read."""
  (own / NOTE).unlink()
  (own / MARKER).unlink()
  damage(own / file, how)
  try:
    read_all(own)
  except InputError as e:
    assert file in str(e) and '\n' not in str(e)
  else:
    assert how in ('flip', 'last bit', 'longer') or file == 'features.json'


def test_the_hash_is_that_of_earlier_versions(toy):
  assert toy.columns_sha256 == (
      '1ab4b6757416338e07d0c7b4813bd54695368725be6ca4e129ccd060b14782a9')


def test_data_of_an_earlier_version(own, toy):
  """It has sha256.json alone, whose times are those before a copy."""
  (own / MARKER).unlink()
  for path in own.rglob('*.npy'):
    os.utime(path, ns=(1, 1))
  before = (own / NOTE).read_bytes()
  data = read_all(own)
  assert (data.columns_sha256, data.warnings) == (toy.columns_sha256, [])
  assert (own / NOTE).read_bytes() == before


def test_what_is_read_is_hashed_once(own, monkeypatch):
  """Columns that nobody reads are not hashed, others once a process."""
  prepared_files._hashed.clear()
  hashed, sha256 = [], prepared_files.sha256
  monkeypatch.setattr(
      prepared_files, 'sha256',
      lambda path: hashed.append(os.path.basename(path)) or sha256(path))
  data = Toy(data_dir=os.fspath(own.parent.parent)).prepare()
  assert sorted(hashed) == DESCRIPTIONS
  data.as_data_source('train').read(0, 10, ['user', 'tags'])
  assert sorted(set(hashed[3:])) == [
      'tags.offsets.npy', 'tags.values.npy', 'user.npy']
  assert len(hashed[3:]) == 9  # Three shards.
  again = Toy(data_dir=os.fspath(own.parent.parent)).prepare()
  again.as_data_source('train[:10%]').read(0, 10, ['user'])
  assert len(hashed) == 12
  damage(own / COLUMNS[0], 'flip')
  with pytest.raises(InputError, match='user.npy is not as it was written'):
    again.as_data_source('train').read(0, 10, ['user'])


def test_files_of_nobody_do_not_count(own):
  for name in ('.DS_Store', f'{TRAIN}/._user.npy', f'{TRAIN}/.nfs0001',
               'Thumbs.db', 'README.txt', f'{NOTE}.77.tmp'):
    (own / name).write_text('x')
  assert read_all(own).warnings == []
  (own / TRAIN / 'more.npy').write_bytes((own / COLUMNS[0]).read_bytes())
  with pytest.raises(InputError, match='more.npy is not part of it'):
    read_all(own)


def test_a_relative_folder(own, monkeypatch):
  monkeypatch.chdir(own.parent.parent.parent)
  prepared_files._hashed.clear()
  data = Toy(data_dir='data').prepare()
  assert len(data.as_data_source('test').read(0, 75)['user']) == 75


def test_too_many_open_files_is_no_damage(own):
  """The advice is not to delete what is sound."""
  data = read_all(own)
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  free = os.dup(0)  # The lowest number that is free.
  os.close(free)
  try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
    with pytest.raises(InputError) as e:
      data.as_data_source('train+valid+test')
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
  assert os.strerror(errno.EMFILE) in str(e.value)
  assert 'ulimit -n' in str(e.value) and 'elete' not in str(e.value)


@pytest.mark.parametrize('code, advice', [
    (errno.ENOTDIR, 'A part of the path is a file'), (errno.EIO, 'the disk'),
    (errno.EACCES, 'the right to it'), (errno.ENFILE, 'too many open files')])
def test_what_cannot_be_read_has_advice(code, advice):
  error = prepared_files.unreadable(OSError(code, os.strerror(code)), 'd/x')
  assert str(error).startswith(f'd/x cannot be read: {os.strerror(code)} (')
  assert advice in str(error) and 'elete' not in str(error)


CUT_SHORT = '''
import faulthandler, os, sys, threading
import numpy as np
from esmm_jax.data.store.columns import open_folder, write_column
faulthandler.enable()  # As absl does; it would write a traceback.
column = open_folder(sys.argv[1])['a']
os.truncate(sys.argv[1] + '/a.npy', 5000)
reads = {'bytes': lambda: column[-1], 'copy': lambda: np.array(column),
         'sum': lambda: column.sum(), 'take': lambda: column[::2].copy()}
thread = threading.Thread(target=reads[sys.argv[2]])
thread.start() if sys.argv[3] == 'thread' else thread.run()
thread.join() if sys.argv[3] == 'thread' else None
print('read')
'''


@pytest.mark.skipif(sys.platform != 'linux', reason='a signal of Linux')
@pytest.mark.parametrize('how, where', [
    ('copy', 'main'),
    pytest.param('bytes', 'thread', marks=pytest.mark.slow),
    pytest.param('sum', 'thread', marks=pytest.mark.slow),
    pytest.param('take', 'main', marks=pytest.mark.slow),
    pytest.param('bytes', 'main', marks=pytest.mark.slow),
    pytest.param('copy', 'thread', marks=pytest.mark.slow),
])
def test_a_column_that_is_cut_short_while_it_is_read(tmp_path, how, where):
  np.save(tmp_path / 'a.npy', np.arange(1_000_000))
  done = subprocess.run(
      [sys.executable, '-c', CUT_SHORT, os.fspath(tmp_path), how, where],
      cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 1 and done.stdout == ''
  assert done.stderr.startswith(f'error: {tmp_path}/a.npy was cut short while')
  assert done.stderr.count('\n') == 1


def test_an_empty_folder_is_filled(tmp_path):
  """What a power cut may leave of a folder that was renamed."""
  folder = tmp_path / 'toy' / '1.1.0'
  folder.mkdir(parents=True)
  assert len(read_all(folder).as_data_source('test')) == 75


def test_a_folder_of_others_is_left_alone(tmp_path):
  folder = tmp_path / 'toy' / '1.1.0'
  folder.mkdir(parents=True)
  (folder / 'thesis.tex').write_text('precious')
  with pytest.raises(InputError, match='dataset_info.json is missing'):
    Toy(data_dir=os.fspath(tmp_path)).prepare()
  assert (folder / 'thesis.tex').read_text() == 'precious'
  assert os.listdir(folder) == ['thesis.tex']


def test_all_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
  """Each file and folder is synchronised, and after the rename the parent."""
  done, at_rename, rename, fsync = [], [], os.rename, os.fsync

  def synchronised(number):
    done.append(os.readlink(f'/proc/self/fd/{number}'))
    fsync(number)

  def renamed(source, to):
    if os.path.basename(to) == '1.1.0':
      at_rename.append({
          os.path.join(root, name)
          for root, folders, names in os.walk(source)
          for name in [*folders, *names, '']
      })
      at_rename.append(set(done))
      done.clear()
    rename(source, to)

  monkeypatch.setattr(os, 'fsync', synchronised)
  monkeypatch.setattr(os, 'rename', renamed)
  data = Toy(data_dir=os.fspath(tmp_path)).prepare()
  present, synced = at_rename
  assert {p.rstrip('/') for p in present} <= synced and len(present) > 60
  assert done == [os.path.dirname(data.data_path)]
  names = {p.name for p in pathlib.Path(data.data_path).iterdir()}
  assert {MARKER, NOTE, *DESCRIPTIONS} < names


def test_columns_of_a_folder(own):
  """No file of nobody is a column."""
  (own / TRAIN / '._user.npy').write_text('x')
  assert sorted(open_folder(os.fspath(own / TRAIN))) == [
      'click', 'conversion', 'history', 'item', 'price', 'serial', 'session',
      'tags', 'user']


@pytest.mark.parametrize('array', [
    np.arange(7, dtype=np.int32), np.zeros(0, np.int8),
    np.arange(12.0)[::3], np.ones(5, np.float16)])
def test_a_column_is_what_numpy_saves(tmp_path, array):
  size = write_column(os.fspath(tmp_path), 'a', array)
  np.save(tmp_path / 'b.npy', array)
  written = (tmp_path / 'a.npy').read_bytes()
  assert written == (tmp_path / 'b.npy').read_bytes() and len(written) == size


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full')
def test_a_full_disk_is_named(tmp_path):
  (tmp_path / 'a.npy').symlink_to('/dev/full')
  with pytest.raises(OSError) as e:
    write_column(os.fspath(tmp_path), 'a', np.arange(3000))
  assert (e.value.errno, e.value.filename) == (
      errno.ENOSPC, os.fspath(tmp_path / 'a.npy'))

"""A checkpoint that is cut off or damaged is found, and not used."""

import errno
import gc
import json
import os
import resource
import shutil

from esmm_jax import checksums
from esmm_jax.embeddings import files as table_files
from esmm_jax.types import InputError
from esmm_jax.workdir import read_back
from esmm_jax.workdir.checkpoint import Checkpoints
import jax.numpy as jnp
import numpy as np
import pytest

STEPS = (10, 20)


def arrays(step):
  return {
      'table': jnp.arange(600.0).reshape(20, 30) * step, 'step': jnp.int32(step)
  }


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A folder with two checkpoints."""
  folder = tmp_path_factory.mktemp('run')
  checkpoints = Checkpoints(str(folder))
  for step in STEPS:
    checkpoints.save(step, arrays(step), {'runs': [step]})
  checkpoints.close()
  return folder


@pytest.fixture
def workdir(whole, tmp_path):
  shutil.copytree(whole, tmp_path / 'run')
  return tmp_path / 'run'


def opened(workdir):
  """(step, table[0, 1], position, messages) of what is found."""
  checkpoints = Checkpoints(str(workdir))
  try:
    step, messages = checkpoints.latest_step, checkpoints.messages
    if step is None:
      return None, None, None, messages
    found, position = checkpoints.restore(arrays(0))
    return step, float(found['table'][0, 1]), position, messages
  finally:
    checkpoints.close()


def files(workdir, step):
  folder = workdir / 'checkpoints' / str(step)
  return sorted(p for p in folder.rglob('*') if p.is_file())


def test_what_is_sound_is_used(workdir):
  assert opened(workdir) == (20, 20.0, {'runs': [20]}, [])
  names = set(os.listdir(workdir / 'checkpoints'))
  assert names == {'10', '10.seal.json', '20', '20.seal.json'}


def flip(path):
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def cut(path):
  path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize('harm', [flip, cut, os.remove])
def test_any_damaged_file_is_found(whole, tmp_path, harm):
  """Every file of the checkpoint in turn."""
  number = len(files(whole, 20))
  assert number > 5
  for k in range(number):
    workdir = tmp_path / str(k)
    shutil.copytree(whole, workdir)
    harmed = files(workdir, 20)[k]
    if not harmed.stat().st_size and harm is not os.remove:
      continue
    harm(harmed)
    wrong = checksums.damage(str(workdir / 'checkpoints' / '20'))
    assert harmed.name in wrong, wrong
    assert {flip: 'not as it was written', cut: 'bytes, not'}.get(
        harm, 'missing') in wrong
    if k % 5 == 0:
      step, value, position, (message,) = opened(workdir)
      assert (step, value, position) == (10, 10.0, {'runs': [10]})
      for part in ('checkpoints/20 is damaged', harmed.name, 'step 10 is used'):
        assert part in message
      assert not files(workdir, 20)


def test_one_that_was_not_completed(workdir):
  os.remove(workdir / 'checkpoints' / '20.seal.json')
  step, value, _, (message,) = opened(workdir)
  assert (step, value) == (10, 10.0) and 'not completed' in message


@pytest.mark.parametrize(
    'text', ['', '{"a": [1,', '[]x', '[]', '{}', '3', '{"a": 1}', '{"a": [1]}'])
def test_a_seal_that_is_cut_off(workdir, text):
  (workdir / 'checkpoints' / '20.seal.json').write_text(text)
  step, _, _, (message,) = opened(workdir)
  assert step == 10 and 'checksums' in message


def test_a_file_too_many(workdir):
  (workdir / 'checkpoints' / '20' / 'more').write_text('x')
  step, _, _, (message,) = opened(workdir)
  assert step == 10 and 'more is not part of it' in message


def test_a_reader_removes_nothing(workdir):
  """It uses the one before, and the owner of the run can still look."""
  flip(files(workdir, 20)[0])
  before = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  checkpoints = Checkpoints(str(workdir), read_only=True)
  assert checkpoints.latest_step == 10
  assert 'checkpoints/20 is damaged' in checkpoints.messages[0]
  checkpoints.close()
  after = {p: p.read_bytes() for p in workdir.rglob('*') if p.is_file()}
  assert after == before
  empty = Checkpoints(str(workdir / 'none'), read_only=True)
  assert empty.latest_step is None
  assert not (workdir / 'none').exists()


def test_all_damaged(workdir):
  for step in STEPS:
    flip(files(workdir, step)[-1])
  step, _, _, messages = opened(workdir)
  assert step is None and len(messages) == 2
  assert 'there is no earlier one' in messages[1]
  assert os.listdir(workdir / 'checkpoints') == ['damaged']
  aside = workdir / 'checkpoints' / 'damaged'
  assert all(f'moved to {aside}/' in message for message in messages)
  names = {'10', '10.seal.json', '20', '20.seal.json'}
  assert set(os.listdir(aside)) == names


def test_saving_resumes_after_damage(workdir):
  flip(files(workdir, 20)[0])
  checkpoints = Checkpoints(str(workdir))
  checkpoints.save(20, arrays(21), {})
  checkpoints.close()
  assert opened(workdir)[:2] == (20, 21.0)


def test_older_ones_go_when_the_new_one_is_sealed(
    workdir, monkeypatch
):
  """One that could not be read is not sealed, and the older ones stay."""
  checkpoints = Checkpoints(str(workdir))

  def fail(*_):
    raise ValueError('arrays has no array x')

  with monkeypatch.context() as m:
    m.setattr(read_back, 'require', fail)
    with pytest.raises(InputError, match='step 30 .* no array x. It is not'):
      checkpoints.save(30, arrays(30), {})
  assert set(os.listdir(workdir / 'checkpoints')) == {
      '10', '10.seal.json', '20', '20.seal.json', '30'}
  checkpoints.close()
  assert opened(workdir)[:2] == (20, 20.0)


def test_stray_seals_are_removed(workdir):
  checkpoints = Checkpoints(str(workdir))
  checkpoints.save(30, arrays(30), {})
  checkpoints.close()
  assert set(os.listdir(workdir / 'checkpoints')) == {
      '20', '20.seal.json', '30', '30.seal.json'}
  with open(workdir / 'checkpoints' / '30.seal.json', encoding='utf-8') as f:
    sealed = json.load(f)
  assert len(sealed) == len(files(workdir, 30))
  assert all(len(digest) == 64 for _, digest in sealed.values())


# Orbax drops the other writes of a save that fails, which Python remarks.
@pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')
@pytest.mark.parametrize('name', ['table', 'kernel'])
def test_a_full_disk(workdir, name):
  """As far as a process can be given one: its files may not grow.

  `embeddings.files` notices it for a table, TensorStore for other arrays.
  """
  checkpoints = Checkpoints(str(workdir))
  big = jnp.asarray(
      np.random.default_rng(0).random((300, 1000), np.float32))
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
  try:
    with pytest.raises(InputError) as e:
      checkpoints.save(30, arrays(30) | {name: big}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  for part in ('checkpoint of step 30', 'cannot be written', 'File too large',
               'EFBIG', 'Make room'):
    assert part in str(e.value)
  checkpoints.close()
  assert opened(workdir)[:2] == (20, 20.0)
  gc.collect()  # Now, not in a later test.


# What the operating system can say, and what to do then.
SYSTEM = [
    (errno.ENOSPC, 'No space left on device (errno 28, ENOSPC). Make room.'),
    (errno.EDQUOT, 'raise the quota'),
    (errno.EACCES, 'Permission denied (errno 13, EACCES). Give this user'),
    (errno.EROFS, 'Make it writable'),
    (errno.EMFILE, 'ulimit -n'),
    (errno.EIO, 'Look at the disk'),
    (errno.ENODEV, 'No such device (errno 19, ENODEV). '),
]


def failing(code):
  """A function whose system call fails."""

  def fail(*_, **__):
    raise OSError(code, os.strerror(code))

  return fail


@pytest.mark.parametrize('code, words', SYSTEM)
def test_a_disk_that_cannot_be_written(workdir, monkeypatch, code, words):
  checkpoints = Checkpoints(str(workdir))
  with monkeypatch.context() as m:
    m.setattr(table_files, 'write', failing(code))
    with pytest.raises(InputError) as e:
      checkpoints.save(30, arrays(30), {})
  checkpoints.close()
  assert f'step 30 cannot be written to {workdir}/checkpoints: ' in str(e.value)
  assert words in str(e.value)
  assert ('Make room' in str(e.value)) == (code in (errno.ENOSPC, errno.EDQUOT))
  assert opened(workdir)[:2] == (20, 20.0)


@pytest.mark.parametrize('code, words', SYSTEM)
def test_a_disk_that_cannot_be_read(workdir, monkeypatch, code, words):
  checkpoints = Checkpoints(str(workdir))
  with monkeypatch.context() as m:
    m.setattr(table_files, 'read', failing(code))
    with pytest.raises(InputError) as e:
      checkpoints.restore(arrays(0))
  checkpoints.close()
  assert f'{workdir}/checkpoints/20 cannot be read: ' in str(e.value)
  assert words in str(e.value) and 'left as it is' in str(e.value)
  assert 'delete' not in str(e.value)
  assert opened(workdir)[:2] == (20, 20.0)


@pytest.mark.parametrize('read_only', [False, True])
def test_what_cannot_be_read_is_no_damage(workdir, monkeypatch, read_only):
  """The checksums cannot be compared, so nothing may be removed."""
  with monkeypatch.context() as m:
    m.setattr(checksums.hashlib, 'file_digest', failing(errno.EIO))
    with pytest.raises(InputError) as e:
      Checkpoints(str(workdir), read_only=read_only)
  assert 'Input/output error (errno 5, EIO). Look at the disk' in str(e.value)
  assert f'{workdir}/checkpoints cannot be read' in str(e.value)
  assert opened(workdir)[:2] == (20, 20.0)


@pytest.mark.parametrize('name', ['20.seal.json', '20', '20/tables'])
def test_what_may_not_be_opened_is_no_damage(workdir, monkeypatch, name):
  """A list of checksums, a checkpoint, a folder in it."""
  closed, scandir = str(workdir / 'checkpoints' / name), os.scandir

  def open_unless_closed(path, *args, **kwargs):
    if path == closed:
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return open(path, *args, **kwargs)

  def scandir_unless_closed(path):
    if path == closed:
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return scandir(path)

  with monkeypatch.context() as m:  # root may open everything.
    m.setattr(checksums, 'open', open_unless_closed, raising=False)
    m.setattr(os, 'scandir', scandir_unless_closed)
    with pytest.raises(InputError, match='EACCES.*the right to it.*left as it'):
      Checkpoints(str(workdir))
  assert opened(workdir)[:2] == (20, 20.0)


def test_too_many_open_files(workdir):
  before = resource.getrlimit(resource.RLIMIT_NOFILE)
  free = os.open('/dev/null', os.O_RDONLY)  # The lowest that is free.
  os.close(free)
  resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
  try:
    with pytest.raises(InputError) as e:
      Checkpoints(str(workdir))
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
  for words in ('checkpoints cannot be read', 'ulimit -n', 'left as it is'):
    assert words in str(e.value)
  assert opened(workdir)[:2] == (20, 20.0)


def test_an_error_of_a_library_is_told_as_itself(workdir):
  """Orbax saves no empty string; that has nothing to do with the disk."""
  checkpoints = Checkpoints(str(workdir))
  with pytest.raises(ValueError) as e:
    checkpoints.save(30, {}, {})
  checkpoints.close()
  assert not isinstance(e.value, InputError)
  assert 'Make room' not in str(e.value)
  assert opened(workdir)[:2] == (20, 20.0)


@pytest.mark.parametrize('change', [
    {'table': jnp.zeros((20, 31))}, {'step': jnp.zeros(7)},
    {'more': jnp.zeros(7)}])
def test_a_checkpoint_of_another_run(workdir, change):
  """Other shapes of a table, of a small array, and other arrays."""
  checkpoints = Checkpoints(str(workdir))
  with pytest.raises(InputError) as e:
    checkpoints.restore(arrays(0) | change)
  checkpoints.close()
  assert 'checkpoints/20 does not fit this run' in str(e.value)
  assert str(e.value).endswith('Use another --workdir.')
  assert 'delete' not in str(e.value)
  assert opened(workdir)[:2] == (20, 20.0)

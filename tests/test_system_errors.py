"""What the system refuses is told with file, words and advice; no damage."""

import builtins
import errno
import os
import pathlib
import shutil

from esmm_jax import system_errors, whole_files
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.store import columns
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.json_files import read_json
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, predictions
from experiments import cli
import numpy as np
import pyarrow as pa
from pyarrow import parquet
import pytest

CODES = ('EMFILE', 'EACCES', 'EIO', 'ENFILE', 'ESTALE', 'ENOMEM', 'EPERM')
READERS = {
    'columns': lambda path: columns.open_folder(path),
    'encoder': lambda path: Encoder.load(path),
    'manifest': lambda path: manifest.read(path),
    'json': lambda path: read_json(f'{path}/manifest.json', 'Delete it.'),
    'csv': lambda path: row_files.names(f'{path}/log.csv', Dialect()),
    'parquet': lambda path: row_files.names(f'{path}/log.parquet', Dialect()),
    'predictions': lambda path: predictions.read(
        f'{path}/log.parquet', ['user']),
}


@pytest.fixture(name='folder')
def _folder(tmp_path):
  np.save(tmp_path / 'user.npy', np.arange(3))
  for name in ('manifest.json', 'encoder.json'):
    (tmp_path / name).write_text('{}')
  (tmp_path / 'log.csv').write_text('user,click\n1,0\n')
  parquet.write_table(pa.table({'user': [1]}), tmp_path / 'log.parquet')
  return os.fspath(tmp_path)


@pytest.mark.parametrize('code', CODES)
@pytest.mark.parametrize('reader', READERS)
def test_what_cannot_be_read_is_not_damaged(
    reader, code, folder, monkeypatch
):
  number = getattr(errno, code)

  def refuse(path, *unused, **options):
    raise OSError(number, os.strerror(number), os.fspath(path))

  for owner, name in (
      (builtins, 'open'), (np, 'load'), (parquet, 'ParquetFile')):
    monkeypatch.setattr(owner, name, refuse)
  with pytest.raises(InputError) as e:
    READERS[reader](folder)
  monkeypatch.undo()
  text = str(e.value)
  assert f'(errno {number}, {code})' in text and folder in text
  for word in ('damaged', 'Delete', 'delete', 'Copy', 'Traceback'):
    assert word not in text
  advice = text.partition(f'{code}). ')[2]
  assert advice and '\n' not in text


@pytest.mark.parametrize('code', [
    'ENOSPC', 'EDQUOT', 'EFBIG', 'EROFS', 'ENOLCK', 'ENAMETOOLONG', 'EEXIST'])
def test_the_line_of_an_error(code):
  """With advice for each of them, and none that contradicts it."""
  number = getattr(errno, code)
  error = OSError(number, os.strerror(number), 'a', None, 'b')
  line = system_errors.line(error, 'Else.')
  words = f'{os.strerror(number)} (errno {number}, {code})'
  assert line.startswith(f'a -> b: {words}')
  assert not line.endswith('Else.') and line.endswith('.')
  bare = OSError(number, os.strerror(number))
  assert system_errors.line(bare) == line.removeprefix('a -> b: ')


def test_errors_without_advice():
  assert system_errors.told(OSError(errno.ECHILD, 'x'), 'Do it.') == (
      f'{os.strerror(errno.ECHILD)} (errno {errno.ECHILD}, ECHILD). Do it.')
  assert system_errors.told(OSError('odd\nlines'), 'Do it.') == 'odd Do it.'
  assert system_errors.told(ValueError()) == 'ValueError()'


@pytest.mark.parametrize('error, number', [
    (OSError(errno.EIO, 'x'), errno.EIO),
    (ValueError("RESOURCE_EXHAUSTED [os_error_code='28']"), errno.ENOSPC),
    (shutil.Error([('a', 'b', '[Errno 28] No space left on device')]), 28),
    (OSError('12000 requested and 3040 written'), None),
    (ValueError('x'), None),
])
def test_codes(error, number):
  assert system_errors.code_of(error) == number
  assert system_errors.refused(error) == (number is not None)
  assert not system_errors.refused(FileNotFoundError(errno.ENOENT, 'x'))


def test_naming():
  for error, name in (
      (OSError(errno.ENOSPC, 'x'), 'f'),
      (OSError(errno.ENOSPC, 'x', '/d/.f.abc.partial'), 'f'),
      (OSError(errno.ENOSPC, 'x', 'another'), 'another'),
      (OSError('no code'), None)):
    with pytest.raises(OSError) as e, system_errors.naming('f', '.partial'):
      raise error
    assert e.value.filename == name


@pytest.mark.parametrize('write', [
    lambda path: whole_files.write_text(path, 'x' * 5000),
    lambda path: whole_files.save_array(path, np.zeros(5000)),
], ids=['text', 'array'])
def test_a_file_for_which_there_is_no_room(write, tmp_path):
  """The error has the file's own name, and nothing is left behind."""
  import resource

  path = os.fspath(tmp_path / 'file')
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
  try:
    with pytest.raises(OSError, match='File too large') as e:
      write(path)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert e.value.filename == path
  assert [p for p in os.listdir(tmp_path) if p != 'file'] == []
  assert cli._of_system(e.value) == (
      f'{path}: File too large (errno 27, EFBIG). Make room, or raise the limit'
      ' on file sizes (ulimit -f). The same command resumes where it stopped.')


def test_save_array_is_numpys(tmp_path):
  for array in (np.arange(5), np.zeros((3, 2), np.float32), np.array(7),
                np.zeros(0, np.int8), np.asfortranarray(np.eye(3))):
    np.save(tmp_path / 'a.npy', array)
    whole_files.save_array(os.fspath(tmp_path / 'b.npy'), array)
    a, b = (pathlib.Path(tmp_path, n).read_bytes() for n in ('a.npy', 'b.npy'))
    assert a == b

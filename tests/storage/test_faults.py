"""What is tried again, and what is said; one object of a store."""

import hashlib

from esmm_jax import paths
from esmm_jax.storage import cache as copies
from esmm_jax.storage import faults, remote
from esmm_jax.types import InputError
import fsspec
import pytest

from tests.storage import stores


class NoCredentialsError(Exception):
  """As botocore calls it."""


class FileExpired(OSError):
  """As s3fs calls it."""


class Cut(Exception):
  """Of a library: not even an OSError."""


@pytest.mark.parametrize('times', [0, 1, faults.ATTEMPTS - 1])
def test_a_fault_that_passes(times, url, monkeypatch, capsys):
  remote.write(f'{url}/a', b'abc')
  failing = stores.Failing(monkeypatch, 'cat_file', Cut('half'), times)
  assert remote.read(f'{url}/a') == b'abc'
  assert failing.calls == times + 1
  assert capsys.readouterr().err.count('half. It is tried again') == times


def test_a_fault_that_stays(url, monkeypatch):
  failing = stores.Failing(monkeypatch, 'cat_file', Cut('half'), 99)
  with pytest.raises(faults.StoreError, match='/a: half. Look at the network'):
    remote.read(f'{url}/a')
  assert failing.calls == faults.ATTEMPTS


def test_after_a_while_nothing_is_tried_again(url, monkeypatch):
  """A library that has tried for a minute need not do so four times."""
  monkeypatch.setattr(faults, 'PATIENCE', -1.0)
  failing = stores.Failing(monkeypatch, 'cat_file', Cut('half'), 99)
  with pytest.raises(faults.StoreError):
    remote.read(f'{url}/a')
  assert failing.calls == 1


@pytest.mark.parametrize('error, words', [
    (PermissionError('Forbidden'), 'access is denied'),
    (NoCredentialsError('none'), 'access is denied'),
    (FileExpired('etag'), 'was changed while it was read'),
    (NotImplementedError(), 'its file system cannot do this')])
def test_what_does_not_pass_is_told_at_once(error, words, url, monkeypatch):
  failing = stores.Failing(monkeypatch, 'cat_file', error, 99)
  with pytest.raises(faults.StoreError, match=words):
    remote.read(f'{url}/a')
  assert failing.calls == 1


def test_a_full_disk_is_no_fault_of_the_store(url, monkeypatch):
  stores.Failing(monkeypatch, 'cat_file', OSError(28, 'full'), 99)
  with pytest.raises(OSError, match='full'):
    remote.read(f'{url}/a')


def test_secrets_are_not_told(monkeypatch):
  monkeypatch.setenv('AWS_SECRET_ACCESS_KEY', 'quite-secret')
  monkeypatch.setenv('SOME_TOKEN', 'a')  # Any text has it.
  text = faults.told(ValueError('a key quite-secret.\nmore'))
  assert text == 'a key ***.'


@pytest.mark.parametrize('name', [
    's3://user:word@bucket/a.csv', 's3://user:wo/rd@bucket/a.csv', 'https://u:p@host/a.csv',
    'https://host/a.csv?X-Amz-Signature=1234&b=c', 'https://host/a?sig=12',
    'abfs://x/a?access_token=abc', 'https://host/a.csv?Password='])
def test_urls_with_credentials(name):
  with pytest.raises(InputError, match='put credentials into') as e:
    paths.file_system(name)
  assert not any(word in str(e.value) for word in ('1234', ':p@', 'word@'))


@pytest.mark.parametrize('name', [
    'hdfs://user@host:9000/a', 'https://[::1]:80/a', 's3://bucket/a:b@c',
    'memory://a:b/c', 'https://host/a.csv?design=1', '/a:b@c/?sig=1'])
def test_urls_without(name):
  paths.refuse_credentials(name)


@pytest.mark.parametrize('protocol, words', [
    ('s3', r"pip install 'esmm_jax\[storage\]'"), ('abfs', 'adlfs')])
def test_a_package_that_is_not_installed(protocol, words, monkeypatch):
  def missing(path):
    raise ImportError('Install adlfs to access it')

  monkeypatch.setattr(fsspec, 'url_to_fs', missing)
  with pytest.raises(InputError, match=f'needs a package .*{words}'):
    paths.file_system(f'{protocol}://bucket/a.csv')


# One object.


def test_writing(url):
  assert remote.read(f'{url}/a') is None and remote.size(f'{url}/a') is None
  assert remote.write(f'{url}/a', b'abc', new=True)
  assert not remote.write(f'{url}/a', b'other', new=True)
  # A try whose answer was lost has done it.
  assert remote.write(f'{url}/a', b'abc', new=True)
  assert (remote.read(f'{url}/a'), remote.size(f'{url}/a')) == (b'abc', 3)
  assert remote.write(f'{url}/a', b'de') and remote.read(f'{url}/a') == b'de'
  remote.remove(f'{url}/a')
  remote.remove(f'{url}/a')
  assert remote.read(f'{url}/a') is None


def test_copying(url, tmp_path):
  (tmp_path / 'a').write_bytes(b'abc')
  remote.upload(str(tmp_path / 'a'), f'{url}/a')
  digest = hashlib.sha256(b'abc').hexdigest()
  remote.download(f'{url}/a', str(tmp_path / 'b'), 3, digest)
  assert (tmp_path / 'b').read_bytes() == b'abc'


@pytest.mark.parametrize('stored, words', [
    (b'abd', r'/a \(user.npy\): it is not as it was written, by its sha256'),
    (b'ab', r'2 bytes of 3 arrived')])
def test_wrong_bytes_are_refused_by_name(stored, words, url, tmp_path):
  remote.write(f'{url}/a', stored)
  digest = hashlib.sha256(b'abc').hexdigest()
  with pytest.raises(faults.StoreError, match=words):
    remote.download(f'{url}/a', str(tmp_path / 'b'), 3, digest, 'user.npy')
  assert list(tmp_path.iterdir()) == []


def test_a_file_system_with_folders(tmp_path):
  """A name is there with its last byte, here too."""
  (tmp_path / 'a').write_bytes(b'abc')
  url = f'local://{tmp_path}/new/folder/a'
  remote.upload(str(tmp_path / 'a'), url)
  assert (tmp_path / 'new' / 'folder' / 'a').read_bytes() == b'abc'
  assert [p.name for p in (tmp_path / 'new' / 'folder').iterdir()] == ['a']


def test_a_file_that_fails_while_it_is_read(url, monkeypatch):
  remote.write(f'{url}/a', b'abcdef')
  fs, name = paths.file_system(f'{url}/a')
  with fs.open(name, 'rb') as file:
    cls, calls = type(file), []
    read = cls.read

    def failing(self, size=-1):
      calls.append(self.tell())
      data = read(self, size)
      if len(calls) < 3:  # Half of it was read.
        raise Cut('half')
      return data

    monkeypatch.setattr(cls, 'read', failing)
    with faults.Patient(file, f'{url}/a') as patient:
      assert (patient.read(2), patient.read()) == (b'ab', b'cdef')
  assert calls == [0, 0, 0, 2]


def test_the_folder_of_a_url(url, cache, tmp_path):
  folder = copies.folder(url)
  assert folder.startswith(str(cache))
  assert copies.folder(url + '/') == folder != copies.folder(url + '2')
  assert copies.origin(f'{folder}/tabular/abc/1.0') == f'{url}/tabular/abc/1.0'
  assert copies.origin(str(tmp_path)) == ''


"""Prepared data on a store: what is copied, and when."""

import json

from esmm_jax.data.files import file_hashes
from esmm_jax.data.store import remote_data
from esmm_jax.storage import remote, snapshots
from esmm_jax.training import parts
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.storage import stores

ROWS = 200


@pytest.fixture(name='options')
def small_log(tmp_path):
  rng = np.random.default_rng(0)
  lines = [f'{rng.integers(20)},{rng.integers(9)},{k % 2},{k % 4 // 3}'
           for k in range(ROWS)]
  path = tmp_path / 'log.csv'
  path.write_text('\n'.join(['user,item,click,conversion', *lines]))
  return {'name': 'tabular', 'files': str(path), 'id': 'user,item'}


def columns(builder, split='train'):
  return {name: np.asarray(column) for name, column in
          builder.as_data_source(split).read(0, ROWS).items()}


def copied(folder):
  """The splits whose columns are in a folder."""
  return {path.parent.name.partition('.')[0].partition('-')[2]
          for path in folder.rglob('*.npy')}


def other_machine(monkeypatch, tmp_path):
  folder = tmp_path / 'other'
  monkeypatch.setenv('ESMM_JAX_CACHE', str(folder))
  return folder


def only_list(url):
  (path,) = [n for n in stores.names(url) if n.endswith('.esmm_jax.json')]
  return f'{url}/{path}'


def test_a_train_copies_the_splits_that_it_reads(
    options, url, tmp_path, monkeypatch):
  wanted = columns(parts.dataset(options, str(tmp_path / 'local')))
  parts.dataset(options, url)
  other = other_machine(monkeypatch, tmp_path)
  builder = parts.dataset(options, url)
  assert copied(other) == set()
  got = columns(builder)
  assert copied(other) == {'train'}
  assert wanted.keys() == got.keys()
  for name, column in wanted.items():
    np.testing.assert_array_equal(column, got[name])
  # Once: nothing but the list is asked for again.
  failing = stores.Failing(monkeypatch, 'get_file', OSError('asked'), 99)
  columns(parts.dataset(options, url))
  assert failing.calls == 0


def test_wrong_bytes_are_refused_by_name(options, url, tmp_path, monkeypatch):
  parts.dataset(options, url)
  other_machine(monkeypatch, tmp_path)
  content = json.loads(remote.read(only_list(url)))
  path, (size, digest) = next(
      (p, e) for p, e in content['files'].items() if p.endswith('click.npy'))
  at = only_list(url).replace('.esmm_jax.json', f'files/{digest}')
  remote.write(at, b'x' * size)
  with pytest.raises(InputError, match='click.npy.*not as it was written'):
    for split in ('train', 'valid', 'test'):
      columns(parts.dataset(options, url), split)
  assert path.endswith('click.npy')


def test_half_of_an_upload_is_nothing(options, url, tmp_path, monkeypatch):
  stores.Failing(monkeypatch, 'pipe_file', OSError('down'), 4)  # The list.
  with pytest.raises(InputError, match='down. Look at the network'):
    parts.dataset(options, url)
  assert len(stores.names(url)) > 5
  assert not any(n.endswith('.json') for n in stores.names(url))
  # Here the data are whole, and are copied; elsewhere they are prepared anew.
  here = columns(parts.dataset(options, url))
  remote.remove(only_list(url))
  other_machine(monkeypatch, tmp_path)
  there = columns(parts.dataset(options, url))
  assert only_list(url)
  for name, column in here.items():
    np.testing.assert_array_equal(column, there[name])


@pytest.mark.parametrize('same', [True, False])
def test_two_writers_at_once(same, options, url, monkeypatch):
  """The first list stays; the other writer's files are beside its own."""
  write = snapshots.write

  def other_first(snapshot, file_of, *more, **options):
    write(snapshot, file_of, *more, **options)
    if not same:
      where = only_list(url)
      content = json.loads(remote.read(where))
      files = dict(list(content['files'].items())[:-1])
      content |= {'files': files, 'sha256': snapshots.hash_json(files)}
      remote.write(where, json.dumps(content).encode())
    return write(snapshot, file_of, *more, **options)

  monkeypatch.setattr(snapshots, 'write', other_first)
  if same:
    columns(parts.dataset(options, url))
    return
  with pytest.raises(InputError, match='another process has put other data'):
    parts.dataset(options, url)


def test_data_that_were_replaced(options, url, tmp_path, monkeypatch):
  """A copy follows, and one that is open says so."""
  builder = parts.dataset(options, url)
  assert remote_data.shown(str(builder.data_path)).startswith(url)
  other_machine(monkeypatch, tmp_path)
  opened = parts.dataset(options, url)
  where = only_list(url)
  content = json.loads(remote.read(where))
  files = {p: e for p, e in content['files'].items() if 'click' not in p}
  content |= {'files': files, 'sha256': snapshots.hash_json(files)}
  remote.write(where, json.dumps(content).encode())
  with pytest.raises(InputError, match='was removed or replaced since'):
    columns(opened)
  assert 'click' not in columns(parts.data_builder(options, url))


@pytest.mark.parametrize('change, words', [
    (lambda c: c | {'sha256': 'x'}, 'is damaged .its checksum'),
    (lambda c: c | {'kind': 'run'}, 'holds a run, not a data set'),
    (lambda c: {}, "is damaged .'files'"),
    (lambda c: _with(c, '../../x'), 'a path leads out of the folder'),
    (lambda c: _with(c, '/x'), 'a path leads out of the folder')])
def test_lists_that_cannot_be(change, words, options, url):
  parts.dataset(options, url)
  where = only_list(url)
  content = change(json.loads(remote.read(where)))
  remote.write(where, json.dumps(content).encode())
  with pytest.raises(InputError, match=words):
    parts.dataset(options, url)


def _with(content, path):
  files = content['files'] | {path: [1, 'a']}
  return content | {'files': files, 'sha256': snapshots.hash_json(files)}


def test_a_folder_that_another_program_copied(
    options, url, tmp_path, monkeypatch):
  """Its files lie beside the list, under their own names."""
  local = tmp_path / 'local'
  wanted = columns(parts.dataset(options, str(local)))
  for path in local.rglob('*'):
    if path.is_file():
      remote.upload(str(path), f'{url}/{path.relative_to(local).as_posix()}')
  other = other_machine(monkeypatch, tmp_path)
  got = columns(parts.dataset(options, url))
  assert copied(other) == {'train'}
  np.testing.assert_array_equal(wanted['item'], got['item'])


def test_a_log_that_changes_while_it_is_read(url, tmp_path):
  remote.write(f'{url}/log.csv', b'abc')
  hashes = file_hashes.Hashes(str(tmp_path / 'prepared'))
  hashes.facts(f'{url}/log.csv')
  hashes.refuse_changed()
  remote.write(f'{url}/log.csv', b'abd')
  with pytest.raises(InputError, match='log.csv was changed while it was read'):
    hashes.refuse_changed()


@pytest.mark.parametrize('name', ['kuairand', 'ali_ccp'])
def test_raw_files_of_other_data_sets(name, tmp_path):
  options = {'name': name, 'raw_dir': 's3://bucket/raw'}
  with pytest.raises(
      InputError, match='^raw_dir=s3://bucket/raw is remote, and must be'):
    parts.dataset(options, str(tmp_path))

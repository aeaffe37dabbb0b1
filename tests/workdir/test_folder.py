"""A run's folder: never that of another config."""

import json
import os
import platform

from esmm_jax.json_files import write_json
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import claim, finished, flatten, record
from esmm_jax.workdir.folder import read_schema, versions
from ml_collections import config_dict
import pytest

from tests import toy as toys


def make(**changes):
  return record(tree(**changes))


def tree(**changes):
  config = config_dict.ConfigDict(
      dict(
          seed=0,
          learning_rate=1e-3,
          unset=config_dict.placeholder(float),
          model=dict(name='shared_embedding', tower_units=(360, 200, 80)),
      )
  )
  config.unlock()
  config.update_from_flattened_dict(changes)
  return config


@pytest.fixture
def folder(tmp_path):
  path = os.fspath(tmp_path / 'runs' / 'one')
  claim(make(), path)
  return path


def test_a_folder_that_is_not_there_or_empty(tmp_path):
  assert finished(make(), os.fspath(tmp_path / 'none')) is None
  assert finished(make(), os.fspath(tmp_path)) is None


def test_the_same_config(folder):
  """Unfinished, then finished; tuples and unset values survive JSON."""
  assert finished(make(), folder) is None
  write_json(os.path.join(folder, 'results.json'), {'test/ctr/auc': 0.7})
  assert finished(make(), folder) == {'test/ctr/auc': 0.7}
  claim(make(), folder)
  assert finished(make(), folder) == {'test/ctr/auc': 0.7}


@pytest.mark.parametrize(
    'changes, words',
    [
        ({'seed': 1}, ['seed is 1 here and 0 there']),
        ({'learning_rate': 0.01}, ['learning_rate is 0.01', '0.001 there']),
        ({'unset': 0.5}, ['unset is 0.5 here and absent there']),
        ({'model.name': 'mmoe'},
         ['model.name is mmoe here and shared_embedding there']),
        ({'model.tower_units': (360, 200)},
         ['model.tower_units is [360, 200] here and [360, 200, 80] there']),
        ({'new': 3}, ['new is 3 here and absent there']),
        ({'seed': 1, 'new': 3}, ['seed is 1', 'new is 3']),
    ],
)
def test_another_config_is_refused(folder, changes, words):
  """Finished or not; the message names what differs and nothing else."""
  for _ in range(2):
    with pytest.raises(InputError) as e:
      finished(make(**changes), folder)
    message = str(e.value)
    assert all(word in message for word in words), message
    assert f'--workdir={folder}' in message
    for key in {'seed', 'unset', 'new'} - set(changes):
      assert f'{key} is' not in message
    write_json(os.path.join(folder, 'results.json'), {})


def test_a_run_of_an_earlier_default(tmp_path):
  """The message says what to add; of another value it says nothing more."""
  for then, now, words in (
      (1, 4, 'Earlier versions had other defaults:'
             ' --config.evals_per_epoch=1 keeps them.'),
      (2, 4, 'Use another --workdir.'),
      (4, 1, 'Use another --workdir.'),
  ):
    folder = os.fspath(tmp_path / f'{then}-{now}')
    claim(make(evals_per_epoch=then), folder)
    with pytest.raises(InputError) as e:
      finished(make(evals_per_epoch=now), folder)
    assert str(e.value).endswith(words)


def test_a_key_that_is_gone(folder):
  config = tree()
  del config.model.name
  config = record(config)
  with pytest.raises(InputError, match='model.name is absent here and shared'):
    finished(config, folder)


def test_many_differences_are_counted(folder):
  changes = {f'key{k}': k for k in range(8)}
  with pytest.raises(InputError, match='key4 is 4.*; and 3 more') as e:
    finished(make(**changes), folder)
  assert 'key5' not in str(e.value)


@pytest.mark.parametrize('text', ['', '{"seed": 0', 'seed = 0'])
def test_config_that_is_not_json(folder, text):
  with open(os.path.join(folder, 'config.json'), 'w') as f:
    f.write(text)
  with pytest.raises(InputError, match='config.json is not JSON') as e:
    finished(make(), folder)
  assert folder in str(e.value) and 'another --workdir' in str(e.value)


def test_config_that_is_another_kind_of_json(folder):
  write_json(os.path.join(folder, 'config.json'), [1, 2])
  with pytest.raises(InputError, match='config.json is missing or damaged'):
    finished(make(), folder)


@pytest.mark.parametrize('where', ['', 'below'])
def test_a_file_in_the_way(tmp_path, where):
  (tmp_path / 'file').write_text('')
  path = os.path.join(tmp_path, 'file', where).rstrip('/')
  with pytest.raises(InputError, match=f'--workdir={path}: .* use another'):
    claim(make(), path)
  assert (tmp_path / 'file').read_text() == ''


def encoder(folder, text='{}', more=()):
  folder.mkdir(parents=True)
  for name in ('encoder.json', 'unseen.json', 'vocabulary-000.parquet', *more):
    (folder / name).write_text(text)
  return str(folder)


def test_an_encoder_is_copied_and_replaced(tmp_path):
  """It is replaced where it is another one, and else left as it is."""
  run, source = tmp_path / 'run', encoder(tmp_path / 'a' / 'encoder')
  claim(make(), str(run), encoder=source)
  (run / 'encoder' / '.DS_Store').write_text('x')
  before = (run / 'encoder').stat()
  claim(make(), str(run), encoder=source)
  after = (run / 'encoder').stat()
  assert (after.st_ino, after.st_mtime_ns) == (
      before.st_ino, before.st_mtime_ns)
  other = encoder(tmp_path / 'b' / 'encoder', '{"a": 1}', ('new.json',))
  claim(make(), str(run), encoder=other)
  for folder in (other, run / 'encoder'):
    assert sorted(os.listdir(folder)) == [
        'encoder.json', 'new.json', 'unseen.json', 'vocabulary-000.parquet']
  assert (run / 'encoder' / 'unseen.json').read_text() == '{"a": 1}'
  assert sorted(os.listdir(run)) == ['config.json', 'encoder']


def test_files_of_others_beside_an_encoder(tmp_path):
  run, source = tmp_path / 'run', encoder(tmp_path / 'a' / 'encoder')
  claim(make(), str(run), encoder=source)
  for name in ('thesis.tex', 'vocabulary.parquet', 'encoder.json.old'):
    (run / 'encoder' / name).write_text('mine')
    with pytest.raises(InputError, match=f'encoder/{name} was not made by'):
      claim(make(), str(run), encoder=source)
    assert (run / 'encoder' / name).read_text() == 'mine'
    os.remove(run / 'encoder' / name)


def test_a_folder_that_cannot_be_written(tmp_path):
  tmp_path.chmod(0o500)
  try:
    if os.access(tmp_path, os.W_OK):
      pytest.skip('modes do not stop this user (root)')
    with pytest.raises(InputError, match='Permission denied'):
      claim(make(), os.fspath(tmp_path / 'run'))
  finally:
    tmp_path.chmod(0o700)


def test_config_json_is_what_a_person_can_read(folder):
  with open(os.path.join(folder, 'config.json')) as f:
    assert json.load(f) == dict(
        seed=0,
        learning_rate=1e-3,
        model=dict(name='shared_embedding', tower_units=[360, 200, 80]),
    )


@pytest.mark.parametrize(
    'tree, flat',
    [({}, {}), ({'a': 1}, {'a': 1}),
     ({'a': {'b': {'c': 2}}, 'd': [1]}, {'a.b.c': 2, 'd': [1]})],
)
def test_flatten(tree, flat):
  assert flatten(tree) == flat


def test_versions():
  got = versions()
  assert got['python'] == platform.python_version()
  assert {'jax', 'flax', 'numpy'} < set(got)


def test_schema(tmp_path):
  assert read_schema(str(tmp_path)) is None  # Of an older version.
  path = tmp_path / 'schema.json'
  path.write_text(json.dumps(toys.SCHEMA.to_dict()))
  assert read_schema(str(tmp_path)) == toys.SCHEMA
  for text in ('{"fields": [{"nonsense": 1}]}', '{}', '[]'):
    path.write_text(text)
    with pytest.raises(InputError, match='schema.json is damaged .*Train'):
      read_schema(str(tmp_path))

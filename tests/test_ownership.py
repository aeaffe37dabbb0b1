"""Whose a folder is: every name of every kind, as a file, a folder, a link."""

import json
import os
import shutil

from esmm_jax import ownership
from esmm_jax.ownership import check, claim, is_ours
from esmm_jax.types import InputError
import pytest

KINDS = [
    ownership.RUN, ownership.GROUP, ownership.SWEEP, ownership.TABLE,
    ownership.DEMO, ownership.SCORES]
NAMES = [
    (kind, name.replace('[0-9]*', '00000-000000000000').replace('*', '-x'))
    for kind in KINDS for name in (*kind.files, *kind.folders)]
NAMES_IDS = [f'{kind.name}-{name}' for kind, name in NAMES]
every_name = pytest.mark.parametrize('kind, name', NAMES, ids=NAMES_IDS)
every_kind = pytest.mark.parametrize('kind', KINDS, ids=lambda k: k.name)


def tree(folder):
  return {
      p.relative_to(folder): p.is_file() and p.read_bytes()
      for p in folder.rglob('*')}


def refused(folder, kind, *words):
  """Nothing is changed by the refusal."""
  before = tree(folder)
  for use in (check, claim):
    with pytest.raises(InputError) as e:
      use(str(folder), kind, '--flag')
    message = str(e.value)
    assert message.startswith(f'--flag={folder}') and '\n' not in message
    for word in (*words, 'another folder'):
      assert word in message
    assert 'elete' not in message
  assert tree(folder) == before


@every_kind
def test_a_new_folder_is_marked(tmp_path, kind):
  folder = tmp_path / 'a' / 'b'
  check(str(folder), kind)
  assert not folder.exists()
  claim(str(folder), kind)
  assert os.listdir(folder) == ['.esmm_jax.json']
  marker = (folder / '.esmm_jax.json').read_text()
  assert json.loads(marker)['kind'] == kind.name
  claim(str(folder), kind)
  assert (folder / '.esmm_jax.json').read_text() == marker
  assert [k for k in KINDS if is_ours(str(folder), k)] == [kind]


@every_name
def test_what_is_somebody_elses_is_refused(tmp_path, kind, name):
  """A file; a folder that holds something."""
  (tmp_path / name).write_text('mine')
  refused(tmp_path, kind, str(tmp_path / name))
  os.remove(tmp_path / name)
  (tmp_path / name / 'more').mkdir(parents=True)
  refused(tmp_path, kind, str(tmp_path / name))


@every_name
def test_links_are_refused_in_our_folders_too(tmp_path, kind, name):
  """To a file, to a folder, to nothing; with a marker and without one."""
  folder, aim = tmp_path / 'run', tmp_path / 'aim'
  for make in (None, lambda: aim.write_text('mine'), aim.mkdir):
    if make:
      make()
    folder.mkdir()
    (folder / name).symlink_to(aim)
    refused(folder, kind, f'{folder / name} is a symbolic link')
    os.remove(folder / name)
    claim(str(folder), kind)
    (folder / name).symlink_to(aim)
    refused(folder, kind, f'{folder / name} is a symbolic link')
    shutil.rmtree(folder)
    if aim.is_file():
      os.remove(aim)


@every_name
def test_another_type_is_refused_in_our_folders_too(tmp_path, kind, name):
  claim(str(tmp_path), kind)
  if name in kind.folders:
    (tmp_path / name).write_text('mine')
    refused(tmp_path, kind, f'{tmp_path / name} is no folder')
  else:
    (tmp_path / name).mkdir()
    refused(tmp_path, kind, f'{tmp_path / name} is no file')
    os.rmdir(tmp_path / name)
    os.mkfifo(tmp_path / name)
    refused(tmp_path, kind, f'{tmp_path / name} is no file')


@every_kind
def test_other_names_do_not_matter(tmp_path, kind):
  """Nor empty folders of our names, say a mounted `tensorboard`."""
  (tmp_path / '.DS_Store').write_text('x')
  if not kind.holds_only:
    (tmp_path / 'thesis.tex').write_text('mine')
    (tmp_path / 'elsewhere').symlink_to('nowhere')
  for name in kind.folders:
    (tmp_path / name).mkdir()
    (tmp_path / name / '.DS_Store').write_text('x')
  before = tree(tmp_path)
  claim(str(tmp_path), kind)
  after = tree(tmp_path)
  assert set(after) - set(before) == {
      (tmp_path / '.esmm_jax.json').relative_to(tmp_path)}
  assert {p: after[p] for p in before} == before
  assert is_ours(str(tmp_path), kind)


@every_kind
def test_a_file_where_the_folder_should_be(tmp_path, kind):
  for path in (tmp_path / 'file', tmp_path / 'dangling'):
    (tmp_path / 'file').write_text('mine')
    if not path.exists():
      path.symlink_to('nothing')
    with pytest.raises(InputError, match='is no folder'):
      claim(str(path), kind)
  assert (tmp_path / 'file').read_text() == 'mine'


def test_a_link_to_a_folder(tmp_path):
  """One that a user names is followed, `FILE.parts` is not."""
  (tmp_path / 'disk').mkdir()
  (tmp_path / 'run').symlink_to('disk')
  with pytest.raises(InputError, match='or a symbolic link'):
    claim(str(tmp_path / 'run'), ownership.SCORES)
  claim(str(tmp_path / 'run'), ownership.RUN)
  assert is_ours(str(tmp_path / 'disk'), ownership.RUN)


def test_a_folder_of_parts_holds_nothing_else(tmp_path):
  (tmp_path / 'thesis.tex').write_text('mine')
  refused(tmp_path, ownership.SCORES, 'thesis.tex stands there')


@every_kind
def test_a_folder_of_another_kind(tmp_path, kind):
  claim(str(tmp_path), kind)
  for other in KINDS:
    if other != kind:
      refused(
          tmp_path, other,
          f'is the folder of a {kind.name}, not of a {other.name}')


CONFIG = {'dataset': {'name': 'tabular'}, 'model': {'name': 'ple'}, 'seed': 1}
ORIGIN = [{'command': 'python', 'commit': 'abc', 'device': '1 x cpu'}]
MANIFEST = {'config_sha256': 'ab', 'data': 'x, sha256 cd', 'versions': {}}
EARLIER = [
    (ownership.RUN, 'config.json', CONFIG),
    (ownership.RUN, 'manifest.json', MANIFEST),
    (ownership.RUN, 'origin.json', ORIGIN),
    (ownership.GROUP, 'checkpoints/12.seal.json', {}),
    (ownership.SWEEP, 'sweep.json', {'sweep': 's.py', 'points': []}),
    (ownership.SWEEP, 'runs/a/config.json', CONFIG),
    (ownership.DEMO, 'entire_space/config.json', CONFIG),
    (ownership.SCORES, 'job.json', {'run': {}, 'part_rows': 3}),
]


@pytest.mark.parametrize('kind, name, content', EARLIER)
def test_folders_of_earlier_versions(tmp_path, kind, name, content):
  """They are taken, and get a marker; all else in them stays."""
  (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / name).write_text(json.dumps(content))
  for more in ('results.json', 'sweep.json'):
    if more in kind.files and more != name:
      (tmp_path / more).write_text('torn {')
  before = tree(tmp_path)
  claim(str(tmp_path), kind)
  assert is_ours(str(tmp_path), kind)
  after = tree(tmp_path)
  assert {p: after[p] for p in before} == before


OTHERS = [
    (ownership.RUN, 'config.json', {'model_type': 'bert', 'hidden_size': 3}),
    (ownership.RUN, 'config.json', {'dataset': 'imagenet', 'model': 'vit'}),
    (ownership.RUN, 'config.json', [1]),
    (ownership.RUN, 'manifest.json', {'name': 'app', 'data': 1}),
    (ownership.RUN, 'origin.json', [{'command': 'x'}]),
    (ownership.RUN, 'origin.json', {'url': 'x'}),
    (ownership.RUN, 'origin.json', []),
    (ownership.SWEEP, 'sweep.json', {'program': 'train.py'}),
    (ownership.SWEEP, 'runs/a/config.json', {'lr': 1}),
    (ownership.SCORES, 'job.json', {'apiVersion': 'batch/v1'}),
    (ownership.GROUP, 'checkpoints/12/model.bin', {}),
    (ownership.DEMO, 'click_space/x', {}),
]


@pytest.mark.parametrize('kind, name, content', OTHERS)
def test_folders_of_other_programs(tmp_path, kind, name, content):
  (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
  (tmp_path / name).write_text(json.dumps(content))
  refused(tmp_path, kind, name.split('/')[0], 'has no .esmm_jax.json')


@pytest.mark.parametrize('text', ['', '{', '[]', '{"name": "theirs"}'])
def test_a_marker_that_says_nothing(tmp_path, text):
  """It is that of an earlier run, torn, or somebody else's file."""
  (tmp_path / '.esmm_jax.json').write_text(text)
  refused(tmp_path, ownership.RUN, '.esmm_jax.json stands there')
  (tmp_path / 'config.json').write_text(json.dumps(CONFIG))
  claim(str(tmp_path), ownership.RUN)
  marker = json.loads((tmp_path / '.esmm_jax.json').read_text())
  assert marker['kind'] == 'run'


def test_removing_leaves_what_is_not_ours(tmp_path):
  folder = tmp_path / 'group'
  claim(str(folder), ownership.GROUP)
  (folder / 'checkpoints' / '12').mkdir(parents=True)
  (folder / '.lock').write_text('')
  shutil.copytree(folder, tmp_path / 'other')
  ownership.remove(str(folder), ownership.GROUP)
  assert not folder.exists()
  folder = tmp_path / 'other'
  (folder / 'thesis.tex').write_text('mine')
  (tmp_path / 'link').symlink_to(folder)
  ownership.remove(str(tmp_path / 'link'), ownership.GROUP)
  assert (folder / 'checkpoints').exists()
  ownership.remove(str(folder), ownership.GROUP)
  assert os.listdir(folder) == ['thesis.tex']
  (folder / 'checkpoints').mkdir()
  ownership.remove(str(folder), ownership.GROUP)  # It has no marker any more.
  assert sorted(os.listdir(folder)) == ['checkpoints', 'thesis.tex']


def test_links_are_not_followed_by_a_removal(tmp_path):
  folder, aim = tmp_path / 'group', tmp_path / 'aim'
  claim(str(folder), ownership.GROUP)
  aim.mkdir()
  (aim / 'mine').write_text('mine')
  (folder / 'checkpoints').symlink_to(aim)
  ownership.remove(str(folder), ownership.GROUP)
  assert (aim / 'mine').exists() and (folder / 'checkpoints').is_symlink()

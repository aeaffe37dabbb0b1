"""A checkpoint that is not sound is set aside; strangers' files stay."""

import os
import shutil

from esmm_jax import checksums
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
import pytest

from tests.workdir import test_seals
from tests.workdir.test_seals import arrays, cut, files, flip, opened

whole, workdir = test_seals.whole, test_seals.workdir
STRAYS = ('.DS_Store', '._x', '.nfs0001', 'Thumbs.db', '.x.abcd.partial')


def save(folder, step):
  checkpoints = Checkpoints(str(folder))
  checkpoints.save(step, arrays(step), {})
  checkpoints.close()
  return set(os.listdir(folder / 'checkpoints'))


def contents(folder):
  return {
      p.relative_to(folder): p.read_bytes()
      for p in folder.rglob('*') if p.is_file()}


@pytest.mark.parametrize('name', STRAYS)
def test_files_that_are_nobodys_are_no_damage(workdir, name):
  """In both checkpoints, in a folder of one, and beside them."""
  places = [
      workdir / 'checkpoints', workdir / 'checkpoints' / '10',
      workdir / 'checkpoints' / '20', workdir / 'checkpoints' / '20' / 'tables']
  for place in places:
    (place / name).write_text('x')
  assert opened(workdir) == (20, 20.0, {'runs': [20]}, [])
  assert all((place / name).read_text() == 'x' for place in places)
  folder = str(workdir / 'checkpoints' / '20')
  checksums.seal(folder)
  assert not any(path.endswith(name) for path in checksums.read_seal(folder))


def test_a_stray_that_an_earlier_seal_lists(workdir):
  folder = workdir / 'checkpoints' / '20'
  sealed = checksums.read_seal(str(folder)) | {'.DS_Store': [1, 'abc']}
  checksums.write_json(f'{folder}.seal.json', sealed)
  assert opened(workdir)[0] == 20


@pytest.mark.parametrize('harm', [flip, cut, os.remove])
def test_a_damaged_one_is_whole_until_a_newer_one_is(workdir, harm):
  harm(files(workdir, 20)[3])
  whole = workdir / 'checkpoints' / '20'
  before = contents(whole)
  aside = workdir / 'checkpoints' / 'damaged'
  for _ in range(2):  # It is told once, and is there until a save.
    _, _, _, messages = opened(workdir)
    assert contents(aside / '20') == before
  assert not messages
  assert save(workdir, 20) == {'10', '10.seal.json', '20', '20.seal.json'}
  assert opened(workdir)[:2] == (20, 20.0)


def test_several_of_one_step(workdir):
  aside, step = workdir / 'checkpoints' / 'damaged', workdir / 'checkpoints/20'
  for number in ('20', '20-2', '20-3'):
    cut(files(workdir, 20)[0])
    assert f'damaged/{number}.' in opened(workdir)[3][0]
    shutil.copytree(aside / number, step)
    shutil.copy(aside / f'{number}.seal.json', f'{step}.seal.json')
  opened(workdir)
  assert len(os.listdir(aside)) == 8
  assert save(workdir, 30) == {'10', '10.seal.json', '30', '30.seal.json'}


def foreign_folder(path):
  path.mkdir()
  (path / 'mine.bin').write_text('mine')


def foreign_file(path):
  path.write_text('mine')


def foreign_link(path):
  path.symlink_to(path.parent.parent / 'elsewhere')
  foreign_folder(path.parent.parent / 'elsewhere')


def with_a_file(path):
  shutil.copytree(path.parent / '10', path)
  (path / 'mine.bin').write_text('mine')


def with_a_file_and_a_seal(path):
  shutil.copytree(path.parent / '10', path)
  shutil.copy(path.parent / '10.seal.json', f'{path}.seal.json')
  (path / 'tables' / 'mine.bin').write_text('mine')


@pytest.mark.parametrize('step', ['5', '1000', '0020'])
@pytest.mark.parametrize('make', [
    foreign_folder, foreign_file, foreign_link, with_a_file,
    with_a_file_and_a_seal])
def test_what_is_not_ours_is_never_removed(workdir, step, make):
  """Older and newer than the sound ones, by a run that saves three times."""
  make(workdir / 'checkpoints' / step)
  mine = {
      p.name for p in workdir.rglob('*')
      if p.is_file() and p.read_bytes() == b'mine'}
  assert len(mine) == 1
  step_now, value, _, messages = opened(workdir)
  assert (step_now, value) == (20, 20.0)
  # The seal of an older one is not compared before it is removed.
  looks = make is not with_a_file_and_a_seal or step != '5'
  assert [f'checkpoints/{step} is damaged' in m for m in messages] == (
      [True] * looks)
  for saved in (30, 40, 50):
    names = save(workdir, saved)
  left = [p for p in workdir.rglob('*') if p.is_file()]
  assert [p.name for p in left if p.read_bytes() == b'mine'] == list(mine)
  assert names == {
      '40', '40.seal.json', '50', '50.seal.json',
      *(['damaged'] if looks else ['5', '5.seal.json'])}
  assert opened(workdir)[:2] == (50, 50.0)


def test_seals_of_others_stay(workdir):
  other = workdir / 'checkpoints' / 'paper.seal.json'
  other.write_text('mine')
  save(workdir, 30)
  assert other.read_text() == 'mine'


def test_a_folder_that_cannot_be_set_aside(workdir):
  flip(files(workdir, 20)[0])
  aside = workdir / 'checkpoints' / 'damaged'
  aside.write_text('mine')
  with pytest.raises(InputError, match='damaged: File exists .*stands there'):
    Checkpoints(str(workdir))
  os.remove(aside)
  (workdir / 'aim').mkdir()
  aside.symlink_to(workdir / 'aim')
  with pytest.raises(InputError, match='damaged is a symbolic link'):
    Checkpoints(str(workdir))
  assert files(workdir, 20) and not os.listdir(workdir / 'aim')

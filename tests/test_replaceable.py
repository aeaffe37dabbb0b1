"""A file is replaced if its maker says so, or the user does."""

import os

from esmm_jax.replaceable import begins_with, require
from esmm_jax.types import InputError
import pytest


def test_a_new_file(tmp_path):
  require(str(tmp_path / 'new'))
  require(str(tmp_path / 'no' / 'new'))
  (tmp_path / 'file').write_text('mine')
  require(str(tmp_path / 'file' / 'below'))


def test_a_file_that_exists(tmp_path):
  path = tmp_path / 'f.csv'
  path.write_text('mine')
  with pytest.raises(InputError) as e:
    require(str(path), flag='--to')
  assert str(e.value) == (
      f'--to={path} exists. Name another file, or add --overwrite to replace'
      ' it.')
  ours = lambda path: begins_with(path, 'ours')
  with pytest.raises(InputError, match='exists, and this program has not made'):
    require(str(path), ours)
  require(str(path), ours, overwrite=True)
  require(str(path), overwrite=True)
  path.write_text(' ' * 4000 + 'ours')
  require(str(path), ours)
  path.write_text(' ' * 4096 + 'ours')
  with pytest.raises(InputError, match='has not made it'):
    require(str(path), ours)
  assert not begins_with(str(tmp_path / 'no'), '')


@pytest.mark.parametrize('overwrite', [False, True])
def test_what_is_no_file_is_never_replaced(tmp_path, overwrite):
  (tmp_path / 'file').write_text('mine')
  (tmp_path / 'folder').mkdir()
  (tmp_path / 'dangling').symlink_to(tmp_path / 'no')
  (tmp_path / 'link').symlink_to(tmp_path / 'file')
  os.mkfifo(tmp_path / 'pipe')
  for path, words in (
      (tmp_path / 'folder', 'is a folder'),
      (tmp_path / 'dangling', 'is a symbolic link'),
      (tmp_path / 'link', 'is a symbolic link'),
      (tmp_path / 'pipe', 'is no file that can be replaced'),
      ('/dev/null', 'is no file that can be replaced'),
  ):
    with pytest.raises(InputError, match=words):
      require(str(path), lambda _: True, overwrite)

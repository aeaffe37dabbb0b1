"""Files and folders that are written whole or not at all."""

import os
import stat

from esmm_jax.whole_files import is_stray, new_folder, replacing
import pytest


def test_replacing_in_steps(tmp_path):
  """The old file is there until the body has ended well."""
  path = tmp_path / 'a.bin'
  path.write_bytes(b'old')
  with pytest.raises(KeyError), replacing(os.fspath(path)) as temporary:
    with open(temporary, 'wb') as f:
      f.write(b'half')
    raise KeyError
  assert path.read_bytes() == b'old' and os.listdir(tmp_path) == ['a.bin']
  with replacing(os.fspath(path)) as temporary:
    with open(temporary, 'wb') as f:
      f.write(b'new')
    assert path.read_bytes() == b'old'
  assert path.read_bytes() == b'new' and os.listdir(tmp_path) == ['a.bin']


def test_rights_are_those_of_any_new_file(tmp_path):
  before = os.umask(0o027)
  try:
    with replacing(os.fspath(tmp_path / 'a')):
      pass
    with new_folder(os.fspath(tmp_path / 'b')):
      pass
  finally:
    os.umask(before)
  modes = [stat.S_IMODE((tmp_path / n).stat().st_mode) for n in 'ab']
  assert modes == [0o640, 0o750]


def test_no_symbolic_link_is_followed(tmp_path):
  (tmp_path / 'victim').write_text('precious')
  (tmp_path / 'a').symlink_to('victim')
  with replacing(os.fspath(tmp_path / 'a')) as temporary:
    with open(temporary, 'w', encoding='utf-8') as f:
      f.write('new')
  assert (tmp_path / 'victim').read_text() == 'precious'
  assert (tmp_path / 'a').read_text() == 'new'


def test_a_folder_appears_whole(tmp_path):
  path = os.fspath(tmp_path / 'set')
  with pytest.raises(KeyError), new_folder(path) as temporary:
    os.makedirs(os.path.join(temporary, 'in', 'it'))
    raise KeyError
  assert not os.listdir(tmp_path)
  with new_folder(path) as temporary:
    os.mkdir(os.path.join(temporary, 'a'))
    assert not os.path.exists(path)
  assert os.listdir(tmp_path) == ['set'] and os.listdir(path) == ['a']
  with pytest.raises(OSError), new_folder(path) as temporary:
    os.mkdir(os.path.join(temporary, 'b'))
  assert os.listdir(tmp_path) == ['set'] and os.listdir(path) == ['a']


def test_an_unfinished_file_is_stray(tmp_path):
  with replacing(os.fspath(tmp_path / 'a')) as temporary:
    assert is_stray(os.path.basename(temporary))
  assert not any(map(is_stray, ['a', 'a.partial', '.lock', '_METADATA']))
  strays = ['.DS_Store', '._x', '.nfs0001', 'Thumbs.db']
  assert all(map(is_stray, strays))

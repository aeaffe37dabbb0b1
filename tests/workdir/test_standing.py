"""A folder that is taken away from a run is noticed; a mere change is not."""

import os
import shutil

from esmm_jax import ownership
from esmm_jax.types import InputError
from esmm_jax.workdir.standing import Standing
from esmm_jax.workdir.writer import Writer
import pytest


@pytest.fixture
def folder(tmp_path):
  ownership.claim(str(tmp_path / 'run'), ownership.RUN)
  return tmp_path / 'run'


def moved(folder):
  folder.rename(folder.parent / 'moved')


def another(folder):
  moved(folder)
  ownership.claim(str(folder), ownership.RUN)


def empty(folder):
  moved(folder)
  folder.mkdir()


def parent_moved(folder):
  folder.parent.rename(f'{folder.parent}_moved')


def a_file(folder):
  shutil.rmtree(folder)
  folder.write_text('')


@pytest.mark.parametrize(
    'take', [shutil.rmtree, moved, another, empty, parent_moved, a_file])
def test_a_folder_that_is_gone(folder, take):
  standing = Standing()
  standing.add(str(folder))
  standing.check()
  take(folder)
  with pytest.raises(InputError) as e:
    standing.check()
  for part in (str(folder), 'removed, renamed or replaced', 'same command'):
    assert part in str(e.value)
  assert 'elete' not in str(e.value)


def test_a_folder_that_is_still_there(folder):
  """With other files, and under another number, as some disks give it."""
  standing = Standing()
  standing.add(str(folder))
  (folder / 'more').write_text('')
  standing.check()
  shutil.copytree(folder, folder.parent / 'copy')
  shutil.rmtree(folder)
  (folder.parent / 'copy').rename(folder)
  standing.check()


def test_metrics_that_are_gone(tmp_path):
  """Removed, renamed, replaced as an editor does it; not: written in place."""
  for number, take in enumerate((
      os.remove,
      lambda path: os.rename(path, f'{path}.old'),
      lambda path: (os.rename(path, f'{path}.old'),
                    shutil.copy(f'{path}.old', path)),
  )):
    folder = tmp_path / str(number)
    folder.mkdir()
    writer = Writer(str(folder), 0, 10, shows=False)
    writer.write(1, {'loss': 1.0})
    assert not writer.is_gone
    with open(folder / 'metrics.jsonl', 'a', encoding='utf-8') as f:
      f.write('\n')
    assert not writer.is_gone
    take(writer.path)
    writer.write(2, {'loss': 1.0})
    assert writer.is_gone
    writer.close()


@pytest.mark.parametrize('link', [os.link, os.symlink])
def test_what_metrics_are_linked_to_stays(tmp_path, link):
  """The writer begins a file of its own under the name."""
  (tmp_path / 'mine').write_text('mine')
  (tmp_path / 'run').mkdir()
  link(tmp_path / 'mine', tmp_path / 'run' / 'metrics.jsonl')
  writer = Writer(str(tmp_path / 'run'), 0, 10, shows=False)
  writer.write(1, {'loss': 1.0})
  writer.close()
  assert (tmp_path / 'mine').read_text() == 'mine'

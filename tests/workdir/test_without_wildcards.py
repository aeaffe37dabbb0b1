"""Folders whose names are patterns to libraries."""

import glob
import os

from esmm_jax import checksums
from esmm_jax.workdir import without_wildcards
from esmm_jax.workdir.checkpoint import Checkpoints
import jax.numpy as jnp
import pytest

NAMES = ['lr[0.1]', '[', 'a*', '?', 'x[!y]/run', '[[]1]', 'lr[1]/b*?']


@pytest.mark.parametrize('has_list', [True, False])
@pytest.mark.parametrize('name', NAMES)
def test_another_path(name, has_list, tmp_path, monkeypatch):
  """Through the list of opened files, and where the system has none."""
  if not has_list:
    monkeypatch.setattr(without_wildcards, '_OPENED', str(tmp_path / 'none'))
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path))
  folder = tmp_path / 'in' / name
  folder.mkdir(parents=True)
  (folder / 'file').write_text('text')
  before = sorted(os.listdir(tmp_path))
  opened = without_wildcards.Folder(str(folder))
  assert glob.escape(opened.path) == opened.path
  assert os.path.samefile(opened.path, folder)
  assert glob.glob(os.path.join(opened.path, 'f*'))
  opened.close()
  assert not os.path.exists(os.path.join(opened.path, 'file'))
  assert (folder / 'file').read_text() == 'text'
  assert sorted(os.listdir(tmp_path)) == before


def test_the_path_itself(tmp_path):
  assert without_wildcards.Folder(str(tmp_path)).path == str(tmp_path)
  assert without_wildcards.Folder('/no/such').path == '/no/such'


@pytest.mark.parametrize('name', ['lr[0.1]', 'x[!y]*?/run'])
def test_checkpoints(name, tmp_path):
  """Written, sealed, read, read only; nothing is left beside them."""
  workdir = str(tmp_path / name)
  arrays = {'table': jnp.ones((8, 2)), 'a': jnp.float32(1.5)}
  for step in (1, 2, 3):
    checkpoints = Checkpoints(workdir)
    checkpoints.save(step, arrays, {'runs': [step]})
    checkpoints.close()
  folder = os.path.join(workdir, 'checkpoints')
  assert sorted(os.listdir(folder)) == ['2', '2.seal.json', '3', '3.seal.json']
  assert not checksums.damage(os.path.join(folder, '3'))
  for read_only in (False, True):
    checkpoints = Checkpoints(workdir, read_only=read_only)
    found, position = checkpoints.restore(arrays)
    assert (float(found['a']), position) == (1.5, {'runs': [3]})
    assert checkpoints.restore_as_saved()['table'].sum() == 16
    checkpoints.close()

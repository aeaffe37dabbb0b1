"""A folder on a store in memory, and the folder of copies."""

import contextlib
import uuid

from esmm_jax.storage import faults
import fsspec
import pytest


@pytest.fixture(name='url')
def memory_url():
  """A folder of fsspec's memory, which is removed behind the test."""
  fs, url = fsspec.filesystem('memory'), f'memory://{uuid.uuid4().hex}'
  yield url
  with contextlib.suppress(FileNotFoundError):
    fs.rm(url.removeprefix('memory:/'), recursive=True)


@pytest.fixture(name='cache', autouse=True)
def cache_folder(tmp_path, monkeypatch):
  """The folder of copies; no attempt is waited for."""
  folder = tmp_path / 'cache'
  monkeypatch.setenv('ESMM_JAX_CACHE', str(folder))
  monkeypatch.setattr(faults, 'FIRST_WAIT', 0.0)
  return folder

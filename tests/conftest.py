"""What all tests share: the CPU, no deadlines, and the toy data set."""

import os
import pathlib

# Before jax is imported. The golden values are those of float32 products, which
# an accelerator may round further; name another platform to try one.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

from hypothesis import settings
import pytest

from tests.toy import Toy

# No test may fail because the machine is busy, or in one run of many.
settings.register_profile('esmm_jax', deadline=None, derandomize=True)
settings.load_profile('esmm_jax')


@pytest.fixture(scope='session')
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
  """The toy data set, prepared once. Its files are not to be changed."""
  return Toy(data_dir=tmp_path_factory.mktemp('data')).prepare()


@pytest.fixture
def root() -> pathlib.Path:
  """The repository."""
  return pathlib.Path(__file__).parent.parent

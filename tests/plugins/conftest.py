"""A package outside of the repository, and registries as they were before."""

import importlib
import sys

from esmm_jax import DATASETS, DIRECTIONS, ESTIMATORS, METRICS, MODELS
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.plugins import loading
from esmm_jax.plugins.registry import PLUGINS
import pytest

from tests.plugins import package

REGISTRIES = {
    'MODELS': MODELS, 'ESTIMATORS': ESTIMATORS, 'DATASETS': DATASETS,
    'METRICS': METRICS, 'REGRESSION_METRICS': REGRESSION_METRICS,
    'DIRECTIONS': DIRECTIONS,
}


def forget():
  """Makes this process one that has imported no plugin."""
  for registry in REGISTRIES.values():
    for name in list(registry):
      if registry.module(name):
        del registry[name]
  for module in list(PLUGINS.modules):
    for name in PLUGINS.modules[module]:
      sys.modules.pop(name, None)
    del PLUGINS.modules[module]
  PLUGINS.in_use = ()
  loading._failed.clear()
  importlib.invalidate_caches()


@pytest.fixture(autouse=True, scope='module')
def as_before():
  """Other tests see the parts of this project alone."""
  yield
  forget()


@pytest.fixture(scope='module')
def home(tmp_path_factory):
  """The folder of `package`, from which it can be imported."""
  folder = package.write(tmp_path_factory.mktemp('home'))
  with pytest.MonkeyPatch.context() as m:
    m.syspath_prepend(str(folder))
    yield folder


@pytest.fixture
def alone(tmp_path, monkeypatch):
  """A folder of modules of one test, which forgets them."""
  monkeypatch.syspath_prepend(str(tmp_path))
  before = set(sys.modules)
  forget()
  yield tmp_path
  forget()
  for name in set(sys.modules) - before:
    if str(tmp_path) in str(getattr(sys.modules[name], '__file__', '')):
      del sys.modules[name]

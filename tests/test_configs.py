"""Every config file in every variant is one that a run can be built from."""

import dataclasses
import glob
import importlib
import inspect
import os

from configs import common
from esmm_jax.build import call
from esmm_jax.data import DATASETS
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.models import MODELS
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FILES = [
    os.path.basename(f).removesuffix('.py')
    for f in sorted(glob.glob(os.path.join(ROOT, 'configs', '*.py')))
    if os.path.basename(f) not in ('__init__.py', 'common.py')
]
SPLITS = (
    'name', 'train_split', 'valid_split', 'test_split', 'fields', 'tasks')


@pytest.mark.parametrize('variant', common.VARIANTS)
@pytest.mark.parametrize('name', FILES)
def test_config(name, variant):
  module = importlib.import_module(f'configs.{name}')
  config = module.get_config(variant)
  assert config.model.name in MODELS
  attributes = {f.name for f in dataclasses.fields(MODELS[config.model.name])}
  assert set(config.model) - {'name', 'embed_dim'} <= attributes
  assert config.estimator in ESTIMATORS
  watched = (*FUNNEL, Task('play_time', 'play_time', 'ctr', 'regression'))
  terms = set().union(*(
      e.weights(tasks)
      for e in ESTIMATORS.values()
      for tasks in (FUNNEL, CART_FUNNEL, watched)))
  assert set(config.loss_weights) == terms
  cls = DATASETS[config.dataset.name]
  options = set(config.dataset) - set(SPLITS)
  parameters = inspect.signature(cls.from_options).parameters
  if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
    assert options <= set(parameters)
  assert config.is_type_safe and config.to_json_best_effort()


@pytest.mark.parametrize('name', FILES)
def test_config_says_how_to_run_it(name):
  doc = importlib.import_module(f'configs.{name}').__doc__
  assert f'python -m experiments.train --config=configs/{name}.py' in doc


@pytest.mark.parametrize('name', FILES)
def test_unknown_variant_is_refused(name):
  module = importlib.import_module(f'configs.{name}')
  with pytest.raises(ValueError, match="'smke'.*smoke"):
    module.get_config('smke')


def test_funnel_dials_are_all_in_the_config():
  from esmm_jax.data.funnel_config import FunnelConfig

  dials = {f.name for f in dataclasses.fields(FunnelConfig)}
  tfds_own = {
      'name', 'version', 'release_notes', 'supported_versions', 'description',
      'tags',
  }
  assert dials - tfds_own <= set(common.funnel())


def test_options_that_a_function_lacks_are_refused():
  def function(alpha=1, beta=2):
    return alpha, beta

  assert call(function, {'alpha': 5, 'beta': None}, 'section') == (5, 2)
  with pytest.raises(ValueError, match='section.alhpa.*alpha'):
    call(function, {'alhpa': 5}, 'section')

"""Every config file in every variant is one that a run can be built from."""

import dataclasses
import importlib
import inspect

from configs import common, esmm
from configs.tables import architectures, networks
from esmm_jax.data import DATASETS
from esmm_jax.data.ali_ccp.config import AliCcpConfig
from esmm_jax.data.kuairand.config import KuaiRandConfig
from esmm_jax.data.kuairand.features import declared_fields
from esmm_jax.data.simulator.config import simulator_config, SimulatorConfig
from esmm_jax.data.simulator.dataset import simulator_schema
from esmm_jax.data.store.options import option_names
from esmm_jax.estimators import ESTIMATORS
from esmm_jax.models import MODELS
from esmm_jax.schema import Schema
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
from esmm_jax.training import parts
from esmm_jax.training.settings import ModelOptions
from esmm_jax.types import InputError
from esmm_jax.workdir import folder
import jax
import jax.numpy as jnp
import pytest

from tests import toy
from tests.configs import config_fuzz

FILES = [name.removesuffix('.py') for name in config_fuzz.CONFIGS]
SPLITS = (
    'name', 'train_split', 'valid_split', 'test_split', 'fields', 'tasks')


def terms_of(estimator, tasks):
  """None where it refuses the tasks: some want CVR right after the click."""
  try:
    return estimator.weights(tasks)
  except InputError:
    return {}


@pytest.mark.parametrize('variant', common.VARIANTS)
@pytest.mark.parametrize('name', FILES)
def test_config(name, variant):
  module = importlib.import_module(f'configs.{name}')
  config = module.get_config(variant)
  assert config.model.name in MODELS
  attributes = {f.name for f in dataclasses.fields(MODELS[config.model.name])}
  own = {'name', 'embed_dim', 'vectors'}  # Of no architecture.
  assert set(config.model) - own <= attributes
  assert config.estimator in ESTIMATORS
  watched = (*FUNNEL, Task('play_time', 'play_time', 'ctr', 'regression'))
  terms = set().union(*(
      terms_of(e, tasks)
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


@pytest.mark.parametrize(
    'section, config_class, others',
    [
        (common.simulator, SimulatorConfig, {'preset'}),
        (common.kuairand, KuaiRandConfig, set()),
        (common.ali_ccp, AliCcpConfig, {'history_length'}),
    ],
)
def test_a_section_has_the_keys_of_its_dataclass(
    section, config_class, others
):
  """And no values: the defaults are those of the dataclass."""
  options = section()
  names = set(option_names(config_class)) | others
  # It changes neither the data nor the run; prepare_data takes it.
  names -= {'threads'}
  assert set(options) == names | {'name', *SPLITS}
  chosen = {n: options[n] for n in names - {'raw_dir', 'preset'}}
  assert chosen == dict.fromkeys(chosen)


def test_a_default_that_is_written_makes_no_other_run():
  """Configs of earlier versions wrote some of KuaiRand's."""
  defaults = folder.DATASET_DEFAULTS['kuairand']
  fields = {f.name: f.default for f in dataclasses.fields(KuaiRandConfig)}
  assert defaults == {f'dataset.{n}': fields[n] for n in (
      'conversion', 'history', 'history_form', 'play_time', 'test_days',
      'valid_days')}
  unset, written, other = (esmm.get_config('kuairand') for _ in range(3))
  written.update_from_flattened_dict(defaults)
  other.dataset.conversion = 'like'
  unset, written, other = (
      folder.decisive(folder.record(c)) for c in (unset, written, other))
  assert written == unset != other
  # A column of a user's log may have that name.
  mine = {'dataset': {'name': 'tabular', 'conversion': 'long_view'}}
  assert folder.decisive(mine)['dataset.conversion'] == 'long_view'


@pytest.mark.parametrize('variant, unset, written', [
    ('smoke', {}, {
        'selection.metric': 'valid/ctcvr/logloss', 'selection.mode': 'min'}),
    ('smoke', {'selection.metric': ''}, {'selection.mode': 'min'}),
    ('smoke', {'selection.metric': 'valid/ctr/auc'}, {'selection.mode': 'max'}),
    ('smoke', {'selection.metric': 'valid/ctr/ece'}, {'selection.mode': 'min'}),
    ('tabular', {'selection.patience': 3}, {
        'selection.metric': 'valid/ctcvr/logloss', 'selection.mode': 'min',
        'dataset.valid_share': 0.1, 'dataset.test_share': 0.1}),
])
def test_keys_that_earlier_versions_wrote(variant, unset, written):
  """Unset now, they make no other run; config.json holds what is set."""
  now, then, other = (esmm.get_config(variant) for _ in range(3))
  for config in (now, then, other):
    config.update_from_flattened_dict(unset)
  then.update_from_flattened_dict(written)
  end = {'max': 'min', 'min': 'max'}[written['selection.mode']]
  other.update_from_flattened_dict({**written, 'selection.mode': end})
  now, then, other = (folder.record(c) for c in (now, then, other))
  assert set(written) & set(folder.flatten(now)) == set()
  assert folder.decisive(now) == folder.decisive(then)
  assert folder.config_hash(now) == folder.config_hash(then)
  # A run that kept the worst by its AUC is another one.
  assert folder.decisive(now) != folder.decisive(other)


def test_options_that_a_function_lacks_are_refused():
  def function(alpha=1, beta=2):
    return alpha, beta

  assert parts.call(function, {'alpha': 5, 'beta': None}, 'section') == (5, 2)
  with pytest.raises(ValueError, match='section.alhpa.*alpha'):
    parts.call(function, {'alhpa': 5}, 'section')


# Parameters of the networks, embeddings not counted: on the funnel, KuaiRand.
NETWORK_PARAMS = {
    'adatt': (429_058, 402_490),
    'aitm': (411_202, 412_738),
    'aman': (385_522, 379_906),
    'base': (385_522, 379_906),
    'chorus': (385_522, 379_906),
    'dbmtl': (287_234, 244_482),
    'dcmt': (385_522, 379_906),
    'ddpo': (385_522, 379_906),
    'delayed': (385_522, 379_906),
    'division': (385_522, 379_906),
    'dr': (385_522, 379_906),
    'escm2': (447_498, 335_394),
    'escm2_dr': (447_498, 335_394),
    'esmm': (385_522, 379_906),
    'esmm_ns': (385_522, 379_906),
    'ips': (385_522, 379_906),
    'mmoe': (447_498, 335_394),
    'nise': (385_522, 379_906),
    'oversampling': (385_522, 379_906),
    'ple': (429_212, 403_434),
    'shared_bottom': (321_090, 334_210),
    'shared_embedding': (385_522, 379_906),
    'single_task': (385_522, 379_906),
    'stem': (375_560, 330_888),
    'ukd': (385_522, 379_906),
    'unbias': (385_522, 379_906),
}


def network_params(name, variant, **options):
  """Of a config's model on the fields of its data set."""
  config = importlib.import_module(f'configs.{name}').get_config(variant)
  config.model.update(options)
  if variant == 'kuairand':
    schema = Schema(declared_fields())
  else:
    schema = simulator_schema(simulator_config('default'))
  section = ModelOptions.read(config.model)
  model = parts.model(section.options, section.name, schema)
  batch = toy.random_batch(1, schema, num_rows=2)
  shapes = jax.eval_shape(
      model.init,
      jax.random.key(0),
      jnp.zeros((2, config.model.embed_dim * model.num_tables)),
      batch,
  )
  return sum(x.size for x in jax.tree.leaves(shapes['params']))


@pytest.mark.parametrize('k, variant', [(0, ''), (1, 'kuairand')])
@pytest.mark.parametrize('name', FILES)
def test_network_params(name, k, variant):
  assert network_params(name, variant) == NETWORK_PARAMS[name][k]


@pytest.mark.parametrize('name', networks.SMALL)
def test_small_networks_of_the_tables_are_of_a_size(name):
  """None has more than twice, or less than half, of single_task's."""
  (point,) = networks.network(name, '', small=True)
  options = {
      k.removeprefix('model.'): v
      for k, v in point.items()
      if k.startswith('model.')
  }
  single = dict(networks.SMALL['single_task'], embed_dim=8)
  reference = network_params('single_task', '', **single)
  assert 0.5 < network_params(name, '', **options) / reference < 2


@pytest.mark.parametrize('k, variant', [(0, ''), (1, 'kuairand')])
def test_the_matched_single_task_model_is_as_large_as_mmoe(k, variant):
  size = architectures.MATCHED_PARAMS[variant]
  assert size == NETWORK_PARAMS['mmoe'][k]
  got = network_params('single_task', variant, match_params=size)
  assert abs(got / size - 1) < 0.01

"""Keys that are set and that nothing reads are refused, and no others."""

import glob
import importlib
import os

from configs import common
from configs.tables import protocols
from esmm_jax import no_effect
from esmm_jax.embeddings import lookup
from esmm_jax.no_effect.objectives import WITHOUT_GRADIENTS
from esmm_jax.optim.network import OptimizerOptions
from esmm_jax.optim.tables import table_optimizer, TableOptions
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir import folder
from experiments import load
import jax.numpy as jnp
import numpy as np
import pytest

from tests import ROOT
from tests.configs import config_fuzz
from tests.serving import served
from tests.sweeps.unique import unique

FILES = [name.removesuffix('.py') for name in config_fuzz.CONFIGS]


def flat(config):
  return folder.flatten(folder.record(config))


def config_of(name, variant='', **changes):
  config = importlib.import_module(f'configs.{name}').get_config(variant)
  for key, value in changes.items():
    load.set_key(config, key, value)
  return config


NUMBERS = {'dataset.float': 'price', 'dataset.files': 'a.csv'}
PARQUET = {'dataset.files': 'a.parquet', 'dataset.id': 'user'}
SPLIT = {'dataset.test_split': ''}
# Config, variant, what makes the key idle, the key and value, the other key.
IDLE = [
    ('esmm', '', {}, 'optimizer.momentum', 0.9, "optimizer.name is 'adam'"),
    ('esmm', '', {}, 'optimizer.initial_accumulator', 0.2, 'optimizer.name'),
    ('esmm', '', {'optimizer.name': 'sgd'}, 'optimizer.b1', 0.8, 'only adam'),
    ('esmm', '', {'optimizer.name': 'sgd'}, 'optimizer.eps', 1e-6, "'sgd'"),
    ('esmm', '', {'optimizer.name': 'adagrad', 'table_optimizer': 'sgd'},
     'optimizer.b2', 0.9, "table_optimizer 'sgd'"),
    ('esmm', '', {}, 'schedule.end_factor', 0.5, 'schedule.name'),
    ('esmm', '', {}, 'non_finite_ceiling', 5, "non_finite is 'stop'"),
    ('esmm', '', SPLIT, 'common_ctr', '.', 'dataset.test_split'),
    ('esmm', '', SPLIT, 'run.save_predictions', True, 'dataset.test_split'),
    ('esmm', '', {}, 'sampling.unclicked_rate', 0.1, 'loss_weights.cvr_clic'),
    ('esmm', '', {}, 'sampling.conversion_copies', 5.0, 'by default with'),
    ('base', '', {'loss_weights.cvr_clicked': 0.0}, 'sampling.unclicked_rate',
     0.1, 'loss_weights.cvr_clicked is 0, and'),
    ('esmm', '', {}, 'estimator_options.cvr_normalization', 'impressions',
     "estimator='entire_space'"),
    ('dr', '', {}, 'estimator_options.dr_mse_gamma', 0.3,
     "imputation is 'dr_jl', and only 'dr_mse' mixes"),
    ('dr', '', {'estimator_options.imputation': 'mrdr'},
     'estimator_options.dr_mse_gamma', 0.3, "is 'mrdr', and only"),
    ('dr', '', {'loss_weights.imputation': 0.0},
     'estimator_options.imputation', 'mrdr', 'loss_weights.imputation is 0'),
    ('ddpo', '', {}, 'estimator_options.uncertainty_ratio', 5.0,
     "unclicked_weight is 'inverse', not 'uncertainty'"),
    ('ddpo', '', {}, 'loss_weights.second_student', 0.5, 'unclicked_weight'),
    ('ddpo', '', {}, 'loss_weights.disagreement', 0.5, 'unclicked_weight'),
    ('ukd', '', {'estimator_options.teacher': 'truth'}, 'loss_weights.teacher',
     0.7, "teacher is 'truth', not 'click_head'"),
    ('esmm', '', {}, 'model.cross_rank', 4, 'model.cross_layers'),
    ('dbmtl', '', {}, 'model.gate_dropout', 0.1, 'model.num_experts'),
    ('mmoe', '', {'model.num_experts': 1}, 'model.gate_dropout', 0.1,
     'model.num_experts is 1'),
    ('esmm', '', {'model.tower_units': ()}, 'model.dropout', 0.1,
     'model.tower_units'),
    ('esmm', '', {'model.tower_units': ()}, 'model.norm', 'layer', 'hidden'),
    ('esmm', '', {'model.tower_units': ()}, 'model.dtype', 'bfloat16',
     'hidden'),
    ('esmm', '', {'model.tower_units': ()}, 'model.activation', 'gelu',
     'hidden'),
    ('esmm', 'kuairand', {}, 'dataset.history_form', 'float',
     'dataset.history is'),
    ('esmm', 'kuairand', {}, 'dataset.history_strength', 2.0, 'history is'),
    ('esmm', 'kuairand', {}, 'dataset.history_live', True, 'history is'),
    ('esmm', 'ali_ccp', {'dataset.preset': 'aitm18'}, 'dataset.weight_dtype',
     'float32', 'dataset.preset'),
    ('esmm', 'ali_ccp', {'dataset.preset': 'aitm18'}, 'dataset.history_length',
     7, 'dataset.preset'),
    ('esmm', '', {'dataset.candidates': 1}, 'dataset.policy', 0.5,
     'dataset.candidates'),
    ('esmm', 'tabular', NUMBERS, 'dataset.min_count', 9, 'dataset.id'),
    ('esmm', 'tabular', NUMBERS, 'table_optimizer', 'sgd', 'dataset.id'),
    ('esmm', 'tabular', NUMBERS, 'embedding_l2', 0.1, 'dataset.id'),
    ('esmm', 'tabular', NUMBERS, 'embed_init_scale', 0.1, 'dataset.id'),
    ('esmm', 'tabular', NUMBERS, 'table_moments', 'bfloat16', 'dataset.id'),
    ('esmm', 'tabular', {'dataset.conversion': '', 'dataset.files': 'a.csv'},
     'dataset.conversion_without_click', 'drop', 'dataset.conversion'),
    ('esmm', 'tabular', {'dataset.conversion': '', 'dataset.files': 'a.csv'},
     'dataset.unknown_conversion', 'zero', 'dataset.conversion'),
    ('esmm', 'tabular', {**PARQUET, 'dataset.files': 'part-0',
                         'dataset.format': 'parquet'},
     'dataset.quote', 'x', "dataset.format is 'parquet'"),
    *(('esmm', 'tabular', PARQUET, f'dataset.{key}', 'x', 'dataset.files')
      for key in ('separator', 'header', 'encoding', 'null_values', 'quote')),
    # Of weights 1 / max(p, floor, 1 / cap).
    ('ips', '', {}, 'estimator_options.weight_cap', 500.0,
     'propensity_floor is 0.01, so no weight is above 100'),
    ('ips', 'kuairand', {}, 'estimator_options.weight_cap', 15.0,
     'propensity_floor is 0.1'),
    ('ips', '', {'estimator_options.weight_cap': 5.0},
     'estimator_options.propensity_floor', 0.05, 'weight_cap is 5, which is'),
    *(('escm2', '', {'estimator_options.propensity': 'none'},
       f'estimator_options.{key}', value, "propensity is 'none'")
      for key, value in (
          ('propensity_floor', 0.2), ('weight_cap', 20.0),
          ('warmup_steps', 9.0))),
    *((name, '', {'loss_weights.cvr_clicked': 0.0},
       f'estimator_options.{key}', value, 'loss_weights.cvr_clicked is 0')
      for name in ('ips', 'escm2') for key, value in (
          ('propensity', 'true'), ('normalization', 'self'),
          ('propensity_floor', 0.2), ('weight_cap', 20.0),
          ('warmup_steps', 9.0))),
    # Options that terms of weight 0 alone read.
    *((name, '', {f'loss_weights.{term}': 0.0 for term in terms.split()},
       f'estimator_options.{key}', value, f'loss_weights.{terms.split()[0]}')
      for name, terms, options in (
          ('unbias', 'cvr_clicked', {
              'form': 'weighting', 'propensity_floor': 0.3}),
          ('nise', 'cvr_entire', {'stop_label': True, 'alpha': 2.0,
                                  'beta': 2.0}),
          ('dcmt', 'cvr_clicked cvr_counterfactual', {
              'propensity': 'true', 'propensity_floor': 0.3}),
          ('chorus', 'cvr_clicked no_conversion_clicked alignment', {
              'propensity': 'true', 'propensity_floor': 0.3}),
          ('ddpo', 'cvr_entire', {
              'propensity': 'true', 'propensity_floor': 0.3, 'gamma': 2.0}),
          ('dr', 'cvr_entire imputation', {
              'propensity': 'true', 'propensity_floor': 0.3,
              'weight_cap': 2.0}))
      for key, value in options.items()),
    *(('ddpo', '', {'estimator_options.gamma': 0.0},
       f'estimator_options.{key}', value, 'gamma is 0')
      for key, value in (('teacher', 'truth'), ('unclicked_weight', 'one'))),
    ('dr', '', {'estimator': 'stable_dr'}, 'loss_weights.mean_guess', 1.0,
     'trains nothing'),
    *(('esmm', '', {}, f'balancing.{key}', value, "balancing.name is 'static'")
      for key, value in (
          ('gram', 'representation'), ('parts', 'each'), ('towers', 'own'))),
    *(('esmm', '', {'balancing.name': 'replay', 'balancing.of': '../run'},
       f'balancing.{key}', value, 'that of the run balancing.of')
      for key, value in (('parts', 'each'), ('towers', 'own'))),
    *(('esmm', '', {'balancing.name': name}, 'balancing.gram', 'representation',
       f'{name!r}, which compares no gradients')
      for name in sorted(WITHOUT_GRADIENTS)),
    *(('esmm', '', {'balancing.measure': True}, f'balancing.{key}', value,
       "'static', whose weights are those of loss_weights")
      for key, value in (('parts', 'each'), ('towers', 'own'))),
]


@pytest.mark.parametrize('name, variant, changes, key, value, other', IDLE)
def test_what_has_no_effect(name, variant, changes, key, value, other):
  quiet = config_of(name, variant, **changes)
  no_effect.check(flat(quiet))
  config = config_of(name, variant, **changes, **{key: value})
  for file in (None, flat(quiet)):
    with pytest.raises(InputError) as e:
      no_effect.check(flat(config), file)
    said = str(e.value)
    assert said.startswith(f'{key} is {value!r}, which has no effect: ')
    assert other in said and '\n' not in said


def test_terms_of_static_weights():
  config = config_of('esmm', **{'balancing.terms': ('ctr', 'ctcvr')})
  with pytest.raises(InputError, match='and nothing is measured'):
    no_effect.check(flat(config))


# Of these a config of this project may set any value, so that only what the
# command line changes is refused.
TYPED = [
    ('esmm', '', {'selection.metric': ''}, 'selection.mode', 'max'),
    ('dbmtl', '', {}, 'model.expert_units', (5,)),
    ('esmm', '', {}, 'model.group_units', (5,)),
    ('esmm', 'tabular', NUMBERS, 'model.embed_dim', 7),
    ('esmm', '', {'optimizer.name': 'sgd'}, 'optimizer.b1', 0.0),
    ('esmm', '', {}, 'schedule.end_factor', 1.0),
    ('esmm', '', {'model.tower_units': ()}, 'model.dropout', 0.2),
]


@pytest.mark.parametrize('name, variant, changes, key, value', TYPED)
def test_what_was_typed(name, variant, changes, key, value):
  config = flat(config_of(name, variant, **changes, **{key: value}))
  no_effect.check(config)
  no_effect.check(config, config)
  file = flat(config_of(name, variant))
  with pytest.raises(InputError, match=f'{key} is .* which has no effect'):
    no_effect.check(config, file)


ACTIVE = [
    ('esmm', 'tabular', {'dataset.files': 'a.parquet', 'dataset.id': 'user',
                         'dataset.format': 'csv', 'dataset.separator': ';'}),
    ('esmm', '', {'optimizer.name': 'sgd', 'optimizer.momentum': 0.9}),
    ('esmm', '', {'table_optimizer': 'sgd', 'optimizer.momentum': 0.9}),
    ('esmm', '', {'table_optimizer': 'rowwise_adagrad',
                  'optimizer.initial_accumulator': 0.5}),
    ('esmm', '', {'schedule.name': 'cosine', 'schedule.end_factor': 0.5}),
    ('esmm', '', {'non_finite': 'skip', 'non_finite_ceiling': 5}),
    ('esmm', '', {'loss_weights.cvr_clicked': 0.5,
                  'sampling.unclicked_rate': 0.1,
                  'estimator_options.cvr_normalization': 'impressions'}),
    ('base', '', {'sampling.conversion_copies': 5.0,
                  'estimator_options.cvr_normalization': 'impressions'}),
    ('ips', '', {'estimator_options.weight_cap': 15.0}),
    ('ips', '', {'estimator_options.weight_cap': 100.0}),
    ('ips', '', {'estimator_options.weight_cap': 500.0,
                 'estimator_options.propensity_floor': 0.002}),
    ('ips', '', {'estimator_options.weight_cap': 15.0,
                 'estimator_options.propensity_floor': 1e-6}),
    ('escm2', '', {'estimator_options.propensity': 'none',
                   'estimator_options.normalization': 'clicks'}),
    ('dcmt', '', {'loss_weights.cvr_counterfactual': 0.0,
                  'estimator_options.propensity_floor': 0.3}),
    ('esmm', '', {'model.cross_layers': 1, 'model.cross_rank': 2}),
    # Numbers have vectors then.
    ('esmm', 'tabular', {**NUMBERS, 'model.interaction': 'fm',
                         'model.embed_dim': 5}),
    ('esmm', 'tabular', {
        'dataset.id': 'item', 'dataset.files': 'a.csv',
        'dataset.ids': 'past:combiner=attention:target=item',
        'model.attention_units': (8,), 'model.tower_units': (),
        'model.dtype': 'bfloat16'}),
    ('dbmtl', '', {'model.num_experts': 2, 'model.gate_dropout': 0.1}),
    ('aitm', '', {'model.tower_units': (), 'model.dropout': 0.1}),
    ('ple', '', {'model.tower_units': (), 'model.dropout': 0.1}),
    ('esmm', 'kuairand', {'optimizer.name': 'adagrad'}),
    ('esmm', 'kuairand', {'model.tower_units': (), 'selection.metric': ''}),
    ('esmm', 'kuairand_history', {'dataset.history_form': 'float'}),
    ('esmm', 'tabular', {'dataset.files': 'a.parquet,b.csv',
                         'dataset.separator': ';', 'dataset.ids': 'tags',
                         'dataset.min_count': 7}),
    ('esmm', 'tabular', {
        'dataset.labels': 'like:after=click', 'dataset.conversion': '',
        'dataset.unknown_conversion': 'zero', 'dataset.files': 'a.csv'}),
    # Parameters of a single task need the gradients apart.
    ('esmm', '', {'balancing.name': 'random', 'balancing.towers': 'own',
                  'balancing.gram': 'representation'}),
    ('esmm', '', {'balancing.name': 'dwa', 'balancing.measure': True,
                  'balancing.gram': 'representation'}),
    ('esmm', '', {'balancing.name': 'pcgrad', 'balancing.parts': 'each',
                  'balancing.gram': 'representation'}),
    ('esmm', '', {'balancing.measure': True,
                  'balancing.terms': ('ctr', 'ctcvr')}),
]


@pytest.mark.parametrize('name, variant, changes', ACTIVE)
def test_what_has_an_effect(name, variant, changes):
  config = flat(config_of(name, variant, **changes))
  no_effect.check(config)
  no_effect.check(config, flat(config_of(name, variant)))


@pytest.mark.parametrize('variant, changes', [
    ('', {}),
    ('tabular', {'dataset.ids': 'a:combiner=sum', 'dataset.files': 'a.csv'})])
def test_units_of_no_attention(variant, changes):
  config = config_of('esmm', variant, **changes)
  no_effect.check(flat(config))
  config.model.attention_units = (8,)
  with pytest.raises(InputError, match='no column .* has combiner=attention'):
    no_effect.check(flat(config))


@pytest.mark.parametrize('key, value, other', [
    ('optimizer.momentum', 0.9, {'optimizer.name': 'adam'}),
    ('optimizer.b1', 0.5, {'optimizer.name': 'sgd'}),
    ('schedule.end_factor', 0.5, {'schedule.name': 'constant'}),
    ('sampling.unclicked_rate', 0.5, {'estimator': 'entire_space'}),
    ('model.cross_rank', 3, {'model.cross_layers': 0})])
def test_another_key_makes_a_key_of_the_file_idle(key, value, other):
  """It was not asked for; a file that disagrees with itself is refused."""
  active = {
      'optimizer.name': 'adam' if key.endswith('b1') else 'sgd',
      'schedule.name': 'cosine', 'estimator': 'click_space',
      'model.cross_layers': 1}
  file = flat(config_of('base', '', **active, **{key: value}))
  changed = flat(config_of('base', '', **{**active, **other}, **{key: value}))
  no_effect.check(changed, file)
  for where in (None, changed):
    with pytest.raises(InputError, match=f'{key} .*Leave {key} at its default'):
      no_effect.check(changed, where)


def test_a_key_that_only_some_points_read():
  points = [
      flat(config_of('esmm', '', **{
          'optimizer.name': name, 'optimizer.momentum': momentum}))
      for name in ('adam', 'sgd') for momentum in (0.0, 0.9)]
  read = no_effect.anywhere(points)
  assert ('optimizer.momentum', '0.9') in read
  for point in points:
    no_effect.check(point, elsewhere=read)
  other = flat(config_of('esmm', '', **{'optimizer.momentum': 0.8}))
  for elsewhere in ((), read, no_effect.anywhere([other])):
    with pytest.raises(InputError, match='optimizer.momentum is 0.8'):
      no_effect.check(other, elsewhere=elsewhere)


@pytest.mark.parametrize('key, value', [
    ('dataset.files', ('a', 'b')), ('dataset.labels', 3), ('dataset.id', ['a']),
    ('model.num_experts', None), ('model.num_experts', 'x'),
    ('optimizer.name', ['adam']), ('table_optimizer', 7),
    ('estimator', ['ips'])])
def test_values_of_a_wrong_type_are_refused_elsewhere(key, value):
  config = config_of('mmoe', 'tabular', **{'dataset.id': 'user'})
  config = flat(config) | {key: value}
  no_effect.check(config, config)
  assert not no_effect.anywhere([config, config])


@pytest.mark.parametrize('name', FILES)
def test_configs_of_the_project(name):
  for variant in common.VARIANTS:
    config = flat(config_of(name, variant))
    no_effect.check(config)
    no_effect.check(config, config)


TABLES = [
    p for p in sorted(glob.glob(f'{ROOT}/configs/tables/*.py'))
    if os.path.basename(p) not in (
        '__init__.py', 'methods.py', 'networks.py')]


@pytest.mark.slow
@pytest.mark.parametrize('path', TABLES)
def test_tables_of_the_project(path):
  variants = ('', 'smoke')
  if path.endswith('protocols.py'):
    variants = protocols.VARIANTS
  for variant in variants:
    points = load.table(f'{path}:{variant}').points
    for point in unique(points):  # No seed makes a key idle.
      no_effect.check(flat(load.point(point)))


@pytest.mark.parametrize('name', no_effect.OPTIMIZER_KEYS)
def test_keys_that_optimizers_read(name):
  """Those that change an update, and no other."""
  grads = jnp.array([[[0.3, -2.0]], [[1e-9, 0.1]]])
  rows = jnp.arange(2)

  def updates(**options):
    tx = table_optimizer(
        TableOptions(table_optimizer=name), OptimizerOptions(**options), 1)
    table = jnp.ones((2, 1, 2))
    state, found = tx.init(table), []
    for _ in range(3):
      direction, state = tx.update(
          grads, state, lookup.gather_rows(table, rows), rows, 2)
      found.append(np.asarray(direction))
    return np.stack(found)

  plain = updates()
  for key, value in dict(
      b1=0.5, b2=0.5, eps=0.1, initial_accumulator=3.0, momentum=0.5).items():
    changes = not np.array_equal(updates(**{key: value}), plain)
    assert changes == (key in no_effect.OPTIMIZER_KEYS[name]), key


def test_a_new_run_is_refused_and_an_old_one_is_not(tmp_path):
  run, data = str(tmp_path / 'run'), str(tmp_path / 'data')
  config = served.small_config(**{
      'optimizer.momentum': 0.5, 'save_predictions': False})
  with pytest.raises(InputError, match='optimizer.momentum is 0.5, which has'):
    train_and_evaluate(config, run, data)
  assert not os.path.exists(run)
  # As an earlier version left it, finished.
  folder.claim(folder.record(config), run)
  with open(os.path.join(run, 'results.json'), 'w', encoding='utf-8') as f:
    f.write('{"steps": 5}')
  assert train_and_evaluate(config, run, data) == {'steps': 5}

"""The settings of a run: each key of a config is read and checked."""

import math

from esmm_jax.training.settings import RunOptions, Settings
from esmm_jax.types import InputError
from esmm_jax.workdir import folder
from experiments import load
from hypothesis import given, settings, strategies as st
import pytest

from tests.configs import config_fuzz


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def smoke():
  return config_fuzz.config('esmm.py')


def test_every_config_is_read():
  for name in config_fuzz.CONFIGS:
    config = config_fuzz.config(name)
    read = Settings.read(config)
    assert read.training.batch_size == config.batch_size == 512
    assert read.run.eval_batch_size == config.run.eval_batch_size == 512
    assert read.model.name == config.model.name
    assert read.objective.estimator == config.estimator


def test_defaults_are_those_of_the_configs():
  """A default stands in the dataclass and in configs/common.py: the same."""
  config = load.config('configs/esmm.py').to_dict()
  read = Settings.read({k: config[k] for k in (
      'model', 'dataset', 'estimator')})
  assert read == Settings.read(config)


def test_the_keys_of_the_machine():
  assert tuple(RunOptions.names()) == folder.MACHINE_KEYS
  config = smoke()
  assert tuple(sorted(config.run)) == tuple(sorted(folder.MACHINE_KEYS))


def test_the_keys_of_the_machine_may_stand_at_the_top():
  config = smoke()
  config.log_every, config.save_predictions = 7, True
  config.mesh = dict(replicas=1, data=2, rows=3)
  read = Settings.read(config).run
  assert (read.log_every, read.save_predictions) == (7, True)
  assert (read.mesh.data, read.mesh.rows) == (2, 3)
  assert read.eval_batch_size == 512
  record = folder.record(config)
  assert record['run']['log_every'] == 7 and 'log_every' not in record


def test_they_are_no_part_of_a_run():
  one, other = smoke(), smoke()
  other.run.update(dict(
      log_every=7, eval_batch_size=64, save_predictions=True,
      memory_limit_gb=8.0, micro_batches=2, device_resident='off'))
  other.run.mesh.rows = 4
  one, other = folder.record(one), folder.record(other)
  assert one != other and folder.decisive(one) == folder.decisive(other)
  assert folder.config_hash(one) == folder.config_hash(other)


@pytest.mark.parametrize('key, value, words', [
    ('learning_rate', 0.0, 'learning_rate is 0.0; .* a number in \\(0, 1e'),
    ('log_every', 0, 'run.log_every is 0; .* a whole number in \\[1, 21474836'),
    ('mesh.rows', 0, 'mesh.rows is 0; .* a whole number'),
    ('loss_weights.ctr', math.inf, 'loss_weights.ctr is inf; .* in \\[0, 1e'),
    ('loss_weights.ctr', -1.0, 'loss_weights.ctr is -1.0'),
    ('sampling.unclicked_rate', 1.5, 'sampling.unclicked_rate is 1.5'),
    ('sampling.unclicked_rate', -0.1, 'unclicked_rate is -0.1'),
    ('sampling.unclicked_rate', math.nan, 'unclicked_rate is nan'),
    ('sampling.conversion_copies', 0.5, 'conversion_copies is 0.5'),
    ('estimator_options.propensity_floor', 0.1, 'entire_space has no such'),
    ('estimator_options.cvr_normalization', 'click', "Did you mean 'clicks'"),
    ('model.tower_units', (80, 0), 'model.tower_units is \\(80, 0\\)'),
    ('model.dropout', 1.0, 'model.dropout is 1.0; .* in \\[0, 1\\)'),
    ('optimizer.name', 'adma', "optimizer.name is 'adma'.*Did you mean 'adam'"),
    ('schedule.end_factor', -1.0, 'schedule.end_factor is -1.0'),
    ('table_moments', 'float16', "table_moments is 'float16'.*bfloat16"),
    ('non_finite', 'ignore', "non_finite is 'ignore'.*skip, stop"),
    ('device_resident', 'yes', "run.device_resident is 'yes'"),
])
def test_refused(key, value, words):
  config = smoke()
  Settings.read(config)
  load.set_key(config, key, value)
  with pytest.raises(InputError, match=words):
    Settings.read(config)


def test_a_key_that_nothing_reads():
  config = smoke()
  config.learning_rat = 0.1
  with pytest.raises(InputError, match="'learning_rat'.*'learning_rate'"):
    Settings.read(config)


@pytest.mark.parametrize('section, key', [
    ('', 'model'), ('', 'dataset'), ('', 'estimator'), ('model', 'name'),
    ('model', 'embed_dim'), ('dataset', 'train_split')])
def test_a_key_without_a_default(section, key):
  config = smoke()
  del (config[section] if section else config)[key]
  with pytest.raises(InputError, match=f'has no {key!r}'):
    Settings.read(config)


def test_a_rate_that_nothing_reads():
  config = smoke().to_dict()
  config['sampling']['unclicked'] = 0.5
  with pytest.raises(InputError, match='sampling.unclicked is set.*_rate'):
    Settings.read(config)


def test_dense_tables_are_of_the_tests():
  config = smoke()
  config.table_update = 'lazy'  # As configs of earlier versions say.
  Settings.read(config)
  config.table_update = 'dense'
  with pytest.raises(InputError, match='table_update'):
    Settings.read(config)


CASES = [(n, *case) for n in ('esmm.py', 'ple.py') for case in
         config_fuzz.cases(n)]


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(case=st.sampled_from(CASES))
def test_a_wrong_value_is_no_traceback(data_dir, case):
  words = config_fuzz.outcome(*case, data_dir)
  assert words is None or len(words) > 20


@pytest.mark.long
@pytest.mark.parametrize('name', config_fuzz.CONFIGS)
def test_any_wrong_value_is_no_traceback(data_dir, name):
  refused = 0
  for key, value in config_fuzz.cases(name):
    refused += config_fuzz.outcome(name, key, value, data_dir) is not None
  assert refused > 200

"""Runs of ips, escm2 and nise: the identities of their losses, to the digit."""

import importlib

from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
import pytest

from tests.training.test_whole_runs import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')
FLOOR = 'estimator_options.propensity_floor'
NORMALIZATION = 'estimator_options.normalization'
CVR_NORMALIZATION = 'estimator_options.cvr_normalization'


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def run(name, folder, data_dir, architecture='', **changes):
  config = smoke(name, num_epochs=1)
  if architecture:
    module = importlib.import_module(f'configs.{architecture}')
    config.model = module.get_config('smoke').model
  config.update_from_flattened_dict(changes)
  return train_and_evaluate(config, str(folder), data_dir)


def assert_same_metrics(one, two, of=('test/', 'valid/')):
  keys = [k for k in two if k.startswith(of) and k in one]
  assert len(keys) > 3
  for key in keys:
    assert one[key] == two[key], key


@pytest.mark.long
@pytest.mark.parametrize('name, changes, other, architecture, of_other', [
    # Weights of 1.
    ('ips', {FLOOR: 1.0}, 'base', 'esmm', {CVR_NORMALIZATION: 'impressions'}),
    ('ips', {FLOOR: 1.0, NORMALIZATION: 'clicks'}, 'base', 'esmm', {}),
    # Of no click term, and of no other CVR term.
    ('escm2', {'loss_weights.cvr_clicked': 0.0}, 'mmoe', '', {}),
    ('escm2', {
        'loss_weights.cvr_clicked': 1.0, 'loss_weights.ctcvr': 0.0,
        FLOOR: 0.05}, 'ips', 'mmoe', {FLOOR: 0.05}),
], ids=['naive', 'per click', 'esmm', 'ips'])
def test_a_run_is_one_of_another_estimator(
    name, changes, other, architecture, of_other, data_dir, tmp_path
):
  one = run(name, tmp_path / 'one', data_dir, **changes)
  two = run(other, tmp_path / 'two', data_dir, architecture, **of_other)
  assert_same_metrics(one, two)


@pytest.mark.long
@pytest.mark.parametrize('changes', [
    {NORMALIZATION: 'self', 'estimator_options.warmup_steps': 10.0},
    {}, {'estimator_options.propensity': 'true'}, {FLOOR: 0.001},
], ids=str)
def test_ctr_of_a_network_of_its_own_is_that_of_the_naive_loss(
    changes, data_dir, tmp_path
):
  """Whatever the weights: none of them has a gradient into the propensity."""
  one = run('ips', tmp_path / 'one', data_dir, 'single_task', **changes)
  two = run('base', tmp_path / 'two', data_dir)
  assert_same_metrics(one, two, of=('test/ctr/', 'valid/ctr/'))
  assert one['test/cvr_entire/kl'] != two['test/cvr_entire/kl']


@pytest.mark.long
def test_nise_collapses(data_dir, tmp_path):
  """Against the truth it is far behind the same run with a stopped label."""
  kl = [
      run('nise', tmp_path / str(stop), data_dir,
          **{'estimator_options.stop_label': stop})['test/cvr_entire/kl']
      for stop in (False, True)]
  assert kl[0] > 3 * kl[1] > 0


def test_what_is_refused(data_dir, tmp_path):
  for options, words in (
      ({'propensity': 'frozen'}, "estimator='ips'.*set estimator_options.froz"),
      ({'weight_cap': 0.5}, 'weight_cap is 0.5; it must be a number in .1, 1e'),
      ({'warmup_steps': -1.0}, 'warmup_steps is -1.0; it must be'),
      ({'propensity': 'none'}, "'none', which is not known.*frozen, own, true"),
  ):
    changes = {f'estimator_options.{k}': v for k, v in options.items()}
    with pytest.raises(InputError, match=words):
      run('ips', tmp_path / 'a', data_dir, **changes)
  with pytest.raises(InputError, match="needs the tasks ctr.*'atr'"):
    run('ips', tmp_path / 'a', data_dir, **{'dataset.stages': 3})

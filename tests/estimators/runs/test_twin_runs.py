"""Runs of the estimators with heads of their own, on several architectures."""

import importlib

from esmm_jax.metric_names import WEIGHTS
from esmm_jax.training.loop import train_replicas
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pytest

from tests.training.test_whole_runs import smoke

pytestmark = pytest.mark.usefixtures('quick_compilation')
HEADS = {
    'dcmt': {'counterfactual'}, 'chorus': {'no_conversion'},
    'ddpo': {'teacher'}, 'ukd': {'teacher', 'second_student'}}
OWN = 'shared_embedding'


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def run(name, folder, data_dir, architecture=OWN, check_idle=True, **changes):
  config = smoke(
      name, save_predictions=True, num_epochs=1, evals_per_epoch=1)
  if architecture != OWN:
    module = importlib.import_module(f'configs.{architecture}')
    config.model = module.get_config('smoke').model
  config.update_from_flattened_dict(changes)
  (results,) = train_replicas(
      [config], [str(folder)], data_dir, check_idle=check_idle)
  return results


@pytest.mark.slow
@pytest.mark.parametrize('name, architecture', [
    ('dcmt', OWN),
    *(pytest.param(n, a, marks=pytest.mark.long)
      for n, a in (
          ('chorus', OWN), ('ddpo', OWN), ('ukd', OWN), ('ukd', 'dbmtl'),
          ('chorus', 'mmoe'), ('ddpo', 'ple'), ('dcmt', 'aitm'),
          ('chorus', 'stem'),
          ('ukd', 'adatt'), ('dcmt', 'single_task'),
          ('ddpo', 'shared_bottom'))),
])
def test_a_run(name, architecture, data_dir, tmp_path):
  """It learns CTR, and its heads are no outputs of the run.

  An untrained network has 0.69 nats; the rate alone has 0.17.
  """
  results = run(name, tmp_path, data_dir, architecture)
  assert results['test/ctr/logloss'] < 0.25
  assert 0 < results['test/cvr_entire/kl'] < 1
  assert not {k for k in results for head in HEADS[name]
              if k.startswith(f'test/{head}/')}
  table = parquet.read_table(tmp_path / 'predictions' / 'test.parquet')
  assert not HEADS[name] & {c.removeprefix('p_') for c in table.column_names}
  assert np.isfinite(table['p_cvr'].to_numpy()).all()


@pytest.mark.long
def test_a_gamma_of_0_is_a_run_of_ips(data_dir, tmp_path):
  """To the digit; the loss apart, whose terms have other names."""
  options = {'estimator_options.propensity_floor': 0.05}
  want = run('ips', tmp_path / 'ips', data_dir, **options)
  # A teacher whose labels have no weight is refused where a person sets it.
  options['check_idle'] = False
  got = run('ddpo', tmp_path / 'ours', data_dir, **options, **{
      'estimator_options.teacher': 'truth', 'estimator_options.gamma': 0.0,
      'loss_weights.ctcvr': 0.0})
  for key in want:
    if key.startswith(('test/', 'valid/')):
      split, space, name = key.split('/')
      # The weights of clicked rows are those of another term.
      space = 'cvr_entire' if name in WEIGHTS else space
      assert got[f'{split}/{space}/{name}'] == want[key], key


@pytest.mark.long
def test_a_twin_without_weight_is_a_run_of_escm2(data_dir, tmp_path):
  """The head has parameters that nothing trains, and all else is the same."""
  options = {'estimator_options.propensity_floor': 0.05,
             'loss_weights.cvr_clicked': 1.0}
  want = run('escm2', tmp_path / 'escm2', data_dir, **options)
  got = run('dcmt', tmp_path / 'ours', data_dir, 'mmoe', **options, **{
      'loss_weights.cvr_counterfactual': 0.0,
      'loss_weights.counterfactual_prior': 0.0})
  # One tower of 8 units on the 8 of the experts: no expert, gate or table.
  size = 'num_network_params'
  assert got[size] - want[size] == 8 * 8 + 8 + 8 + 1
  for key in want:
    if key.startswith(('test/', 'valid/')):
      assert got[key] == want[key], key


def test_weights_without_a_propensity_are_refused(data_dir, tmp_path):
  with pytest.raises(InputError, match="'inverse'.*propensity is 'none'"):
    run('ddpo', tmp_path, data_dir,
        **{'estimator_options.propensity': 'none'})

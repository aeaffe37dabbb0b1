"""Weights of loss terms that go with an estimator."""

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import Needs
from esmm_jax.tasks import FUNNEL
from esmm_jax.training import objective, parts
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
import pytest

from configs import esmm

OWN = ('unbias', 'ips', 'escm2', 'doubly_robust', 'dcmt', 'chorus',
       'pseudo_label')


def weights(estimator, init_from='', options=(), **loss_weights):
  config = esmm.get_config('smoke')
  config.estimator = estimator
  config.estimator_options.update(dict(options))
  config.loss_weights.update(loss_weights)
  if init_from:
    config.init_from = init_from
  settings = Settings.read(config)
  bound = parts.estimator(settings.objective, FUNNEL)
  return objective.weights(settings, bound)


def test_which_estimators_weigh_by_the_ctr_that_they_train():
  tell = {
      name for name, e in ESTIMATORS.items()
      if e.needs and 'ctr' in e.needs().trained}
  assert tell == set(OWN)


@pytest.mark.parametrize('estimator', OWN)
def test_a_propensity_that_nothing_trains_is_refused(estimator):
  with pytest.raises(InputError, match=f"ctr is 0, but estimator='{estimator}"):
    weights(estimator, ctr=0.0)
  assert weights(estimator)['ctr'] == 1.0
  # One that has been trained is there.
  assert weights(estimator, init_from='../a', ctr=0.0)['ctr'] == 0.0


def test_a_teacher_that_nothing_trains_is_refused():
  with pytest.raises(InputError, match='teacher is 0, but .*labels rows'):
    weights('pseudo_label', teacher=0.0)
  truth = {'teacher': 'truth'}
  assert weights('pseudo_label', options=truth, teacher=0.0)['teacher'] == 0.0
  trained = weights('pseudo_label', init_from='../a', teacher=0.0)
  assert trained['teacher'] == 0.0


def test_an_estimator_without_the_term_is_refused():
  settings = Settings.read(esmm.get_config('smoke'))
  bound = parts.estimator(settings.objective, FUNNEL)._replace(
      weights={'cvr_entire': 1.0}, needs=Needs(trained=('ctr',)))
  with pytest.raises(InputError, match='ctr is no term of it'):
    objective.weights(settings, bound)


def test_a_propensity_from_elsewhere_needs_no_training():
  assert weights('ips', options={'propensity': 'true'}, ctr=0.0)['ctr'] == 0.0
  assert weights('escm2', options={'propensity': 'none'}, ctr=0.0)['ctr'] == 0.0


def test_both_parts_of_a_square_have_one_weight():
  eta = {'balance_guesses': 3.0, 'balance_weights': 3.0}
  assert weights('stable_dr', **eta)['balance_guesses'] == 3.0
  with pytest.raises(InputError, match='balance_weights is 1.0; .*same weight'):
    weights('stable_dr', balance_guesses=3.0)

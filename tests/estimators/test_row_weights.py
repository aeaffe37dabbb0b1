"""The weights of clicked rows that estimators tell, each with each propensity.

That they are those of the losses is tested beside each estimator.
"""

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators.contract import bind, options
from esmm_jax.metric_names import WEIGHTS
from esmm_jax.metrics.weights import clicked_rows, RowWeights
from esmm_jax.tasks import FUNNEL
import numpy as np
import pytest

CLICK = np.array([1, 1, 1, 0, 1])
COLUMNS = {
    'own': np.array([0.5, 0.25, 0.01, 0.9, 0.2]),
    'true': np.array([0.4, 0.05, 0.01, 0.9, 0.02]),
    'frozen': np.array([0.3, 0.2, 0.1, 0.9, 0.04]),
}
NEEDS = {'own': set(), 'none': set(), 'true': {'p_ctr'},
         'frozen': {'frozen_ctr'}}
CASES = [
    (name, propensity)
    for name, estimator in ESTIMATORS.items()
    if estimator.row_weights
    for propensity in options(estimator.terms)['propensity'].choices
]


def test_those_that_weight_by_a_propensity_tell_it():
  names = {'ips', 'escm2', 'doubly_robust', 'dcmt', 'chorus', 'pseudo_label'}
  assert names <= {name for name, _ in CASES}
  for name in ('click_space', 'entire_space', 'unbias', 'nise'):
    assert RowWeights.of(bind(name, ESTIMATORS[name], {}, FUNNEL)) is None


@pytest.mark.parametrize('name, propensity', CASES)
def test_weights_of_each_propensity(name, propensity):
  values = {'propensity': propensity, 'propensity_floor': 0.1}
  if propensity == 'none':
    del values['propensity_floor']  # An option without an effect.
    if name == 'pseudo_label':  # Its default divides by the propensity.
      values['unclicked_weight'] = 'one'
  if propensity == 'frozen':
    values['frozen_run'] = '../frozen'
  bound = bind(name, ESTIMATORS[name], values, FUNNEL)
  row_weights = RowWeights.of(bound)
  assert row_weights.needs == NEEDS[propensity]
  assert row_weights.terms() and {*row_weights.terms()} <= {*bound.weights}
  logit = np.log(COLUMNS['own'] / (1 - COLUMNS['own'])).astype(np.float32)
  got = clicked_rows(row_weights, {'ctr': logit, 'cvr': 0 * logit}, {
      'click': CLICK, 'conversion': 0 * CLICK, 'p_ctr': COLUMNS['true'],
      'frozen_ctr': COLUMNS['frozen']})
  p = COLUMNS.get(propensity, np.ones(5))[CLICK == 1]
  w = 1 / np.maximum(p, 0.1)
  expected = {
      'ess': w.sum() ** 2 / (w**2).sum(),
      'ess_share': w.sum() ** 2 / (w**2).sum() / 4,
      'weight_max': w.max(),
      'at_floor': np.nan if propensity == 'none' else np.mean(p <= 0.1)}
  assert list(got) == [f'{t}/{k}' for t in row_weights.terms() for k in WEIGHTS]
  for term in row_weights.terms():
    of_term = {k: got[f'{term}/{k}'] for k in WEIGHTS}
    assert of_term == pytest.approx(expected, rel=1e-5, nan_ok=True)

"""Estimators on rows of the simulated log, whose truth is known."""

from esmm_jax.data.simulator.process import BLOCK
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from tests.data.simulator.logs import make_log
from tests.estimators.delayed import groups

pytestmark = pytest.mark.slow
MEAN = 3.0
LOGS = {
    'hidden cause': dict(hidden=1.0),
    'by features': dict(delay_shape=0.5, delay_spread=1.0),
}


@pytest.fixture(scope='module', params=list(LOGS))
def log(request):
  """Labels and truth of many clicks, 40 % of whose conversions are late."""
  sizes = dict(num_train=2 * BLOCK, num_valid=0, num_test=0)
  dials = dict(
      sizes, ctr=0.5, cvr=0.1, delay_mean=MEAN, delay_window=6.7,
      **LOGS[request.param])
  columns = make_log(**dials).columns(0, 2 * BLOCK)
  names = ('click', 'conversion', *(n for n in columns if n.startswith((
      'conversion_', 'click_', 'p_cvr'))))
  columns = {n: jnp.asarray(columns[n], jnp.float32) for n in names}
  return request.param, columns


def sigmas(name, columns, **options):
  """Returns the sum of gradients on the log-odds at the truth, in sigmas.

  Negative: the loss falls where CVR rises above the truth.
  """
  p = np.asarray(columns['p_cvr_clicked'], np.float64)
  # A rate of 1 / MEAN: softplus(head).
  rate = np.full(len(p), np.log(np.expm1(1 / MEAN)))
  x = dict(ctr=p * 0, cvr=special.logit(p), delay_rate=rate,
           delayed_positive=p * 0, real_negative=p * 0)
  x = {k: jnp.asarray(v, jnp.float32) for k, v in x.items()}

  @jax.jit
  @jax.grad
  def gradient(cvr):
    terms = groups.ALL[name](
        x | {'cvr': cvr}, columns, jnp.ones(len(p)), **options)
    return terms['cvr_clicked'][0]

  each = np.asarray(gradient(x['cvr']), np.float64)
  return each.sum() / np.sqrt(np.sum(each**2))


@pytest.mark.parametrize('name, options', [
    ('naive', dict(stream='final')),
    ('fnw', {}),
    ('fnc', {}),
    ('es_dfm', dict(auxiliaries='true')),
    ('defuse', dict(auxiliaries='true')),
])
def test_the_truth_is_the_optimum(log, name, options):
  _, columns = log
  assert abs(sigmas(name, columns, **options)) < 3.5


@pytest.mark.parametrize('stream', ['log', 'elapsed', 'fake'])
def test_the_naive_losses_want_less(log, stream):
  _, columns = log
  assert sigmas('naive', columns, stream=stream) > 5


def test_dfm_is_right_where_its_delay_is(log):
  kind, columns = log
  gradient = sigmas('dfm', columns)
  assert (abs(gradient) < 3.5) == (kind != 'by features')

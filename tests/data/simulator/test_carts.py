"""The simulated log with three stages."""

from esmm_jax.data.simulator.config import simulator_config
from esmm_jax.data.simulator.dataset import CART_TRUTH
from esmm_jax.data.simulator.process import BLOCK, LogProcess
import numpy as np
import pytest
from scipy import special
from sklearn import metrics

from tests.data.simulator.logs import assert_same, SIZES, SMALL

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    'two, three', [('plain', 'carts'), ('hidden', 'hidden_carts')]
)
def test_a_cart_changes_nothing_else(two, three, request):
  two, three = (request.getfixturevalue(name) for name in (two, three))
  assert three.keys() - two.keys() == {'cart', *CART_TRUTH}
  assert_same(two, {name: three[name] for name in two})


@pytest.mark.parametrize('which', ['carts', 'hidden_carts'])
def test_a_purchase_needs_a_cart_and_a_cart_a_click(which, request):
  columns = request.getfixturevalue(which)
  click, cart = columns['click'], columns['cart']
  np.testing.assert_array_equal(cart, click * columns['cart_if_clicked'])
  for name in ('cart', 'cart_if_clicked'):
    assert columns[name].dtype == np.int8
    assert set(np.unique(columns[name])) == {0, 1}
  for above, below in (
      ('click', 'cart'),
      ('cart', 'conversion'),
      ('cart_if_clicked', 'conversion_if_clicked'),
      ('p_atr', 'p_cvr'),
  ):
    assert (columns[above] >= columns[below]).all(), (above, below)
    assert (columns[above] > columns[below]).any(), (above, below)
  assert columns['p_atr'].dtype == np.float32
  assert columns['p_atr'].max() < 1


def gamma_again(process, impressions):
  """0.45 + 0.12 tanh(standardised budget - price), in float64."""

  def spare(shown):
    world = process.world
    return world.budget[shown.user].astype(float) - world.price[shown.item]

  logged = spare(process.calibration_draw())
  w = (spare(impressions) - logged.mean()) / logged.std()
  return 0.45 + 0.12 * np.tanh(w)


def test_p_atr_is_a_power_of_p_cvr(carts):
  process = LogProcess(simulator_config('default', **SIZES, stages=3))
  shown, outcomes = process.simulate(0)
  gamma = gamma_again(process, shown)
  np.testing.assert_allclose(process.cart_exponent(shown), gamma, 1e-5)
  p = outcomes.p_cvr.astype(float)
  np.testing.assert_allclose(outcomes.p_atr, p**gamma, 1e-4)
  np.testing.assert_array_equal(outcomes.p_atr, carts['p_atr'][:BLOCK])
  # P(purchase | cart) is the rest of the exponent.
  rest = outcomes.p_cvr / outcomes.p_atr
  np.testing.assert_allclose(rest, p ** (1 - gamma), 1e-4)
  # What is too dear is carted more and bought from the cart less.
  assert gamma.min() > 0.33 and gamma.max() < 0.57
  dear = gamma < 0.4
  for low, high in ((0.005, 0.01), (0.02, 0.03)):
    alike = (p > low) & (p < high)
    cart, bought = outcomes.p_atr[alike], rest[alike]
    assert cart[dear[alike]].mean() > 1.2 * cart[~dear[alike]].mean()
    assert bought[dear[alike]].mean() < 0.8 * bought[~dear[alike]].mean()


def test_carts_are_ranked_by_more_than_conversions(carts):
  cart = carts['cart_if_clicked']
  own = metrics.roc_auc_score(cart, carts['p_atr'])
  assert own > metrics.roc_auc_score(cart, carts['p_cvr']) + 0.02


def test_the_rate_of_carts(carts):
  clicked = carts['click'] == 1
  p = carts['p_atr'][clicked].astype(float)
  error = np.sqrt(np.sum(p * (1 - p)))
  assert abs(carts['cart'][clicked].sum() - p.sum()) < 3.5 * error
  assert 0.1 < p.mean() < 0.3


@pytest.mark.parametrize(
    'which, outcome, p, given',
    [
        ('carts', 'cart', 'p_atr', 'click'),
        ('carts', 'cart_if_clicked', 'p_atr', None),
        ('carts', 'conversion', 'p_ptr', 'cart'),
        ('hidden_carts', 'cart_if_clicked', 'p_atr', None),
    ],
)
def test_carts_match_the_truth_in_every_decile(
    which, outcome, p, given, request
):
  """In sigmas of the binomial error; p_ptr is P(purchase | cart)."""
  columns = request.getfixturevalue(which)
  columns = columns | dict(p_ptr=columns['p_cvr'] / columns['p_atr'])
  where = columns[given] == 1 if given else slice(None)
  outcome, p = columns[outcome][where], columns[p][where].astype(float)
  for rows in np.array_split(np.argsort(p), 10):
    variance = np.sum(p[rows] * (1 - p[rows]))
    z = np.sum(outcome[rows] - p[rows]) / np.sqrt(variance)
    assert abs(z) < 3.5


@pytest.mark.parametrize('hidden', [1.0, 3.0])
def test_hidden_p_atr_is_an_integral(hidden):
  """p_atr = E_H sigmoid(b + hidden H)^gamma, on a fine grid."""
  dials = dict(SMALL, hidden=hidden, stages=3)
  process = LogProcess(simulator_config('default', **dials))
  shown, outcomes = process.simulate(0)
  b = process.logits(shown)[1][:200, None].astype(float)
  gamma = gamma_again(process, shown)[:200, None]
  h = np.linspace(-9, 9, 2001)
  density = np.exp(-h * h / 2) / np.exp(-h * h / 2).sum()
  expected = (special.expit(b + hidden * h) ** gamma * density).sum(axis=1)
  np.testing.assert_allclose(outcomes.p_atr[:200], expected, 1e-4)


def test_clicks_tell_of_carts_only_by_a_hidden_cause(carts, hidden_carts):
  for columns, more in ((carts, False), (hidden_carts, True)):
    clicked = columns['click'] == 1
    observed = columns['cart'][clicked].mean()
    assert (observed > 1.2 * columns['p_atr'][clicked].mean()) == more

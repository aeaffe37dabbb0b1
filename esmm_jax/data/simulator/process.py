"""The random process behind the simulated log.

Over the impressions that the logging policy shows,

  click logit       a = intercept + spread * S + hidden * H
  conversion logit  b = intercept' + spread' * (rho S + sqrt(1 - rho^2) T)
                        + hidden * H

S and T have mean 0, variance 1 and correlation 0; both are functions of the
features. H ~ N(0, 1) is in no feature. Given both logits, the click and the
conversion that would follow it are independent. So with hidden = 0 a clicked
and an unclicked row with the same features convert alike, and `rho` controls
how much the features of clicked rows differ. With hidden > 0 clicked rows
convert more often than unclicked ones with the same features.

With `stages` = 3 every purchase was in the cart before:

  P(cart | click)     = p_cvr ** gamma
  P(purchase | cart)  = p_cvr ** (1 - gamma),  gamma = 0.45 + 0.12 tanh W

W, mean 0 and variance 1, is the user's budget less the price: items that are
too dear are carted, and stay there. The product is p_cvr, and one draw decides
both events, so the purchases are the conversions of two stages and each has its
cart. With hidden > 0 this holds given H, with P(conversion | click, H) for
p_cvr.
"""

from typing import NamedTuple

from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.maths import cart_probability, fit_logit
from esmm_jax.data.simulator.maths import hidden_quadrature, session_dot
from esmm_jax.data.simulator.maths import sigmoid, zipf
from esmm_jax.data.simulator.world import World, SESSION
from esmm_jax.types import InputError
import numpy as np

BLOCK = 1 << 16  # Impressions that are drawn together.
NUM_POSITIONS = 3
HIGHEST = np.float32(1) - np.finfo(np.float32).epsneg  # Probability.

_POSITION_EFFECT = np.array([0.35, 0.0, -0.35], np.float32)
_CALIBRATION_ROWS = 1 << 18

# Purposes of random streams, seeded with (seed, purpose, block). 1 is the
# world's, 5 that of delays.
_LOGGED, _UNIFORM, _CALIBRATION = 2, 3, 4


class Impressions(NamedTuple):
  """Impressions: user, item and position, each numbered from 0.

  Attributes:
    user: int32 [n], constant over each `SESSION` rows of a block.
    item: int32 [n].
    position: int32 [n].
    seen_count: float32 [n], ln(1 + times the user met the item's category
      before), 0 if never.
  """

  user: np.ndarray
  item: np.ndarray
  position: np.ndarray
  seen_count: np.ndarray


class Outcomes(NamedTuple):
  """Outcomes of impressions, and the probabilities that they were drawn from.

  Probabilities are above 0 and below 1.

  Attributes:
    click: int8 [n].
    conversion_if_clicked: int8 [n].
    p_ctr: float32 [n], P(click | features).
    p_cvr: float32 [n], P(conversion | do(click), features).
    p_cvr_clicked: float32 [n], P(conversion | click, features).
    p_ctcvr: float32 [n], P(click and conversion | features).
    p_atr: float32 [n], P(cart | do(click), features). This and the next are
      None where there are two stages.
    cart_if_clicked: int8 [n].
  """

  click: np.ndarray
  conversion_if_clicked: np.ndarray
  p_ctr: np.ndarray
  p_cvr: np.ndarray
  p_cvr_clicked: np.ndarray
  p_ctcvr: np.ndarray
  p_atr: np.ndarray | None = None
  cart_if_clicked: np.ndarray | None = None


class LogProcess:
  """Draws the log in blocks; block k is a pure function of (dials, k).

  Attributes:
    world: Users and items.
  """

  def __init__(self, config: SimulatorConfig):
    """Draws the world and calibrates the logits.

    Raises:
      InputError: No logits have the rates and AUCs of the dials.
    """
    self._config = config
    self.world = World(config)
    self._hidden_nodes = list(zip(*hidden_quadrature(config.hidden)))
    self._calibrate()

  def simulate(
      self, block: int, uniform: bool = False
  ) -> tuple[Impressions, Outcomes]:
    """Draws the `BLOCK` impressions of a block and their outcomes.

    Args:
      block: Its number; rows [block * BLOCK, (block + 1) * BLOCK) of the log.
      uniform: Shows items uniformly, not by the logging policy.
    """
    rng = self._rng(_UNIFORM if uniform else _LOGGED, block)
    impressions = self._expose(rng, uniform)
    a, b = self.logits(impressions)
    gamma = None
    if self._config.stages == 3:
      gamma = self.cart_exponent(impressions)
    return impressions, self._outcomes(rng, a, b, gamma)

  def expose(self, block: int) -> Impressions:
    """Draws the impressions of `simulate(block)`, at two thirds of its cost."""
    return self._expose(self._rng(_LOGGED, block), False)

  def calibration_draw(self) -> Impressions:
    """Draws the impressions over which rho, rates and AUCs are calibrated."""
    draws = [
        self._expose(self._rng(_CALIBRATION, block), False)
        for block in range(_CALIBRATION_ROWS // BLOCK)
    ]
    return Impressions(*map(np.concatenate, zip(*draws)))

  def logits(self, impressions: Impressions) -> tuple[np.ndarray, np.ndarray]:
    """Computes click and conversion logits without the hidden part.

    float32 [n] each.

    Args:
      impressions: Whole sessions.
    """
    s, t = self._scores(impressions)
    s = (s - self._s_mean) / self._s_std
    t = (t - self._t_slope * s - self._t_mean) / self._t_std
    rho = self._config.rho
    mixed = np.float32(rho) * s + np.float32(np.sqrt(1 - rho * rho)) * t
    (a, a_spread), (b, b_spread) = self._click_logit, self._conversion_logit
    return a + a_spread * s, b + b_spread * mixed

  def cart_exponent(self, impressions: Impressions) -> np.ndarray:
    """Computes gamma, float32 [n]: low where the price is high."""
    w = self.spare(impressions)
    return np.float32(0.45) + np.float32(0.12) * np.tanh(w)

  def spare(self, impressions: Impressions) -> np.ndarray:
    """Computes W, budget less price, of mean 0 and variance 1, float32 [n]."""
    spare = self.world.spare(impressions.user, impressions.item)
    return (spare - self._spare_mean) / self._spare_std

  def _rng(self, stream: int, block: int) -> np.random.Generator:
    return np.random.default_rng([self._config.seed, stream, block])

  def _expose(self, rng: np.random.Generator, uniform: bool) -> Impressions:
    """Draws one block: sessions of users, items by the policy, positions."""
    world = self.world
    user = np.searchsorted(world.activity_ends, rng.random(BLOCK // SESSION))
    user = np.minimum(user, world.num_users - 1).astype(np.int32)
    if uniform:
      item = rng.integers(0, world.num_items, BLOCK, dtype=np.int32)
    else:
      item = self._choose(rng, user)
    position = rng.integers(0, NUM_POSITIONS, BLOCK, dtype=np.int32)
    user = np.repeat(user, SESSION)
    return Impressions(user, item, position, world.seen_count(user, item))

  def _choose(self, rng: np.random.Generator, user: np.ndarray) -> np.ndarray:
    """Draws the items int32 [BLOCK] that users int32 [BLOCK / SESSION] see.

    Of some candidates drawn by popularity the policy shows the one with the
    highest policy * affinity + Gumbel noise: P ~ exp(policy * affinity).
    """
    world, policy = self.world, np.float32(self._config.policy)
    shape = (self._config.candidates, BLOCK)
    candidates = zipf(rng, world.num_items, shape, 0.85)
    # Minus Gumbel noise is the logarithm of an exponential variable.
    losses = rng.standard_exponential(shape, dtype=np.float32)
    np.log(np.maximum(losses, np.float32(1e-30)), out=losses)
    taste = world.click.user.take(user, axis=0)
    best, choice = np.full(BLOCK, np.inf, np.float32), candidates[0].copy()
    for item, loss in zip(candidates, losses):
      loss -= policy * session_dot(taste, world.click.item.take(item, axis=0))
      np.copyto(choice, item, where=loss < best)
      np.minimum(best, loss, out=best)
    return choice

  def _scores(self, impressions: Impressions) -> tuple[np.ndarray, np.ndarray]:
    """Computes S and T before they are standardised, float32 [n] each."""
    seen_count, world = impressions.seen_count, self.world
    # As intp, which `take` needs; `take` is many times faster than [].
    user, item = (x.astype(np.intp) for x in impressions[:2])
    product, level = world.click.match(user, item)
    s = 0.7 * product + 0.6 * level + 0.5 * np.minimum(seen_count, 2.5)
    s += _POSITION_EFFECT.take(impressions.position)
    product, level = world.conversion.match(user, item)
    gap = world.price.take(item) - world.budget.take(user)
    t = 0.6 * product + 0.6 * level - 0.5 * np.minimum(gap * gap, 4.0)
    t += 0.3 * (seen_count > 1.5)
    return s, t

  def _outcomes(
      self,
      rng: np.random.Generator,
      a: np.ndarray,
      b: np.ndarray,
      gamma: np.ndarray | None,
  ) -> Outcomes:
    """Draws outcomes from logits and, with three stages, gamma, all [n]."""
    hidden = np.float32(self._config.hidden)
    # In float64: a float32 draw rounds probabilities to multiples of 2^-24.
    # Drawn first, so that they do not depend on `hidden`.
    click_draw, conversion_draw = rng.random((2, len(a)))
    if not hidden:
      p_ctr, p_cvr = sigmoid(a), sigmoid(b)
      p_ctcvr, p_cvr_clicked = p_ctr * p_cvr, p_cvr
      click, p_conversion = click_draw < p_ctr, p_cvr
    else:
      p_ctr, p_cvr, p_ctcvr = np.zeros((3, len(a)), np.float32)
      for shift, weight in self._hidden_nodes:
        p_a = sigmoid(a + np.float32(shift))
        p_b = sigmoid(b + np.float32(shift))
        p_b *= np.float32(weight)
        p_ctr += np.float32(weight) * p_a
        p_cvr += p_b
        p_ctcvr += p_a * p_b
      p_cvr_clicked = p_ctcvr / p_ctr
      for p in (p_ctr, p_cvr, p_cvr_clicked):
        np.minimum(p, HIGHEST, out=p)  # Sums can round to 1.
      shift = hidden * rng.standard_normal(len(a), dtype=np.float32)
      click, p_conversion = click_draw < sigmoid(a + shift), sigmoid(b + shift)
    carts = ()
    if gamma is not None:
      cart = conversion_draw < cart_probability(p_conversion, gamma)
      carts = self._p_atr(b, gamma), cart.astype(np.int8)
    click = click.astype(np.int8)
    conversion = (conversion_draw < p_conversion).astype(np.int8)
    truth = p_ctr, p_cvr, p_cvr_clicked, p_ctcvr
    return Outcomes(click, conversion, *truth, *carts)

  def _p_atr(self, b: np.ndarray, gamma: np.ndarray) -> np.ndarray:
    """Computes P(cart | do(click), features), float32 [n], the mean over H."""
    p_atr = np.zeros(len(b), np.float32)
    for shift, weight in self._hidden_nodes:
      p_b = sigmoid(b + np.float32(shift))
      p_atr += np.float32(weight) * cart_probability(p_b, gamma)
    return np.minimum(p_atr, HIGHEST, out=p_atr)

  def _calibrate(self) -> None:
    """Sets the scales that give the dials' rho, rates and AUCs to a sample."""
    shown = self.calibration_draw()
    scores = self._scores(shown)
    spare = self.world.spare(shown.user, shown.item).astype(np.float64)
    self._spare_mean = np.float32(spare.mean())
    self._spare_std = np.float32(spare.std())
    s, t = (score.astype(np.float64) for score in scores)
    self._s_mean, self._s_std = np.float32(s.mean()), np.float32(s.std())
    s = (s - s.mean()) / s.std()
    slope = np.mean(s * t)
    t -= slope * s
    self._t_slope = np.float32(slope)
    self._t_mean, self._t_std = np.float32(t.mean()), np.float32(t.std())
    if not self._t_std > 1e-3:
      raise InputError(
          "Dials 'users' and 'items' are too small: everyone is alike."
      )
    t = (t - t.mean()) / t.std()
    rho = self._config.rho
    self._click_logit = self._fit(s, 'ctr')
    self._conversion_logit = self._fit(rho * s + np.sqrt(1 - rho**2) * t, 'cvr')

  def _fit(self, score: np.ndarray, rate: str) -> np.ndarray:
    """Fits intercept and spread of a logit, float32 [2], to its dials."""
    dials = self._config
    auc = getattr(dials, f'auc_{rate}')
    try:
      logit = fit_logit(score, getattr(dials, rate), auc, dials.hidden)
    except ValueError as e:
      raise InputError(
          f"Dial 'auc_{rate}' is {auc:g}: {e} where hidden is"
          f" {dials.hidden:g}. Lower 'auc_{rate}' or 'hidden'."
      ) from e
    return np.array(logit, np.float32)

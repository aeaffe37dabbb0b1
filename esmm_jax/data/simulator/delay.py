"""Delays of conversions, and the log that was taken before all had come.

With `delay_mean` above 0 a conversion comes a while after its click,

  delay D = scale * E^(1 / delay_shape),  E ~ Exp(1),
  scale   = delay_mean / Gamma(1 + 1 / delay_shape) * exp(delay_spread * Z) / c,

a Weibull variable, exponential where the shape is 1. Z, mean 0 and variance 1,
is the item's price less the user's budget, a function of the features; c makes
the mean of exp(delay_spread * Z) 1 over logged impressions. Given the features,
the delay depends neither on the click nor on the conversion.

When the log of the training rows is taken, the age A of a click is uniform in
(0, delay_window], independent of all else. The log shows a conversion where
D <= A. So the label of a training row has, given a click and the features,

  P(label) = P(conversion) * P(D <= A),
  P(D <= A) = 1 - Gamma(1 + 1 / k) / r * P(1 / k, r^k),
  r = delay_window / scale,  k = delay_shape,

P(a, x) the regularised lower incomplete gamma function. For exponential delays
that is 1 - (1 - e^-r) / r: with a window of 2.2316 mean delays 60 % of the
conversions are seen, and a model of these labels predicts .06 where the truth
is .1.

Validation and test rows have the labels of conversions that come at last, so
every metric of CVR and CTCVR is against these; `conversion_observed` has the
label that their log would have had.
"""

from esmm_jax.data.simulator.config import SimulatorConfig
from esmm_jax.data.simulator.process import HIGHEST, Impressions
from esmm_jax.data.simulator.process import LogProcess, Outcomes
from esmm_jax.types import Columns
import numpy as np
from scipy import special

TRUTH = (
    'p_cvr_observed',
    'click_age',
    'conversion_delay',
    'conversion_observed',
    'conversion_eventually',
)

_STREAM = 5  # Of random numbers; see `process`.


class Delays:
  """Draws delays and ages in the blocks of the log."""

  def __init__(self, config: SimulatorConfig, process: LogProcess):
    """Calibrates the delays.

    Args:
      config: The dials, with a delay.
      process: The log's process of these dials.
    """
    self._config, self._process = config, process
    self._norm = 1.0
    if config.delay_spread:
      self._norm = self._effect(process.calibration_draw()).mean()

  def columns(
      self, block: int, shown: Impressions, outcomes: Outcomes
  ) -> Columns:
    """Draws the columns `TRUTH` of a block.

    Args:
      block: Its number.
      shown: Its impressions, n = `process.BLOCK`.
      outcomes: Of these.

    Returns:
      p_cvr_observed: float32 [n], P(conversion and D <= A | click, features),
        what a model of the training labels converges to.
      click_age: float32 [n], A, days above 0, of unclicked rows too.
      conversion_delay: float32 [n], D, days: that of the conversion where one
        comes, or that it would have had.
      conversion_observed: int8 [n], click and conversion, seen in the log.
      conversion_eventually: int8 [n], click and conversion, seen or not.
    """
    config, num = self._config, len(shown.user)
    rng = np.random.default_rng([config.seed, _STREAM, block])
    # (0, 1], so that no click is of age 0.
    age = (config.delay_window * (1.0 - rng.random(num))).astype(np.float32)
    scale = self._scale(shown)
    wait = rng.standard_exponential(num) ** (1.0 / config.delay_shape)
    delay = (scale * wait).astype(np.float32)
    p_seen = share_seen(config.delay_window / scale, config.delay_shape)
    observed = (outcomes.p_cvr_clicked * p_seen).astype(np.float32)
    eventually = outcomes.click * outcomes.conversion_if_clicked
    # Of the rounded numbers: a reader of the columns decides alike.
    seen = eventually * (delay <= age)
    lowest = np.finfo(np.float32).tiny
    values = (
        np.clip(observed, lowest, HIGHEST),
        age,
        delay,
        seen.astype(np.int8),
        eventually.astype(np.int8),
    )
    return dict(zip(TRUTH, values, strict=True))

  def _scale(self, shown: Impressions) -> np.ndarray:
    """Computes the scale of the Weibull distribution, float64 [n]."""
    config = self._config
    mean = config.delay_mean * self._effect(shown) / self._norm
    return mean / special.gamma(1.0 + 1.0 / config.delay_shape)

  def _effect(self, shown: Impressions) -> np.ndarray:
    """Computes exp(delay_spread * Z), float64 [n]."""
    if not self._config.delay_spread:
      return np.ones(len(shown.user))
    z = -self._process.spare(shown).astype(np.float64)
    return np.exp(self._config.delay_spread * z)


def share_seen(windows: np.ndarray, shape: float) -> np.ndarray:
  """Computes the share of conversions that a log shows.

  P(D <= A) of a Weibull delay D of scale 1 and an age A uniform in (0, r].

  >>> import numpy as np
  >>> share_seen(np.array([2.2316]), shape=1.0).round(4).tolist()
  [0.6]

  Args:
    windows: r, windows over scales of the delays, float64 [n], above 0.
    shape: Of the distribution.

  Returns:
    float64 [n], in [0, 1].
  """
  inverse = 1.0 / shape
  late = special.gamma(1.0 + inverse) / windows
  late *= special.gammainc(inverse, windows**shape)
  return np.clip(1.0 - late, 0.0, 1.0)

"""The dials of the simulated log, their presets and their folder names."""

from collections.abc import Iterable
import dataclasses
import hashlib
import math
from typing import Any

from esmm_jax.types import InputError, suggest
import tensorflow_datasets as tfds

_MAX_NAME = 200  # Characters; file systems allow 255.
_PROBABILITY = (float, 0.0, 1.0, 'open')

# Dial -> (type, lowest, highest, `closed` if the bounds are allowed).
_RANGES = {
    'num_train': (int, 1, 10**10, 'closed'),
    'num_valid': (int, 0, 10**10, 'closed'),
    'num_test': (int, 0, 10**10, 'closed'),
    'stages': (int, 2, 3, 'closed'),
    'rho': (float, -1.0, 1.0, 'closed'),
    'hidden': (float, 0.0, 3.0, 'closed'),
    'ctr': _PROBABILITY,
    'cvr': _PROBABILITY,
    'auc_ctr': (float, 0.5, 1.0, 'open'),
    'auc_cvr': (float, 0.5, 1.0, 'open'),
    'policy': (float, 0.0, 100.0, 'closed'),
    'candidates': (int, 1, 1000, 'closed'),
    'users': (int, 0, 10**9, 'closed'),
    'items': (int, 0, 10**9, 'closed'),
    'seed': (int, 0, 2**63 - 1, 'closed'),
    'delay_mean': (float, 0.0, 1e6, 'closed'),
    'delay_shape': (float, 0.2, 10.0, 'closed'),
    'delay_spread': (float, 0.0, 3.0, 'closed'),
    'delay_window': (float, 0.0, 1e6, 'closed'),
}


@dataclasses.dataclass(eq=False, kw_only=True)
class SimulatorConfig(tfds.core.BuilderConfig):
  """The dials: everything that the rows of a simulated log depend on.

  Build one with `simulator_config`, which also names it: TFDS keeps each name
  in its own folder.

  `rho`, the rates and the AUCs are calibrated on 262,144 impressions besides
  those of the log, so the log has them up to its sample. The first 2^20 rows of
  `default`, `sparse`, `anti`, `mnar` and `cart` with five seeds each differed
  from their dials by at most .5 % of `ctr`, .8 % of `cvr`, .0025 of `auc_ctr`
  and .0061 of `auc_cvr`; `tiny`, of 200,000 rows, by 1.2 %, 1.6 %, .0019 and
  .0064 (`python -m tests.data.simulator.dials`).

  Attributes:
    num_train: Training rows, rows [0, num_train) of the log.
    num_valid: Validation rows, the next ones; 0 leaves the split out.
    num_test: Test rows, the last ones; 0 leaves the split out.
    stages: 2: a click, a conversion. 3: a cart between them; clicks and
      conversions stay those of two stages.
    rho: Selection that the features explain: the correlation of the click
      logit and the conversion logit over logged impressions, in [-1, 1].
    hidden: Selection that no feature explains: the log-odds that one standard
      deviation of an unseen common cause adds to both logits, in [0, 3].
    ctr: P(click) over logged impressions.
    cvr: P(conversion | do(click)) over all logged impressions.
    auc_ctr: AUC of `p_ctr` against `click` over all impressions, the best that
      any model can reach.
    auc_cvr: AUC of `p_cvr` against `conversion_if_clicked` over all
      impressions.
    policy: Weight of the user's taste in the logging policy, which shows the
      candidate of the highest policy * affinity + Gumbel noise; 0 shows by
      popularity alone.
    candidates: Items that the policy chooses from, drawn by popularity.
    users: Users in the world; 0: one for 150 training rows, at least 2,000.
    items: Items in the world; 0: one for 12 training rows, at least 5,000.
    seed: Of the world and of the log.
    uniform_test: Test rows show items drawn uniformly, as a random policy
      would. `rho`, the rates and the AUCs hold for logged rows only.
    delay_mean: Mean time from a click to its conversion, in days, over logged
      impressions; 0: conversions come with the click, and no other column or
      byte changes. `cvr` and `auc_cvr` are of conversions that come at last.
    delay_shape: Shape of the Weibull distribution of the delay: 1 is
      exponential, as DFM assumes; below 1 most come soon and some very late.
    delay_spread: Standard deviation of the logarithm of the mean delay over
      impressions: dear items take longer. 0: it depends on no feature.
    delay_window: Age of the oldest click when the log of the training rows was
      taken, in days; ages are uniform up to it. A conversion whose delay is
      above the age of its click is not in that log: the label is 0. Labels of
      validation and test rows are of conversions that come at last.
  """

  num_train: int = 2_000_000
  num_valid: int = 200_000
  num_test: int = 1_000_000
  stages: int = 2
  rho: float = 0.6
  hidden: float = 0.0
  ctr: float = 0.04
  cvr: float = 0.02
  auc_ctr: float = 0.75
  auc_cvr: float = 0.80
  policy: float = 1.0
  candidates: int = 4
  users: int = 0
  items: int = 0
  seed: int = 0
  uniform_test: bool = False
  delay_mean: float = 0.0
  delay_shape: float = 1.0
  delay_spread: float = 0.0
  delay_window: float = 0.0

  def __post_init__(self):
    for dial in DIALS:
      setattr(self, dial, checked_dial(dial, getattr(self, dial)))
    self._check_delay()

  @property
  def is_delayed(self) -> bool:
    """True if conversions come later than clicks."""
    return self.delay_mean > 0

  @property
  def num_users(self) -> int:
    return self.users or max(2_000, self.num_train // 150)

  @property
  def num_items(self) -> int:
    return self.items or max(5_000, self.num_train // 12)

  @property
  def num_categories(self) -> int:
    return max(50, self.num_items // 300)

  @property
  def num_shops(self) -> int:
    return max(500, self.num_items // 6)

  @property
  def num_brands(self) -> int:
    return max(200, self.num_items // 20)

  @property
  def splits(self) -> dict[str, tuple[int, int]]:
    """Split -> (first row, one past the last row) of the log."""
    ends = [0, self.num_train, self.num_train + self.num_valid]
    ends.append(ends[-1] + self.num_test)
    bounds = zip(('train', 'valid', 'test'), ends[:-1], ends[1:])
    return {split: (low, high) for split, low, high in bounds if low < high}

  def _check_delay(self) -> None:
    """Refuses a delay without a window, and dials of a delay without one.

    Raises:
      InputError: Names the dial.
    """
    if self.is_delayed:
      if not self.delay_window:
        raise InputError(
            f"Dial 'delay_mean' is {self.delay_mean:g} and 'delay_window' is 0;"
            ' set delay_window, the age in days of the oldest click when the'
            ' log was taken.'
        )
      return
    for dial in ('delay_shape', 'delay_spread', 'delay_window'):
      value = getattr(self, dial)
      if value != type(self).__dataclass_fields__[dial].default:
        raise InputError(
            f'Dial {dial!r} is {value:g}, which has no effect: delay_mean is 0.'
            ' Set delay_mean too, or leave it out.'
        )


DIALS = tuple(_RANGES) + ('uniform_test',)


def checked_dial(dial: str, value: Any) -> int | float | bool:
  """Converts a value to the dial's type, so that 1 and 1.0 are the same.

  Args:
    dial: Its name.
    value: The user's.

  Raises:
    InputError: The value is of another type or out of range.
  """
  if dial == 'uniform_test':
    if value not in (False, True):
      raise InputError(f'Dial {dial!r} is {value!r}; it must be True or False.')
    return bool(value)
  kind, low, high, bounds = _RANGES[dial]
  try:
    number = kind(value)
    same = not isinstance(value, (bool, str)) and number == value
  except (TypeError, ValueError, OverflowError):
    number, same = math.nan, False
  inside = low < number < high if bounds == 'open' else low <= number <= high
  if not same or not inside:
    between = 'strictly between' if bounds == 'open' else 'from'
    to = 'and' if bounds == 'open' else 'to'
    what = 'a whole number' if kind is int else 'a number'
    raise InputError(
        f'Dial {dial!r} is {value!r}; it must be {what} {between}'
        f' {low:g} {to} {high:g}.'
    )
  return number + 0  # -0.0 becomes 0.0.


def _presets() -> tuple[SimulatorConfig, ...]:
  tiny = dict(num_train=140_000, num_valid=20_000, num_test=40_000)
  large = dict(num_train=40_000_000, num_valid=1_000_000, num_test=2_000_000)
  return (
      _preset('default', '2M rows, CTR 4 %, CVR 2 %.'),
      _preset('tiny', '200k rows, for tests.', **tiny),
      _preset('sparse', 'CVR 0.5 %, as Ali-CCP.', cvr=0.005),
      _preset('anti', 'Buyers click less.', rho=-0.6),
      _preset('mnar', 'A hidden common cause.', hidden=1.0),
      _preset('cart', 'Click, cart, purchase.', stages=3),
      _preset('large', '40M training rows.', **large),
  )


def _preset(name: str, description: str, **dials: Any) -> SimulatorConfig:
  return SimulatorConfig(name=name, description=description, **dials)


PRESETS = {config.name: config for config in _presets()}


def simulator_config(preset: str = 'default', **dials: Any) -> SimulatorConfig:
  """Returns a preset with some dials changed, under a name that lists them.

  The name is the preset followed by each changed dial, for example
  `default-rho_0.3-seed_2`: equal dials give equal names, different dials
  different ones. A name too long for a folder ends in a hash instead.

  Args:
    preset: A key of `PRESETS`.
    **dials: Attributes of `SimulatorConfig`; None keeps the preset's value.

  Raises:
    InputError: There is no such preset or dial, or a value is out of range.
  """
  _check_name('preset', preset, PRESETS)
  base = PRESETS[preset]
  changed = {}
  for dial, value in dials.items():
    _check_name('dial', dial, DIALS)
    if value is not None:
      value = checked_dial(dial, value)
      if value != getattr(base, dial):
        changed[dial] = value
  if not changed:
    return base
  name = preset
  for dial in DIALS:
    if dial in changed:
      name += f'-{dial}_{_text(changed[dial])}'
  if len(name) > _MAX_NAME:
    name = f'{preset}-{hashlib.sha256(name.encode()).hexdigest()[:32]}'
  return dataclasses.replace(base, name=name, **changed)


def _text(value: int | float | bool) -> str:
  """Returns the shortest text that reads back as the value."""
  if isinstance(value, float) and float(f'{value:g}') == value:
    return f'{value:g}'
  return str(value).lower()


def _check_name(what: str, name: str, names: Iterable[str]) -> None:
  if name not in names:
    raise InputError(
        f'No {what} {name!r} of the simulated log. {suggest(name, names)}'
    )

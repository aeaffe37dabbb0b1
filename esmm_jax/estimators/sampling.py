"""Weights of the impressions in the CVR loss: AMAN and OVERSAMPLING.

AMAN of the ESMM paper takes un-clicked impressions as negatives, OVERSAMPLING
copies conversions. Both are weights on the rows of the CVR loss: a row of
weight k gives the loss and gradient of k copies in the same batch. The paper
resamples its data set before training; here the un-clicked rows are drawn anew
at each step, which in one epoch is the same, and copies are not spread over
batches.
"""

from typing import NamedTuple

from esmm_jax.estimators.losses import ROWS
from esmm_jax.options import check_number, Range, SHARE
from esmm_jax.types import Array, Labels
import jax
import jax.numpy as jnp

# Label with a uniform random number in [0, 1) for each impression, float32 [B].
# Random numbers are passed as labels because a step splits its batch into
# parts, and labels are split with their examples.
UNIFORM = 'uniform'
# That, and how often each impression is in the CVR loss.
CVR_ROWS = f'cvr_clicked{ROWS}'
COLUMNS = (UNIFORM, CVR_ROWS)


class Sampling(NamedTuple):
  """Rates that may differ between replicas of one program.

  Attributes:
    unclicked_rate: Share of the un-clicked impressions that are in the CVR loss
      with label 0: AMAN.
    conversion_copies: Weight of a clicked impression with a conversion in the
      CVR loss: OVERSAMPLING; need not be whole.
  """

  unclicked_rate: float | Array = 0.0
  conversion_copies: float | Array = 1.0

  def check(self) -> None:
    """Refuses rates outside their ranges.

    Raises:
      InputError: A rate is.
    """
    for name, allowed in _RANGES.items():
      check_number(f'sampling.{name}', getattr(self, name), allowed)


_RANGES = {'unclicked_rate': SHARE, 'conversion_copies': Range(1, 1e38)}
NONE = Sampling()


def cvr_rows(labels: Labels, uniform: Array, sampling: Sampling) -> Array:
  """Computes the weight of each impression in the CVR loss.

      click (1 + (copies - 1) conversion) + (1 - click) [u < rate]

  Args:
    labels: `click` and `conversion`, float32 [B].
    uniform: float32 [B], uniform on [0, 1). Rates share it: the rows that a
      rate takes are among those of every higher one.
    sampling: The rates, scalars.

  Returns:
    float32 [B], for the label `cvr_clicked_rows` (`losses.space_term`).

  References:
    Ma et al., ESMM, SIGIR 2018, section 3.1 (AMAN, OVERSAMPLING), after Pan et
    al., One-Class Collaborative Filtering, ICDM 2008, and Weiss, Mining with
    Rarity, SIGKDD Explorations 6(1), 2004.
  """
  click = labels['click']
  converted = click * labels['conversion']
  copies = click + (sampling.conversion_copies - 1.0) * converted
  negatives = (1.0 - click) * (uniform < sampling.unclicked_rate)
  return copies + negatives


def draw(key: Array, labels: Labels, num: int) -> Labels:
  """Adds a random number for each impression to the labels.

  Args:
    key: Random key of one replica and step.
    labels: Label -> float32 [B].
    num: B.

  Returns:
    The labels and `UNIFORM`, float32 [B].
  """
  return {**labels, UNIFORM: jax.random.uniform(key, (num,), jnp.float32)}

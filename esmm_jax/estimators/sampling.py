"""Which impressions stand in CVR's training set, and how often.

The paper's AMAN takes un-clicked impressions as negatives, its OVERSAMPLING
copies conversions. Both say how often each impression counts in the CVR loss,
so they are weights on its rows: a row that counts k times gives the loss and
gradient of k copies in the same batch. The paper resamples its data set before
training; here the un-clicked rows are drawn anew at each step, which in one
epoch is the same, and copies are not spread over batches.
"""

from typing import NamedTuple

from esmm_jax.options import check_number, Range, SHARE
from esmm_jax.types import Array, Labels
import jax
import jax.numpy as jnp

# The label in which a step tells an estimator what it drew: float32 [B],
# uniform on [0, 1), one number for each impression.
UNIFORM = 'uniform'


class Sampling(NamedTuple):
  """Rates that may differ between replicas of one program.

  Attributes:
    unclicked_rate: Share of the un-clicked impressions that stand in CVR's
      training set, with label 0: AMAN.
    conversion_copies: How often a clicked impression with a conversion stands
      there: OVERSAMPLING; need not be whole.
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
  """How often each impression stands in CVR's training set.

      click (1 + (copies - 1) conversion) + (1 - click) [u < rate]

  Args:
    labels: `click` and `conversion`, float32 [B].
    uniform: float32 [B], uniform on [0, 1). Rates share it: the rows that a
      rate takes are among those of every higher one.
    sampling: The rates, scalars.

  Returns:
    float32 [B].

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
  """The labels with a random number for each impression.

  Args:
    key: Of this replica and step.
    labels: Label -> float32 [B].
    num: B.
  """
  return {**labels, UNIFORM: jax.random.uniform(key, (num,), jnp.float32)}

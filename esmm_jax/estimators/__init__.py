"""On which sample space, and with which weights, the logits are trained.

An estimator is a function `(logits, labels, where, **options)` that returns its
terms as (sum, count). To add one: a file, and a line in `ESTIMATORS`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from esmm_jax.estimators.click_space import click_space
from esmm_jax.estimators.conversion_if_clicked import conversion_if_clicked
from esmm_jax.estimators.entire_space import entire_space
from esmm_jax.types import LossTerms


class Estimator(NamedTuple):
  """An objective and what it needs.

  Attributes:
    terms: The function.
    weights: Its terms and their default weights in the loss.
    truth_labels: Truth columns that it takes as labels.
  """

  terms: Callable[..., LossTerms]
  weights: Mapping[str, float]
  truth_labels: tuple[str, ...] = ()


ESTIMATORS = {
    'entire_space': Estimator(
        entire_space, {'ctr': 1.0, 'ctcvr': 1.0, 'cvr_clicked': 0.0}
    ),
    'click_space': Estimator(click_space, {'ctr': 1.0, 'cvr_clicked': 1.0}),
    'conversion_if_clicked': Estimator(
        conversion_if_clicked,
        {'ctr': 1.0, 'cvr_entire': 1.0},
        ('conversion_if_clicked',),
    ),
}

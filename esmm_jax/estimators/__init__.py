"""On which sample space, and with which weights, the outputs are trained.

An estimator is a function `(logits, labels, where, *, tasks, **options)` that
returns its terms as (sum, count). To add one: a file, and a line in
`ESTIMATORS`.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import conversion_if_clicked as _bound
from esmm_jax.estimators import end_to_end as _end_to_end
from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import unbias as _unbias
from esmm_jax.estimators.funnel import CONDITIONAL, JOINT
from esmm_jax.tasks import Tasks
from esmm_jax.types import LossTerms


class Estimator(NamedTuple):
  """An objective and what it needs.

  Attributes:
    terms: The function.
    weights: Tasks -> its terms and their default weights in the loss.
    truth_labels: Truth columns that it takes as labels.
    reading: What it takes a model's outputs for, `funnel.CONDITIONAL` or
      `funnel.JOINT`.
    draws: Whether it needs the label `uniform`, a random number a row.
    traced: Options that are numbers and may differ between replicas.
  """

  terms: Callable[..., LossTerms]
  weights: Callable[[Tasks], Mapping[str, float]]
  truth_labels: tuple[str, ...] = ()
  reading: str = CONDITIONAL
  draws: bool = False
  traced: tuple[str, ...] = ()


ESTIMATORS = {
    'entire_space': Estimator(
        _entire_space.entire_space, _entire_space.default_weights
    ),
    'click_space': Estimator(
        _click_space.click_space, _click_space.default_weights
    ),
    'end_to_end': Estimator(
        _end_to_end.end_to_end, _end_to_end.default_weights, reading=JOINT
    ),
    'unbias': Estimator(
        _unbias.unbias,
        _unbias.default_weights,
        draws=True,
        traced=('propensity_floor',),
    ),
    'conversion_if_clicked': Estimator(
        _bound.conversion_if_clicked,
        _bound.default_weights,
        ('conversion_if_clicked',),
    ),
}

"""Labels with the names of an estimator's own terms and columns."""

from esmm_jax.estimators import ESTIMATORS
from esmm_jax.estimators import sampling
from esmm_jax.estimators.contract import bind, clashes, Needs
from esmm_jax.tasks import FUNNEL, spaces, Task
from esmm_jax.types import InputError
import pytest

KEYS = {space.key for space in spaces(FUNNEL)}
OWN = [
    (name, term)
    for name, estimator in ESTIMATORS.items()
    for term in sorted({*estimator.weights(FUNNEL)} - KEYS)
]


@pytest.mark.parametrize('name, term', OWN)
def test_a_label_with_the_name_of_a_term(name, term):
  estimator = ESTIMATORS[name]
  tasks = (*FUNNEL, Task(term, term))
  with pytest.raises(InputError, match=f'has a term {term!r}, and the label'):
    bind(name, estimator, {}, tasks)
  # After the click its terms have other names.
  after = (*FUNNEL, Task(term, term, 'ctr'))
  assert {*bind(name, estimator, {}, FUNNEL).weights} <= {
      *bind(name, estimator, {}, after).weights}


@pytest.mark.parametrize('needs, drawn, label', [
    (Needs(frozen=('ctr', 'cvr')), (), 'frozen_cvr'),
    (Needs(), sampling.COLUMNS, 'uniform'),
    (Needs(), sampling.COLUMNS, 'cvr_clicked_rows')])
def test_a_label_with_the_name_of_a_column(needs, drawn, label):
  """A batch has one column of a name; the label would be that of no row."""
  labels = ['click', 'conversion', label]
  with pytest.raises(InputError, match=f'label or weight {label!r}.*rename'):
    clashes.check_columns('any', needs, labels, (), drawn)
  clashes.check_columns('any', Needs(), labels, (), ())

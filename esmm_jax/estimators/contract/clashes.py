"""Names of a person's data that an estimator needs for something else."""

from collections.abc import Callable, Collection, Mapping, Sequence

from esmm_jax.estimators.contract.estimator import Needs
from esmm_jax.tasks import FUNNEL, spaces, Tasks
from esmm_jax.types import InputError


def check_terms(
    name: str,
    weights: Callable[[Tasks], Mapping[str, float]],
    tasks: Tasks,
) -> None:
  """Refuses a task whose term would be one that the estimator has anyway.

  Args:
    name: The estimator, for the message.
    weights: Tasks -> its terms.
    tasks: Those of the data.

  Raises:
    InputError: One of the two would be left out of the loss.
  """
  try:
    ours = {*weights(FUNNEL)} - {space.key for space in spaces(FUNNEL)}
  except InputError:  # It is of other tasks alone.
    return
  for space in spaces(tasks):
    if space.key in ours:
      raise InputError(
          f'estimator={name!r} has a term {space.key!r}, and the label'
          f' {space.label!r} makes one of the same name. Rename that label'
          ' (:name=NAME in dataset.labels), or use another estimator.'
      )


def check_columns(
    name: str,
    needs: Needs,
    labels: Sequence[str],
    truth: Collection[str],
    drawn: Collection[str],
) -> None:
  """Refuses labels that columns of the step would replace, and absent columns.

  Args:
    name: The estimator, for the message.
    needs: Its columns.
    labels: Columns that the data has as labels, and as the rows' weight.
    truth: Its columns of the truth.
    drawn: Columns that the step draws.

  Raises:
    InputError: Names the first column.
  """
  added = {f'frozen_{task}' for task in needs.frozen} | {*drawn}
  for label in labels:
    if label in added:
      raise InputError(
          f'The label or weight {label!r} has the name of a column that'
          f' estimator={name!r} with these options adds to the batches; rename'
          ' it (of a label :name=NAME in dataset.labels).'
      )
  for column in needs.truth_labels:
    if column not in truth:
      where = 'use dataset synthetic_funnel'
      if truth:
        where = f'the truth here is {", ".join(truth)}, and with'
        where += ' dataset.delay_mean and delay_window columns of delays'
      raise InputError(
          f'estimator={name!r} needs the column {column!r}, which exists only'
          f' where the truth is known; {where}, or use another estimator or'
          ' option of it.'
      )

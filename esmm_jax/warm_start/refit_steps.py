"""The rows and the steps of a refit: `refit` has its config.

With S the step that was selected, L the steps of an epoch there and L' those
of an epoch here, a refit has S L' / L steps, rounded to the nearest, halves up.
The learning rate is that of the same share of an epoch there: the schedule is
of num_epochs * L' steps, of which a refit may not see the end, and its warm-up
is longer by L' / L too.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.options import FIT_ON
from esmm_jax.types import InputError
from esmm_jax.warm_start.options import RefitOptions
from esmm_jax.workdir import manifest, provenance


class Length(NamedTuple):
  """Steps of a run.

  Attributes:
    total: Steps that it is trained for.
    schedule: Steps that its learning rate is spread over.
    warmup: Steps of these in which it rises.
  """

  total: int
  schedule: int
  warmup: int


def names(split: str) -> list[str]:
  """Returns the names of splits: 'train[:10%]+valid' -> train, valid."""
  return [part.partition('[')[0].strip() for part in split.split('+')]


def check_held_out(dataset: Any) -> None:
  """Refuses splits to be held out whose rows the vocabularies are fitted on.

  Args:
    dataset: The settings of the section `dataset`.

  Raises:
    InputError: It selects or is tested on rows that are not held out.
  """
  fit_on = dataset.section.get('fit_on')
  if fit_on != FIT_ON[1]:
    return
  splits = {'valid': dataset.valid_split, 'test': dataset.test_split}
  for key, split in splits.items():
    if 'valid' in names(split):
      raise InputError(
          f"dataset.fit_on is '{fit_on}', so the rows of dataset.{key}_split"
          f" '{split}' are not held out. Leave dataset.fit_on out (refit_of"
          f' sets it), or name other rows in dataset.{key}_split.'
      )


def check_data(
    refit: RefitOptions,
    dataset: Any,
    open_data: Callable[[Mapping[str, Any]], ColumnarBuilder],
) -> None:
  """Refuses a refit on other data, or on rows that are to be held out.

  Args:
    refit: Names the run.
    dataset: The settings of the section `dataset`.
    open_data: Prepares the data set of a section.

  Raises:
    InputError: The data is not that of the run; rows of validation are rows of
      training or of test.
  """
  where = f'refit_of={refit.refit_of}'
  section = {k: v for k, v in dataset.section.items() if k != 'fit_on'}
  builder = open_data(section)
  data = provenance.data(builder)
  if manifest.data_hash(data) != refit.refit_data:
    raise InputError(
        f'{where} was trained on data with the sha256 {refit.refit_data}, but'
        f' this is {data}. Set --data_dir to the data of that run, or prepare'
        ' it again from the same files.'
    )
  split, test = dataset.train_split, dataset.test_split
  if num := builder.num_shared(split):
    raise InputError(
        f'{where}: in that run, {num:,} rows occur twice in dataset.train_split'
        f' {split!r}, so it selected on rows that it was trained on. Train it'
        ' again with a validation split of other rows.'
    )
  if test and (num := builder.num_shared(split, test)):
    raise InputError(
        f'{where}: in that run, the training and validation splits, {split!r},'
        f' share {num:,} rows with dataset.test_split {test!r}, which a refit'
        ' must not see. Train it again with a test split of other rows.'
    )


def length(
    refit: RefitOptions,
    num_epochs: int,
    warmup: int,
    steps_per_epoch: int,
    before: Callable[[str], int],
) -> Length:
  """Returns the steps of a run.

  Args:
    refit: Of a run that is no refit: all its epochs are trained.
    num_epochs: Passes over the training split.
    warmup: Steps of linear rise of the learning rate.
    steps_per_epoch: Those here.
    before: Counts the steps of an epoch over a split.

  Raises:
    InputError: The config names a run and notes nothing of it.
  """
  if not refit:
    total = num_epochs * steps_per_epoch
    return Length(total, total, warmup)
  if refit.refit_step is None:  # `refit` did not look for the run.
    raise InputError(
        f'refit_of={refit.refit_of}: the step that this run chose is not noted'
        ' in the config; the program train and train_and_evaluate note it.'
    )
  length_before = before(refit.refit_split)

  def scaled(steps: int) -> int:
    return (2 * steps * steps_per_epoch + length_before) // (2 * length_before)

  return Length(
      scaled(refit.refit_step), num_epochs * steps_per_epoch, scaled(warmup)
  )


def facts(refit: RefitOptions) -> dict[str, Any]:
  """Returns what results.json says of a refit; {} of another run."""
  if not refit:
    return {}
  return {
      'refit_of': {
          'identity': refit.refit_identity,
          'step': refit.refit_step,
          'params_sha256': refit.refit_params_sha256,
          'metric': refit.refit_metric,
      }
  }


def line(refit: RefitOptions, split: str, num_rows: int, steps: int) -> str:
  """Returns a line for people on what a refit does; '' of another run.

  Args:
    refit: Names the run.
    split: Rows that are trained on.
    num_rows: Their number.
    steps: Steps of the refit.
  """
  if not refit:
    return ''
  metric = refit.refit_metric or 'its last parameters'
  return (
      f'Refit of {refit.refit_of}, whose step {refit.refit_step:,} was chosen'
      f' ({metric}): {steps:,} steps on the {num_rows:,} rows of {split!r}; no'
      ' rows select, the test split is seen once.'
  )

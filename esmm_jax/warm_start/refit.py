"""A run that trains anew on all that another one learned and selected from.

`refit_of` names a finished run. It selected its parameters on the validation
split; a refit has its config, is initialised as it was, and is trained on its
rows of training and of validation, for as many epochs as lie before the step
selected there. It selects nothing and holds nothing out but the test split.

With S the step that was selected, L the steps of an epoch there and L' those
of an epoch here, a refit has S L' / L steps, rounded to the nearest, halves up.
The learning rate is that of the same share of an epoch there: the schedule is
of num_epochs * L' steps, of which a refit may not see the end, and its warm-up
is longer by L' / L too.

The numbers of the other run are noted in config.json, so a refit that has begun
resumes after that run is deleted.
"""

from collections.abc import Callable, Mapping
import os
from typing import Any, NamedTuple

from esmm_jax import paths
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.store.options import FIT_ON
from esmm_jax.json_files import read_json, to_json
from esmm_jax.metrics.choosing import default_metric
from esmm_jax.tasks import Tasks
from esmm_jax.types import InputError
from esmm_jax.warm_start.options import RefitOptions
from esmm_jax.workdir import ended, manifest, provenance, verify
from esmm_jax.workdir.folder import decisive, differences, flatten
from esmm_jax.workdir.folder import read_finished, read_schema, record

REFIT = 'refit_of'
_IDENTITY = 'refit_identity'
_NOTED = [name for name in RefitOptions.names() if name != REFIT]
# Data sets whose vocabularies and scalings are fitted on the rows of `fit_on`.
_FITTED = ('kuairand', 'tabular')
# Keys that may differ: where the raw data lies, and what `resolve` notes.
_FREE = (*RefitOptions.names(), 'dataset.raw_dir')
# Keys that a refit has otherwise than its run.
_REPLACED = (
    *('dataset.train_split', 'dataset.valid_split', 'dataset.fit_on'),
    'selection.',
)
_AGAIN = 'Train that run again.'


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


def resolve(config: Any, workdir: str = '') -> Any:
  """Returns the config of a refit: that of its run, on more rows.

  Idempotent. A config without `refit_of` is returned as it is.

  Args:
    config: A ConfigDict, resolved but for this; it is not modified.
    workdir: Folder of the refit, which need not exist; '' if it has none.

  Raises:
    InputError: There is no such run, it selected on no validation split, or the
      config has other keys.
  """
  run = config.get(REFIT)
  if not run:
    return config
  if noted := config.get(_IDENTITY):
    now = ended.stamp(paths.expand(run)).identity
    if now not in ('', noted):
      raise InputError(
          f'{REFIT}={run} is another run than the config notes, whose identity'
          f' is {noted[:16]}, not {now[:16]}. Begin with the config of that run'
          ' and in another --workdir.'
      )
    return config
  if os.path.realpath(paths.expand(run)) == (
      os.path.realpath(workdir or os.devnull)
  ):
    raise InputError(
        f'refit_of={run} is the folder of the run itself. Use another'
        ' --workdir.'
    )
  try:
    noted = _noted(config, run)
  except InputError:
    noted = _noted_before(run, workdir)
    if noted is None:
      raise
  filled = on_all_rows(config)
  with filled.unlocked():
    for key, value in noted.items():
      filled[key] = value
  return filled


def on_all_rows(config: Any) -> Any:
  """Returns a config that trains on its rows of validation too.

  It names no other run: a results table asks for it where that run is gone.

  Args:
    config: A ConfigDict; it is not modified. One without `refit_of`, or that
      `resolve` has returned, is returned as it is.
  """
  if not config.get(REFIT) or config.get(_IDENTITY):
    return config
  filled = config.copy_and_resolve_references()
  dataset = filled.dataset
  with filled.unlocked():
    if dataset.name in _FITTED and 'valid' in _names(dataset.valid_split):
      dataset.fit_on = FIT_ON[1]
    dataset.train_split = f'{dataset.train_split}+{dataset.valid_split}'
    dataset.valid_split = ''
    filled.selection = {'metric': '', 'patience': 0}
  return filled


def config_of(
    run: str, workdir: str, keys: Mapping[str, Any]
) -> dict[str, Any]:
  """Returns the config of the run that is trained anew, as config.json has it.

  Where that run is gone, it is the config of the refit, if it has begun.

  Args:
    run: Folder of the run.
    workdir: Folder of the refit, which need not exist.
    keys: Flat keys that a person has set; those of the machine are left to the
      caller.

  Raises:
    InputError: There is no such run, or a key contradicts its config.
  """
  try:
    folder = paths.expand(run)
    config = read_finished(folder, 'config.json', REFIT)
    verify.run(folder, config)
    _check_no_refit(run, config)
  except InputError:
    if _noted_before(run, workdir) is None:
      raise
    config = read_json(os.path.join(workdir, 'config.json'))
    keys = {k: v for k, v in keys.items() if not k.startswith(_REPLACED)}
  keys = {k: to_json(v) for k, v in keys.items() if not k.startswith('run.')}
  then = {k: v for k, v in flatten(config).items() if k in keys}
  _check_same(run, keys, then)
  return config


def _noted(config: Any, run: str) -> dict[str, Any]:
  """Returns the keys that are noted, of a run that is there."""
  folder = paths.expand(run)
  saved, results = (
      read_finished(folder, name, REFIT)
      for name in ('config.json', 'results.json')
  )
  schema = read_schema(folder)
  began = verify.run(folder, saved, schema)
  stamp = ended.stamp(folder)
  if schema is None or not stamp.params_sha256 or 'data' not in began:
    raise InputError(
        f'{REFIT}={run}: it does not say what it was trained on and what it'
        f' came to, as runs of earlier versions. {_AGAIN}'
    )
  then = decisive(saved)
  _check_no_refit(run, saved)
  if not any(key.startswith('valid/') for key in results):
    raise InputError(
        f'{REFIT}={run} had no validation split: it was trained on all that it'
        ' could be. Name a run with one.'
    )
  _check_same(run, decisive(record(config)), then)
  return {
      _IDENTITY: stamp.identity,
      'refit_params_sha256': stamp.params_sha256,
      'refit_step': results['selected_step'],
      'refit_metric': _metric(then, results, schema.tasks),
      'refit_split': then['dataset.train_split'],
      'refit_data': manifest.data_hash(began['data']),
  }


def _noted_before(run: str, workdir: str) -> dict[str, Any] | None:
  """Returns the keys that a refit noted when it began; None if it did not."""
  saved = workdir and read_json(os.path.join(workdir, 'config.json'))
  if not isinstance(saved, dict) or saved.get(REFIT) != run:
    return None
  return {key: saved[key] for key in _NOTED if key in saved}


def _check_no_refit(run: str, config: Mapping[str, Any]) -> None:
  if config.get(_IDENTITY):
    raise InputError(
        f'{REFIT}={run} is a refit itself: it was trained on its rows of'
        ' validation. Name the run that it is a refit of.'
    )


def _check_same(
    run: str, now: Mapping[str, Any], then: Mapping[str, Any]
) -> None:
  """Refuses flat keys that are not as in the run.

  Raises:
    InputError: Names the first key that differs.
  """
  here, there = (
      {k: v for k, v in flat.items() if k not in _FREE} for flat in (now, then)
  )
  if differing := differences(here, there):
    key = differing[0].partition(' is ')[0]
    raise InputError(
        f'{REFIT}={run}: {differing[0]}. A refit has the config of its run:'
        f' set {key} as there, or leave it away.'
    )


def _metric(
    flat: Mapping[str, Any], results: Mapping[str, Any], tasks: Tasks
) -> str:
  """Returns the metric that chose a run's parameters; '' for the last ones."""
  metric = flat.get('selection.metric')
  if metric not in results:
    metric = default_metric(tasks) if metric else metric
  value = results.get(metric)
  return metric if value is not None and value == value else ''


def _names(split: str) -> list[str]:
  """Returns the names of splits: 'train[:10%]+valid' -> train, valid."""
  return [part.partition('[')[0].strip() for part in split.split('+')]


def check_held_out(dataset: Any) -> None:
  """Refuses a validation split whose rows the vocabularies are fitted on.

  Args:
    dataset: The settings of the section `dataset`.

  Raises:
    InputError: It selects on rows that are not held out.
  """
  fit_on = dataset.section.get('fit_on')
  if fit_on == FIT_ON[1] and 'valid' in _names(dataset.valid_split):
    raise InputError(
        f"dataset.fit_on is '{fit_on}', so the rows of dataset.valid_split"
        f" '{dataset.valid_split}' are not held out. Leave dataset.fit_on away"
        " (refit_of sets it), or set dataset.valid_split=''."
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
  where = f'{REFIT}={refit.refit_of}'
  section = {k: v for k, v in dataset.section.items() if k != 'fit_on'}
  builder = open_data(section)
  data = provenance.data(builder)
  if manifest.data_hash(data) != refit.refit_data:
    raise InputError(
        f'{where} was trained on data with the sha256 {refit.refit_data}, and'
        f' here is {data}. Name the --data_dir of its data, or prepare that'
        ' again from the same files.'
    )
  split, test = dataset.train_split, dataset.test_split
  if num := builder.num_shared(split):
    raise InputError(
        f'{where}: dataset.train_split {split!r} has {num:,} rows twice, so'
        ' that run selected on rows that it was trained on. Train it with a'
        ' validation split of other rows.'
    )
  if test and (num := builder.num_shared(split, test)):
    raise InputError(
        f'{where}: its splits of training and validation, {split!r}, have'
        f' {num:,} rows in common with dataset.test_split {test!r}, which a'
        ' refit must not see. Train it with a test split of other rows.'
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
  """
  if not refit:
    total = num_epochs * steps_per_epoch
    return Length(total, total, warmup)
  there = before(refit.refit_split)
  scaled = lambda n: (2 * n * steps_per_epoch + there) // (2 * there)
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
  found = refit.refit_metric or 'its last parameters'
  return (
      f'Refit of {refit.refit_of}, whose step {refit.refit_step:,} was chosen'
      f' ({found}): {steps:,} steps on the {num_rows:,} rows of {split!r}; no'
      ' rows select, the test split is seen once.'
  )

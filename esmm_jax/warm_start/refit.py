"""A run that trains anew on all that another one learned and selected from.

`refit_of` names a finished run. It selected its parameters on the validation
split; a refit has its config, is initialised as it was, and is trained on its
rows of training and of validation, for as many epochs as lie before the step
selected there (`refit_steps`). It selects nothing and holds nothing out but the
test split.

The numbers of the other run are noted in config.json, so a refit that has begun
resumes after that run is deleted.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import paths
from esmm_jax.data.store.options import FIT_ON
from esmm_jax.json_files import read_json, to_json
from esmm_jax.metrics.choosing import default_metric
from esmm_jax.tasks import Tasks
from esmm_jax.types import InputError
from esmm_jax.warm_start.options import RefitOptions
from esmm_jax.warm_start.refit_steps import names
from esmm_jax.workdir import end_note, manifest, verify
from esmm_jax.workdir.folder import decisive, differences, flatten
from esmm_jax.workdir.folder import read_finished, read_schema, record
from esmm_jax.workdir.identity import RAW_DATA_KEYS

REFIT = 'refit_of'
_FROZEN_RUN, _REPLAYED = 'estimator_options.frozen_run', 'balancing.of'
_IDENTITY, _BEGINS = 'refit_identity', 'init_sha256'
_NOTED = [name for name in RefitOptions.names() if name != REFIT]
# Data sets whose vocabularies and scalings are fitted on the rows of `fit_on`.
_FITTED = ('kuairand', 'tabular')
# Keys that may differ, those that `resolve` notes among them. The content of
# the raw data is compared (`refit_steps.check_data`).
_FREE = (*RefitOptions.names(), *RAW_DATA_KEYS)
# Keys that a refit has otherwise than its run.
_REPLACED = (
    *('dataset.train_split', 'dataset.valid_split', 'dataset.fit_on'),
    'selection.',
)
_AGAIN = 'Train that run again.'


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
    now = end_note.stamp(paths.expand(run)).identity
    if now not in ('', noted):
      raise InputError(
          f'{REFIT}={run} has the identity {now[:16]}, but the config records'
          f' the run {noted[:16]}. Start from the config of the run that you'
          ' want to refit, in another --workdir.'
      )
    return config
  if os.path.realpath(paths.expand(run)) == (
      os.path.realpath(workdir or os.devnull)
  ):
    raise InputError(
        f'refit_of={run} is the folder of the run itself. Use another'
        ' --workdir.'
    )
  _check_named(on_all_rows(config), run, workdir)
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


def _check_named(config: Any, run: str, workdir: str) -> None:
  """Refuses a run that names another one which cannot be that of its refit.

  Args:
    config: That of the refit, on all rows.
    run: The run that is trained anew.
    workdir: Folder of the refit; '' if it has none.

  Raises:
    InputError: The refit's data has other ids than its frozen run, or a
      relative path leads to another folder.
  """
  for key in (_FROZEN_RUN, _REPLAYED):
    section, _, option = key.partition('.')
    named = config.get(section, {}).get(option)
    if not named:
      continue
    where = f'{REFIT}={run}: {key}={named}'
    if key == _FROZEN_RUN and config.dataset.get('fit_on'):
      raise InputError(
          f'{where} uses vocabularies and scalings fitted on training rows'
          ' only, but a refit also fits them on validation rows, so the frozen'
          ' run cannot predict the rows of the refit. On such data, refit only'
          ' runs without a frozen run.'
      )
    there, here = (
        os.path.normpath(os.path.join(folder, paths.expand(named)))
        for folder in (paths.expand(run), workdir)
    )
    if workdir and os.path.realpath(there) != os.path.realpath(here):
      raise InputError(
          f'{where} leads to {there} from that run and to {here} from'
          f' --workdir={workdir}. Take a --workdir beside that run.'
      )


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
    if dataset.name in _FITTED and 'valid' in names(dataset.valid_split):
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
  stamp = end_note.stamp(folder)
  if schema is None or not stamp.params_sha256 or 'data' not in began:
    raise InputError(
        f'{REFIT}={run}: an earlier version made that run and did not record'
        f' its data and results. {_AGAIN}'
    )
  then = decisive(saved)
  _check_no_refit(run, saved)
  if not any(key.startswith('valid/') for key in results):
    raise InputError(
        f'{REFIT}={run} had no validation split, so a refit has no rows to add.'
        ' Name a run with a validation split.'
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
        f'{REFIT}={run} is itself a refit, already trained on its validation'
        ' rows. Name the original run.'
    )


def _check_same(
    run: str, now: Mapping[str, Any], then: Mapping[str, Any]
) -> None:
  """Refuses flat keys that are not as in the run.

  Raises:
    InputError: Names the first key that differs.
  """
  now, then = (
      {k: v for k, v in flat.items() if k not in _FREE} for flat in (now, then)
  )
  if now.get(_BEGINS) != then.get(_BEGINS):
    texts = [
        f'{flat[_BEGINS]} (its fingerprint)' if flat.get(_BEGINS) else 'no run'
        for flat in (now, then)
    ]
    raise InputError(
        f'{REFIT}={run}: init_from is {texts[0]} here but {texts[1]} in that'
        ' run. A refit begins as the original run did: set init_from to the'
        ' latter, or leave it out.'
    )
  if differing := differences(now, then):
    key = differing[0].partition(' is ')[0]
    raise InputError(
        f'{REFIT}={run}: {differing[0]}. A refit uses the config of the'
        f' original run: set {key} as there, or leave it out.'
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

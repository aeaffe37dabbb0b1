"""The folder of a run: its identity, its config and its results."""

from collections.abc import Mapping
import importlib.metadata
import json
import os
import platform
import re
from typing import Any

from esmm_jax import options, replaceable, system_errors
from esmm_jax.checksums import hash_json
from esmm_jax.entry import commands
from esmm_jax.json_files import read_json, to_json, write_json
from esmm_jax.metric_names import OURS
from esmm_jax.schema import Schema
from esmm_jax.types import InputError
from esmm_jax.whole_files import make_folders
from esmm_jax.workdir import end_note, soundness

SCHEMA = 'schema.json'
# The keys of the config's section `run`, which say how a machine computes a
# run. They are no part of its identity: it may be resumed, and averaged with
# others, on another machine. They may stand at the top of a config too.
MACHINE_KEYS = (
    'mesh',
    'device_resident',
    'micro_batches',
    'memory_limit_gb',
    'log_every',
    'eval_batch_size',
    'save_predictions',
)
# Keys of earlier versions; in runs they had no other value.
_RETIRED = {'table_update': 'lazy'}
# The same as a config of a version without the key.
_IMPLIED = _RETIRED | {'plugins': [], 'model.interaction': 'none'}
# Defaults of a data set that configs of earlier versions wrote: whether they
# are written or left unset, the run is the same.
DATASET_DEFAULTS = {
    'kuairand': {
        'dataset.conversion': 'long_view',
        'dataset.history': False,
        'dataset.history_form': 'both',
        'dataset.play_time': False,
        'dataset.test_days': 2,
        'dataset.valid_days': 1,
    }
}
# The other way round: earlier configs always wrote it, new ones leave it unset.
_WRITTEN = {
    'tabular': {'dataset.valid_share': 0.1, 'dataset.test_share': 0.1}
}
# What a section `selection` without a metric selects on.
_SELECTS_ON = 'valid/ctcvr/logloss'
# Path -> the key that identifies what lies there, wherever it lies.
_BY_CONTENT = {
    'init_from': 'init_sha256',
    'refit_of': 'refit_identity',
    'dataset.vocabulary_of': 'dataset.vocabulary_sha256',
    'model.vectors': 'model.vectors_sha256',
}
# Files of an encoder, as `data.tabular` writes them.
_ENCODER = re.compile(r'(encoder|unseen)\.json|vocabulary-\d+\.parquet|history')
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def record(config: Any) -> dict[str, Any]:
  """Returns a config as config.json holds it, without the keys that are unset.

  Args:
    config: A ConfigDict.
  """
  tree = to_json(json.loads(config.to_json_best_effort()))
  return with_run_section(_without_unset(tree))


def _without_unset(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Drops the options that are None; sections stay, even if empty."""
  return {
      key: _without_unset(value) if isinstance(value, dict) else value
      for key, value in tree.items()
      if value is not None
  }


def with_run_section(tree: Mapping[str, Any]) -> dict[str, Any]:
  """Moves `MACHINE_KEYS` from the top of a config into its section `run`.

  Args:
    tree: A config as nested mappings; is not changed.
  """
  moved = {k: v for k, v in tree.items() if k in MACHINE_KEYS}
  rest = {k: v for k, v in tree.items() if k not in moved}
  if not moved:
    return rest
  return rest | {'run': {**tree.get('run', {}), **moved}}


def finished(config: dict[str, Any], workdir: str) -> dict[str, Any] | None:
  """Returns what results.json holds if the run is finished, else None.

  A run that lacks the predictions it is asked for, or whose last checkpoint or
  predictions are damaged, is not finished: it is finished again from what is
  sound, with the same numbers.

  Args:
    config: A config as `record` returns it.
    workdir: The run's folder, which need not exist yet.

  Raises:
    InputError: The folder belongs to a run with another config, or its
      predictions are asked for and it has no checkpoint to compute them with.
  """
  path = os.path.join(workdir, 'config.json')
  saved = read_json(path)
  has_results = os.path.lexists(os.path.join(workdir, end_note.RESULTS))
  if saved is None and not os.path.lexists(path) and not has_results:
    return None
  if not isinstance(saved, dict):
    raise InputError(
        f'{path} is missing or damaged, so it is unknown which run the folder'
        ' belongs to. Restore that file, or use another --workdir.'
    )
  both = decisive(config), decisive(saved)
  if differing := differences(*both):
    shown = '; '.join(differing[:5])
    more = f'; and {len(differing) - 5} more' if len(differing) > 5 else ''
    raise InputError(
        f'--workdir={workdir} belongs to a run with another config: {shown}'
        f'{more}. Use another --workdir.{options.former(*both)}'
    )
  results = soundness.sound_results(workdir)
  if results is not None:
    end_note.read_results(workdir, config_sha256=config_hash(saved))
  asks = config.get('run', {}).get('save_predictions', False)
  path = predictions_file(workdir)
  if results is None or not asks:
    return results
  if soundness.has_predictions(path, end_note.stamp(workdir)):
    return results
  if not os.path.isdir(os.path.join(workdir, 'checkpoints')):
    raise InputError(
        f'--workdir={workdir} is finished without predictions and has no'
        ' checkpoints/ to compute them from. Leave save_predictions out, or use'
        ' another --workdir.'
    )
  return None


def claim(
    config: dict[str, Any],
    workdir: str,
    schema: Schema | None = None,
    encoder: str = '',
) -> None:
  """Makes the folder and writes config.json into it.

  Args:
    config: A config as `record` returns it.
    workdir: The run's folder.
    schema: Written to schema.json, so that the run predicts without its data.
    encoder: Folder of the encoder, copied for the same reason; '' for none.

  Raises:
    InputError: The folder cannot be written to.
  """
  try:
    make_folders(workdir)
    if schema is not None:
      write_json(os.path.join(workdir, SCHEMA), schema.to_dict())
    if encoder:
      to = os.path.join(workdir, os.path.basename(encoder))
      replaceable.copy_folder(encoder, to, _ENCODER)
    write_json(os.path.join(workdir, 'config.json'), config)
  except OSError as e:
    raise InputError(
        f'--workdir={workdir}:'
        f' {system_errors.told(e, "Name a folder that can be written.")}'
    ) from e


def decisive(tree: dict[str, Any]) -> dict[str, Any]:
  """Returns the flat keys that identify a run, without the machine's.

  Args:
    tree: A config as config.json holds it, also one of an earlier version.
  """
  if isinstance(tree, dict):  # A damaged file may hold anything.
    tree = with_run_section(tree)
  flat = flatten(tree)
  if isinstance(tree, dict) and 'selection' in tree:
    flat |= _selection(flat)
  for key, value in _WRITTEN.get(str(flat.get('dataset.name')), {}).items():
    if flat.get(key) is None:
      flat[key] = value
  defaults = DATASET_DEFAULTS.get(str(flat.get('dataset.name')), {})
  implied = (_IMPLIED | defaults).items()
  return {
      key: value
      for key, value in flat.items()
      # Unset is absent, so that a run stays the same when an option is added.
      if value is not None
      and value != {}
      and not key.startswith('run.')
      and (key, value) not in implied
      and _BY_CONTENT.get(key) not in flat
  }


def _selection(flat: Mapping[str, Any]) -> dict[str, str]:
  """Fills in metric and mode, which configs of earlier versions wrote."""
  metric, mode = flat.get('selection.metric'), flat.get('selection.mode')
  metric = _SELECTS_ON if metric is None else str(metric)
  return {
      'selection.metric': metric,
      # Of a plugin's metric the same with and without the plugin.
      'selection.mode': mode or OURS.get(metric.rpartition('/')[2]) or 'min',
  }


def read_finished(run: str, name: str, option: str) -> Any:
  """Reads a JSON file that a run has once it is finished.

  Args:
    run: Folder of the run.
    name: `results.json`, say.
    option: The flag or key that names the run, for messages.

  Raises:
    InputError: The run is not finished, or the file is damaged.
  """
  if name == end_note.RESULTS:
    value = end_note.read_results(run)
  else:
    value = read_json(os.path.join(run, name), 'Train again.')
    if value is not None and not isinstance(value, dict):
      raise InputError(f'{run}/{name} is damaged. Train again.')
  if value is None:
    begun = os.path.exists(os.path.join(run, 'config.json'))
    problem = 'is not finished' if begun else 'is not the folder of a run'
    raise InputError(
        f'{option}={run} {problem}: there is no {name}. Name the folder of a'
        f' finished run, or finish the run: {commands.command("train")}.'
    )
  return value


def read_schema(workdir: str) -> Schema | None:
  """Returns a run's schema; None if it was made before runs kept theirs.

  Raises:
    InputError: schema.json is damaged.
  """
  path = os.path.join(workdir, SCHEMA)
  saved = read_json(path, 'Train again.')
  try:
    return None if saved is None else Schema.from_dict(saved)
  except (TypeError, KeyError, InputError) as e:
    raise InputError(f'{path} is damaged ({e}). Train again.') from e


def predictions_file(workdir: str) -> str:
  """Returns the path of a run's predictions of the test split."""
  return os.path.join(workdir, 'predictions', 'test.parquet')


def config_hash(config: dict[str, Any]) -> str:
  """Returns the sha256 of `decisive`, without the path of the raw data."""
  flat = decisive(config)
  flat.pop('dataset.raw_dir', None)
  return hash_json(flat)


def flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
  """Joins the keys of nested dicts: {'a': {'b': 1}} -> {'a.b': 1}."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  flat = {}
  for key, value in tree.items():
    flat |= flatten(value, f'{prefix}.{key}' if prefix else key)
  return flat


def differences(now: dict[str, Any], saved: dict[str, Any]) -> list[str]:
  """Returns a text for each key in which two flat dicts differ."""
  absent = 'absent'
  return [
      f'{key} is {now.get(key, absent)} here and {saved.get(key, absent)}'
      ' there'
      for key in sorted(now.keys() | saved.keys())
      if now.get(key, absent) != saved.get(key, absent)
  ]


def versions() -> dict[str, str]:
  """Returns the versions of Python and of the packages behind the numbers."""
  packages = {name: importlib.metadata.version(name) for name in PACKAGES}
  return {'python': platform.python_version(), **packages}

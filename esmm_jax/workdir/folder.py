"""A run's folder: whose it is, and the facts that go into results.json."""

import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
from typing import Any

from esmm_jax.json_files import read_json, to_json, write_json
from esmm_jax.schema import Schema
from esmm_jax.types import InputError

SCHEMA = 'schema.json'
# Prefixes of the config keys that say how a machine computes a run. They are
# no part of its identity: it may be resumed, and averaged with others, on
# another machine.
MACHINE_KEYS = ('mesh.',)
_REMEDY = 'Delete the folder or use another --workdir.'
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def finished(config: Any, workdir: str) -> dict[str, Any] | None:
  """What results.json holds if this config's run is finished, else None.

  Args:
    config: A ConfigDict.
    workdir: The run's folder, which need not be there yet.

  Raises:
    InputError: The folder belongs to a run with another config.
  """
  path = os.path.join(workdir, 'config.json')
  saved = read_json(path, _REMEDY)
  if saved is None:
    return None
  mine, theirs = decisive(_plain(config)), decisive(saved)
  differing = differences(mine, theirs)
  if differing:
    shown = '; '.join(differing[:5])
    more = f'; and {len(differing) - 5} more' if len(differing) > 5 else ''
    raise InputError(
        f'--workdir={workdir} belongs to a run with another config: {shown}'
        f'{more}. Use another --workdir, or delete that one.'
    )
  return read_json(os.path.join(workdir, 'results.json'), _REMEDY)


def claim(
    config: Any,
    workdir: str,
    schema: Schema | None = None,
    encoder: str = '',
) -> None:
  """Makes the folder and writes config.json into it.

  Args:
    config: A ConfigDict.
    workdir: The run's folder.
    schema: Goes into schema.json, so that the run predicts without its data.
    encoder: Folder that is copied, for the same.

  Raises:
    InputError: The folder cannot be written.
  """
  try:
    os.makedirs(workdir, exist_ok=True)
    if schema is not None:
      write_json(os.path.join(workdir, SCHEMA), schema.to_dict())
    if encoder:
      _copy(encoder, os.path.join(workdir, os.path.basename(encoder)))
    write_json(os.path.join(workdir, 'config.json'), _plain(config))
  except OSError as e:
    raise InputError(
        f'--workdir={workdir}: {e.strerror}. Name a folder that can be'
        ' written.'
    ) from e


def _copy(folder: str, to: str) -> None:
  """Copies a folder, whole or not at all."""
  temporary = f'{to}.{os.getpid()}.tmp'
  shutil.copytree(folder, temporary)
  shutil.rmtree(to, ignore_errors=True)
  os.rename(temporary, to)


def _plain(config: Any) -> dict[str, Any]:
  """The config as JSON would give it back."""
  return to_json(json.loads(config.to_json_best_effort()))


def decisive(tree: dict[str, Any]) -> dict[str, Any]:
  """Returns the flat keys that make a run another one, without `MACHINE_KEYS`.

  Args:
    tree: A config as config.json holds it.
  """
  return {
      key: value
      for key, value in flatten(tree).items()
      if not key.startswith(MACHINE_KEYS)
  }


def predictions_file(workdir: str) -> str:
  """Where a run's predictions of the test split lie."""
  return os.path.join(workdir, 'predictions', 'test.parquet')


def config_hash(config: Any) -> str:
  """sha256 over the keys and values of a config, but for raw_dir and mesh."""
  flat = decisive(_plain(config))
  flat.pop('dataset.raw_dir', None)  # Where the data lies is no part of it.
  text = json.dumps(flat, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()


def flatten(tree: Any, prefix: str = '') -> dict[str, Any]:
  """{'a': {'b': 1}} -> {'a.b': 1}."""
  if not isinstance(tree, dict):
    return {prefix: tree}
  flat = {}
  for key, value in tree.items():
    flat |= flatten(value, f'{prefix}.{key}' if prefix else key)
  return flat


def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
  """One text for each key that differs."""
  absent = 'absent'
  return [
      f'{key} is {mine.get(key, absent)} here and {theirs.get(key, absent)}'
      ' there'
      for key in sorted(mine.keys() | theirs.keys())
      if mine.get(key, absent) != theirs.get(key, absent)
  ]


def versions() -> dict[str, str]:
  """Versions of Python and of the packages that numbers depend on."""
  found = {name: importlib.metadata.version(name) for name in PACKAGES}
  return {'python': platform.python_version(), **found}

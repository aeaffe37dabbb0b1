"""Records what a run began with, so that it resumes with the same only."""

from collections.abc import Mapping
import json
import os
from typing import Any

from esmm_jax.json_files import write_json
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import config_hash, differences, versions

NAME = 'manifest.json'


def make(config: dict[str, Any], data: str) -> dict[str, Any]:
  """Collects what decides a run's numbers.

  Args:
    config: A config as `folder.record` returns it.
    data: Name and hash of the data, as `provenance.data` returns them.

  Returns:
    Hash of the config, name and hash of the data, versions of the packages.
  """
  return {
      'config_sha256': config_hash(config),
      'data': data,
      'versions': versions(),
  }


def write(workdir: str, manifest: Mapping[str, Any]) -> None:
  """Writes the manifest into the folder of a run that begins."""
  write_json(os.path.join(workdir, NAME), manifest)


def read(workdir: str) -> dict[str, Any]:
  """Reads the manifest of a run.

  Raises:
    InputError: The file is absent or damaged.
  """
  path = os.path.join(workdir, NAME)
  try:
    with open(path, encoding='utf-8') as f:
      manifest = json.load(f)
    return {k: manifest[k] for k in ('config_sha256', 'data', 'versions')}
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise InputError(
        f'{path} cannot be read ({e}), so it is not known what this run began'
        ' with. Use another --workdir, or delete that one.'
    ) from e


def check(workdir: str, now: Mapping[str, Any]) -> list[str]:
  """Compares a run that resumes with what it began with.

  Args:
    workdir: The run's folder.
    now: What `make` returns now.

  Returns:
    Warnings: libraries of other versions.

  Raises:
    InputError: The run began with another config or other data, or its
      manifest cannot be read.
  """
  began = read(workdir)
  versions_then = began.pop('versions')
  if differing := differences({k: now[k] for k in began}, began):
    raise InputError(
        f'--workdir={workdir} cannot go on: {"; ".join(differing)} ({NAME}).'
        ' Use the same data, another --workdir, or delete that one.'
    )
  return [
      f'This run began with {name} {versions_then.get(name, "absent")}'
      f' and resumes with {version}; numbers may differ from those of an'
      ' uninterrupted run.'
      for name, version in now['versions'].items()
      if versions_then.get(name) != version
  ]

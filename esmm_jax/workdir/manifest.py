"""What a run began with, so that it goes on with the same or not at all."""

from collections.abc import Mapping
import json
import os
from typing import Any

from esmm_jax.json_files import write_json
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import config_hash, differences, versions

NAME = 'manifest.json'


def make(config: dict[str, Any], data: str) -> dict[str, Any]:
  """What decides a run's numbers.

  Args:
    config: As `folder.record` gives it.
    data: Name and hash of the data, as `provenance.data` gives them.
  """
  return {
      'config_sha256': config_hash(config),
      'data': data,
      'versions': versions(),
  }


def write(workdir: str, mine: Mapping[str, Any]) -> None:
  """Writes it into the folder of a run that begins."""
  write_json(os.path.join(workdir, NAME), mine)


def read(workdir: str) -> dict[str, Any]:
  """What `write` wrote.

  Raises:
    InputError: It cannot be read.
  """
  path = os.path.join(workdir, NAME)
  try:
    with open(path, encoding='utf-8') as f:
      found = json.load(f)
    return {k: found[k] for k in ('config_sha256', 'data', 'versions')}
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise InputError(
        f'{path} cannot be read ({e}), so it is not known what this run began'
        ' with. Use another --workdir, or delete that one.'
    ) from e


def check(workdir: str, mine: Mapping[str, Any]) -> list[str]:
  """Compares a run that goes on with what it began with.

  Args:
    workdir: Its folder.
    mine: What `make` gives now.

  Returns:
    Warnings: libraries of other versions.

  Raises:
    InputError: It was another config or other data, or cannot be read.
  """
  theirs = read(workdir)
  then = theirs['versions']
  began = {k: theirs[k] for k in ('config_sha256', 'data')}
  now = {k: mine[k] for k in began}
  if differing := differences(now, began):
    raise InputError(
        f'--workdir={workdir} cannot go on: {"; ".join(differing)} ({NAME}).'
        ' Use the same data, another --workdir, or delete that one.'
    )
  return [
      f'This run began with {name} {then.get(name, "absent")} and goes on with'
      f' {version}; numbers may differ from those of an uninterrupted run.'
      for name, version in mine['versions'].items()
      if then.get(name) != version
  ]

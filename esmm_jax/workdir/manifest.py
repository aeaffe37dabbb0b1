"""Records what a run began with, so that it is used with the same only.

A run resumes with the same config and data, and its splits are predicted,
calibrated on and reported with the same data: ids of another vocabulary would
be other rows of its table, and the numbers wrong without a word.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import streams, system_errors
from esmm_jax.json_files import parse_json, read_json, write_json
from esmm_jax.types import InputError
from esmm_jax.workdir import provenance
from esmm_jax.workdir.folder import config_hash, differences, versions

NAME = 'manifest.json'
ENCODER = 'encoder_sha256'


def make(config: dict[str, Any], data: Mapping[str, str]) -> dict[str, Any]:
  """Collects what decides a run's numbers.

  Args:
    config: A config as `folder.record` returns it.
    data: As `provenance.fingerprint` returns it.

  Returns:
    Hash of the config, the fingerprint, versions of the packages.
  """
  return {
      'config_sha256': config_hash(config),
      **data,
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
      manifest = parse_json(f.read())
    required = {k: manifest[k] for k in ('config_sha256', 'data', 'versions')}
    # Earlier versions did not write it.
    return required | {k: manifest[k] for k in [ENCODER] if k in manifest}
  except (OSError, ValueError, KeyError, TypeError) as e:
    system_errors.refuse(path, e)
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
  if _hash(began['data']) == _hash(now['data']):
    began['data'] = now['data']  # Under another name, of a moved file say.
  else:
    began.pop(ENCODER, None)  # Other data has another one, and its name says.
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


def require_data(workdir: str, builder: Any) -> None:
  """Refuses data other than that a run was trained on; prints warnings.

  Args:
    workdir: The run's folder.
    builder: A prepared `ColumnarBuilder`.

  Raises:
    InputError: The data or its encoder is another one, or the manifest is
      damaged.
  """
  warnings = list(builder.warnings)
  now = provenance.fingerprint(builder)
  if not os.path.exists(os.path.join(workdir, NAME)):
    warnings.append(
        f'{workdir} has no {NAME}, as runs of early versions: it is not known'
        f' if it was trained on this data, {now["data"]}.'
    )
    began = {}
  else:
    began = read(workdir)
  for text in warnings:
    streams.warn(text)
  if not began:
    return
  if _hash(began['data']) != _hash(now['data']):
    raise InputError(
        f'{workdir} was trained on the data {began["data"]}, and here is'
        f' {now["data"]}. Name the --data_dir of its data, or prepare that'
        ' again from the same files.'
    )
  if began.get(ENCODER, now[ENCODER]) != now[ENCODER]:
    raise InputError(
        f'{workdir} was trained on data whose encoder has the sha256'
        f' {began[ENCODER][:16]}, and here is {now["data"]}, whose encoder has'
        f' {now[ENCODER][:16]}: other values have the same ids. Name the'
        ' --data_dir of its data.'
    )


def require_encoder(workdir: str, encoder: Any) -> None:
  """Refuses an encoder other than that a run was trained with.

  Args:
    workdir: The run's folder; if it has not noted an encoder, as in earlier
      versions, every one is accepted.
    encoder: The `Encoder` that is in it now.

  Raises:
    InputError: It is another one.
  """
  began = read_json(os.path.join(workdir, NAME), 'Train again.') or {}
  then = began.get(ENCODER)
  if then and then != (now := encoder.sha256()):
    raise InputError(
        f'{workdir}/encoder is not the one that the run was trained with: its'
        f' sha256 is {now[:16]}, not {then[:16]} ({NAME}). Copy the folder'
        ' encoder/ of the prepared data there again.'
    )


def _hash(data: str) -> str:
  """Returns the hash in what `provenance.data` returns."""
  return data.rpartition(' sha256 ')[2]

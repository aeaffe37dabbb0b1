"""Records what a run began with, so that it is used with the same only.

A run resumes with the same config and data, and its splits are predicted,
calibrated on and reported with the same data: ids of another vocabulary would
be other rows of its table, and the numbers wrong without a word. Its parts are
those of one identity (`workdir.identity`): `manifest.json` has their hashes and
each checkpoint carries them; `workdir.verify` compares what is in the folder.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import streams, system_errors
from esmm_jax.checksums import hash_fields, hash_json
from esmm_jax.json_files import parse_json, write_json
from esmm_jax.plugins import loading as plugins
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, identity, provenance
from esmm_jax.workdir.folder import config_hash, versions
from esmm_jax.workdir.identity import say_once

NAME = end_note.MANIFEST
IDENTITY = 'identity'
ENCODER, OPTIONS = 'encoder_sha256', 'encoder_options_sha256'
CONFIG, SCHEMA = 'config_sha256', 'schema_sha256'
PARTS = (CONFIG, SCHEMA, ENCODER, OPTIONS, 'data')
# What is noted of runs that this one takes something of, the predictions that
# are its labels or the weights of its tasks: key here -> that of the config. It
# is no part of the identity: runs of a sweep are known before such a run is
# finished.
FROZEN, REPLAYED = 'frozen_run', 'replayed_run'
TAKEN_OF = {
    FROZEN: 'estimator_options.frozen_run', REPLAYED: 'balancing.of'
}  # fmt: skip
_UNKNOWN = (
    'so it is unknown how this run began. Use another --workdir, or delete that'
    ' one.'
)


def make(
    config: dict[str, Any],
    data: Mapping[str, str],
    schema: Any,
    taken: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
  """Collects what decides a run's numbers.

  Args:
    config: A config as `folder.record` returns it.
    data: As `provenance.fingerprint` returns it.
    schema: The schema of the model's inputs.
    taken: Key of `TAKEN_OF` -> what tells the run that something is taken of
      from others; None without any.

  Returns:
    The identity, the hashes of its parts, versions of the packages.
  """
  parts = {
      CONFIG: config_hash(config),
      SCHEMA: hash_fields(schema),
      **data,
  }
  about = {IDENTITY: _identity(parts), **parts, **(taken or {})}
  return {**about, 'versions': versions() | plugins.versions(config)}


def _identity(parts: Mapping[str, str]) -> str:
  return identity.of_parts({
      'config': parts[CONFIG],
      'schema': parts[SCHEMA],
      'encoder': hash_json([parts[ENCODER], parts[OPTIONS]]),
      'data': data_hash(parts['data']),
  })


def carried(manifest: Mapping[str, Any]) -> dict[str, Any]:
  """Returns what checkpoints carry of a manifest: identity and hashes."""
  keys = (IDENTITY, *PARTS, *TAKEN_OF)
  return {k: manifest[k] for k in keys if k in manifest}


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
    for key in (CONFIG, 'data'):
      if not isinstance(manifest[key], str):
        raise ValueError(f'{key} is no text')
    if not isinstance(manifest['versions'], dict):
      raise ValueError('versions are no object')
    if IDENTITY in manifest and manifest[IDENTITY] != _identity(manifest):
      raise ValueError('its identity is not that of its parts')
    return manifest
  except OSError as e:
    system_errors.refuse(path, e)
    raise InputError(f'{path} cannot be read ({e}), {_UNKNOWN}') from e
  except (ValueError, KeyError, TypeError) as e:
    raise InputError(
        f'{path} cannot be read ({e!r:.120}), {_UNKNOWN}'
    ) from e


def began(
    workdir: str,
    carried: Mapping[str, str] | None = None,
    says: bool = True,
) -> dict[str, Any]:
  """Returns what a run began with, of its checkpoint if the manifest is gone.

  Args:
    workdir: The run's folder.
    carried: What its checkpoint carries; None: it is looked up.
    says: Whether a manifest that is absent or damaged is told, once.

  Returns:
    As `read`, or what a checkpoint carries; {} if neither is there, of a run of
    an early version.

  Raises:
    InputError: It was changed, and no checkpoint says what it was.
  """
  try:
    return read(workdir)
  except InputError as e:
    if carried is None:
      carried = last_carried(workdir)
    if not carried and end_note.identity_noted(workdir):
      raise  # Not of an earlier version, which noted none.
    path = os.path.join(workdir, NAME)
    problem = str(e).partition(', so it')[0]
    if not os.path.exists(path):
      problem = f'{workdir} has no {NAME}'
    rest = (
        'the copy in its checkpoint is used'
        if carried
        else 'as in early versions: it is unknown what it was trained on'
    )
    if says:
      say_once(f'{problem}; {rest}.')
    return dict(carried)


def last_carried(workdir: str) -> dict[str, str]:
  """Reads what the last checkpoint carries; {} if there is nothing to read."""
  folder = os.path.join(workdir, 'checkpoints')
  names = os.listdir(folder) if os.path.isdir(folder) else []
  steps = [int(n) for n in names if n.isdigit()]
  if not steps:
    return {}
  path = os.path.join(folder, str(max(steps)), 'position', 'metadata')
  try:
    with open(path, encoding='utf-8') as f:
      return of_position(parse_json(f.read()))
  except (OSError, ValueError):
    return {}


def of_position(position: Any, number: int = 0) -> dict[str, str]:
  """Returns what a checkpoint carries of a run; {} of earlier versions.

  Args:
    position: The checkpoint's content besides arrays.
    number: Of the run among those of the checkpoint.
  """
  try:
    parts = dict(position['runs'][number].get('began') or {})
    sound = not parts or parts[IDENTITY] == _identity(parts)
  except (TypeError, KeyError, IndexError, AttributeError, ValueError):
    return {}
  return parts if sound else {}


def require_data(workdir: str, builder: Any) -> None:
  """Refuses data other than that a run was trained on; prints warnings.

  Args:
    workdir: The run's folder.
    builder: A prepared `ColumnarBuilder`.

  Raises:
    InputError: The data or its encoder is another one.
  """
  now = provenance.fingerprint(builder)
  for text in builder.warnings:
    streams.warn(text)
  then = began(workdir)
  if not then:
    return
  if data_hash(then['data']) != data_hash(now['data']):
    raise InputError(
        f'{workdir} was trained on the data {then["data"]} ({NAME}), but this'
        f' is {now["data"]}. Set --data_dir to the data of the run, or prepare'
        ' it again from the same files.'
    )
  for key in (ENCODER, OPTIONS):
    if then.get(key, now[key]) != now[key]:
      raise InputError(
          f'{workdir} was trained on data whose encoder has the {key}'
          f' {then[key][:16]} ({NAME}), but the encoder of {now["data"]} has'
          f' {now[key][:16]}: the same ids mean other values. Set --data_dir to'
          ' the data of the run.'
      )


def require_encoder(workdir: str, hashes: Mapping[str, str]) -> None:
  """Refuses an encoder other than that a run was trained with.

  Args:
    workdir: The run's folder; if it has not noted an encoder, as in earlier
      versions, every one is accepted.
    hashes: Of the encoder that is in it now (`encoder_hashes`).

  Raises:
    InputError: It is another one, or was changed.
  """
  then = began(workdir)
  for key in (ENCODER, OPTIONS):
    if then.get(key, hashes[key]) != hashes[key]:
      raise InputError(
          f'{workdir}/encoder is not the one that the run was trained with: its'
          f' {key} is {hashes[key][:16]}, not {then[key][:16]} ({NAME}). Copy'
          ' the folder encoder/ from the prepared data.'
      )


def require_no_encoder(workdir: str) -> None:
  """Refuses a run that has lost its encoder: raw values would be taken for ids.

  Args:
    workdir: The run's folder; '' for a model that is not of a run.

  Raises:
    InputError: The run was trained with one.
  """
  if workdir and began(workdir).get(ENCODER):
    raise InputError(
        f'{workdir}/encoder, which the run was trained with, is missing'
        f' ({NAME}). Copy the folder encoder/ from the prepared data.'
    )


def data_hash(data: str) -> str:
  """Returns the hash in what `provenance.data` returns."""
  return data.rpartition(' sha256 ')[2]

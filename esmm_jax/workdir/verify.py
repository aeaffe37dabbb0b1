"""Refuses what is of another run: the way in which every run is read again."""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.checksums import hash_fields
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, identity, manifest
from esmm_jax.workdir.folder import config_hash, differences
from esmm_jax.workdir.identity import say_once, Stamp


def run(
    workdir: str,
    config: dict[str, Any],
    schema: Any = None,
    carried: Mapping[str, str] | None = None,
    says: bool = True,
) -> dict[str, Any]:
  """Refuses a run whose parts are not of one run; the way to read any run.

  Args:
    workdir: The run's folder.
    config: The content of its config.json.
    schema: That of its schema.json; None if it is not used.
    carried: What its checkpoint carries, {} of earlier versions; None if its
      parameters are not used.
    says: Whether a manifest that is absent or damaged is told.

  Returns:
    What it began with, as `manifest.began`.

  Raises:
    InputError: config.json, schema.json or the checkpoint is of another run, or
      was changed.
  """
  then = manifest.began(workdir, carried, says)
  _compare_files(workdir, then, config, schema)
  if carried is not None:
    checkpoint(os.path.join(workdir, 'checkpoints'), carried, then)
  return then


def _compare_files(
    workdir: str, then: Mapping[str, Any], config: Any, schema: Any
) -> None:
  """Compares config.json and schema.json with what a run began with."""
  now = {'config.json': (manifest.CONFIG, config_hash(config))}
  if schema is not None:
    now['schema.json'] = (manifest.SCHEMA, hash_fields(schema))
  for name, (key, digest) in now.items():
    if then.get(key, digest) == digest:
      continue
    text = (
        f'{os.path.join(workdir, name)} is not that of the run: it was changed,'
        f' or is of another one. Its sha256 is {digest[:16]}, not'
        f' {then[key][:16]} ({manifest.NAME}).'
    )
    if manifest.IDENTITY in then:
      raise InputError(f'{text} Restore that file, or train again.')
    # Earlier versions may have hashed the same config otherwise.
    say_once(text)


def checkpoint(
    path: str, carried: Mapping[str, str], then: Mapping[str, Any]
) -> None:
  """Refuses a checkpoint of another run.

  Args:
    path: Of the checkpoint or of all, for messages.
    carried: What it carries.
    then: What the run began with.

  Raises:
    InputError: Names the parts that differ.
  """
  if not then:
    return
  if not carried:
    if manifest.IDENTITY in then:
      say_once(
          f'{path} does not say which run it is of, as those of earlier'
          ' versions: it is not known if it belongs to this one.'
      )
    return
  differing = _differing(carried, then)
  if differing:
    raise InputError(
        f'{path} is of another run: {"; ".join(differing)}. Put its own'
        ' checkpoints back, or train again in another --workdir.'
    )


def _differing(here: Mapping[str, str], there: Mapping[str, Any]) -> list[str]:
  """Returns a text for each part in which a checkpoint is not of the run."""
  texts = []
  for key in manifest.PARTS:
    a, b = here.get(key), there.get(key)
    if a is None or b is None:  # Earlier versions did not note it.
      continue
    shown = (a, b) if key == 'data' else (a[:16], b[:16])
    if key == 'data':
      a, b = map(manifest.data_hash, (a, b))
    if a != b:
      texts.append(f'its {key} is {shown[0]}, and that of the run {shown[1]}')
  return texts


def parameters(workdir: str, stamp: Stamp) -> None:
  """Refuses parameters other than those behind a finished run's results.

  Args:
    workdir: The run's folder.
    stamp: Of the parameters that its checkpoint has.

  Raises:
    InputError: The run was trained again.
  """
  then = end_note.stamp(workdir)
  if then.params_sha256 and (told := identity.difference(then, stamp)):
    raise InputError(
        f'{workdir}/{end_note.RESULTS} ({manifest.NAME}) is of {told}. Put back'
        ' its own checkpoints, or train again.'
    )


def resume(
    workdir: str,
    now: Mapping[str, Any],
    carried: Mapping[str, str] | None = None,
    path: str = '',
) -> tuple[dict[str, Any], list[str]]:
  """Compares a run that resumes with what it began with.

  Args:
    workdir: The run's folder.
    now: What `make` returns now.
    carried: What the checkpoint to resume from carries; None: not known.
    path: Of that checkpoint, for messages.

  Returns:
    The manifest to go on with, and warnings: libraries of other versions, a
    manifest that is made again.

  Raises:
    InputError: The run began with another config or other data, or what it
      takes of another run has changed, the checkpoint is of another run, or it
      is not known.
  """
  warnings = []
  try:
    then = manifest.read(workdir)
  except InputError as e:
    if not carried:
      raise
    problem = str(e).partition(', so it')[0]
    warnings.append(f'{problem}. It is made again; the checkpoint agrees.')
    then = {**carried, 'versions': now['versions']}
  _compare(workdir, now, then)
  if carried is not None:
    checkpoint(path or os.path.join(workdir, 'checkpoints'), carried, then)
  # What the checkpoint carries is what its state was trained with.
  _compare_taken(workdir, now, {**then, **(carried or {})})
  warnings += [
      f'This run began with {name} {then["versions"].get(name, "absent")}'
      f' and resumes with {version}; numbers may differ from those of an'
      ' uninterrupted run.'
      for name, version in now['versions'].items()
      if then['versions'].get(name) != version
  ]
  # Those of an earlier version get their identity.
  return {**now, **then, **_identified(now)}, warnings


def _identified(now: Mapping[str, Any]) -> dict[str, Any]:
  keys = [key for key in manifest.PARTS if key != 'data']
  return {key: now[key] for key in (manifest.IDENTITY, *keys)}


def _compare_taken(
    workdir: str, now: Mapping[str, Any], then: Mapping[str, Any]
) -> None:
  """Refuses to resume with what is taken of a run that has changed."""
  for noted, key in manifest.TAKEN_OF.items():
    a, b = now.get(noted), then.get(noted)
    if a == b:
      continue
    raise InputError(
        f'--workdir={workdir} cannot go on: {key} has other parameters than'
        f' when this run began ({_told(b)} then, {_told(a)} now;'
        f' {manifest.NAME}). Put that run back as it was, use another'
        ' --workdir, or delete this one.'
    )


def _told(noted: Any) -> str:
  """Describes what is noted of a run that something is taken of."""
  if not isinstance(noted, Mapping):
    return 'none'
  texts = {k: str(v)[:16] for k, v in noted.items() if v}
  return ', '.join(f'{k} {v}' for k, v in texts.items())


def _compare(
    workdir: str, now: Mapping[str, Any], then: Mapping[str, Any]
) -> None:
  """Refuses to resume with another config, schema, encoder or other data."""
  then = {k: then[k] for k in manifest.PARTS if k in then}
  same = manifest.data_hash(then['data']) == manifest.data_hash(now['data'])
  if same:
    then['data'] = now['data']  # Under another name, of a moved file say.
  else:  # Other data has others, and its name says.
    then = {k: then[k] for k in (manifest.CONFIG, 'data')}
  if differing := differences({k: now[k] for k in then}, then):
    raise InputError(
        f'--workdir={workdir} cannot go on: {"; ".join(differing)}'
        f' ({manifest.NAME}). Use the same data, another --workdir, or delete'
        ' that one.'
    )

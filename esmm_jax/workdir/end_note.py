"""Results that are read again are those that the run wrote.

Just before `results.json` says that a run is finished, `manifest.json` gets the
hashes of its content, of the lines of `metrics.jsonl` and of the parameters
that the run chose.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.checksums import hash_json, sha256
from esmm_jax.json_files import parse_json, read_json, to_json
from esmm_jax.json_files import write_json
from esmm_jax.types import InputError
from esmm_jax.workdir.identity import Stamp

MANIFEST = 'manifest.json'
RESULTS = 'results.json'
METRICS = 'metrics.jsonl'
KEY = 'ended'
_METRICS_REMEDY = (
    'Restore that file; or delete only results.json and repeat the training'
    ' command, which accepts the lines as they are.'
)
_REMEDY = (
    'Restore that file; or delete only that file and repeat the training'
    ' command, which writes it again from the checkpoint.'
)


def write(
    workdir: str,
    manifest: Mapping[str, Any],
    results: Mapping[str, Any],
    metrics_sha256: str,
    stamp: Stamp,
) -> None:
  """Notes in the manifest what the results of a run will be.

  Args:
    workdir: The run's folder.
    manifest: Its manifest.
    results: What results.json will hold.
    metrics_sha256: The sha256 of metrics.jsonl.
    stamp: Of the parameters behind the results.
  """
  hashes = [hash_json(to_json(results))]
  # Of a run that is tested again: killed between the two files, it has the old
  # results, and they are its own.
  if os.path.exists(os.path.join(workdir, RESULTS)):
    hashes += manifest.get(KEY, {}).get('results_sha256', [])[:1]
  noted = {
      'results_sha256': hashes,
      'metrics_sha256': metrics_sha256,
      'step': stamp.step,
      'params_sha256': stamp.params_sha256,
  }
  write_json(os.path.join(workdir, MANIFEST), {**manifest, KEY: noted})


def reopened(manifest: Mapping[str, Any], workdir: str) -> dict[str, Any]:
  """Returns the manifest of a run that is trained or tested again.

  Its lines of metrics will be others; the results of a finished run, which is
  tested again, stay as they are until then.
  """
  manifest = dict(manifest)
  noted = manifest.pop(KEY, None)
  if not noted or not os.path.exists(os.path.join(workdir, RESULTS)):
    return manifest
  return manifest | {KEY: noted | {'metrics_sha256': ''}}


def read_results(
    workdir: str, remedy: str = _REMEDY, config_sha256: str = ''
) -> dict[str, Any] | None:
  """Reads results.json; None if the run is not finished.

  Args:
    workdir: The run's folder.
    remedy: A sentence for errors: what to do.
    config_sha256: Of config.json, if it has been read.

  Raises:
    InputError: The file is damaged, or is not as the run wrote it, or
      config.json is not.
  """
  path = os.path.join(workdir, RESULTS)
  results = read_json(path, remedy)
  if results is None and not os.path.lexists(path):
    return None
  if not isinstance(results, dict):
    raise InputError(f'{path} is damaged: it is no JSON object. {remedy}')
  began = _raw(workdir)
  if 'identity' in began and config_sha256:
    if config_sha256 != began.get('config_sha256'):
      raise InputError(
          f'{workdir}/config.json is not the config of the run that has these'
          f' results ({MANIFEST} has its hash). Restore that file, or train'
          ' again in another --workdir.'
      )
  then = _noted(workdir).get('results_sha256')
  if then and hash_json(results) not in then:
    raise InputError(
        f'{path} differs from what this run wrote: its numbers were changed, or'
        f' are those of another run ({MANIFEST} has their hash). {remedy}'
    )
  return results


def identity_noted(workdir: str) -> bool:
  """Returns whether a run's manifest has an identity, sound or not."""
  return 'identity' in _raw(workdir)


def stamp(workdir: str) -> Stamp:
  """Returns the stamp of a finished run's parameters, as far as it is noted."""
  noted, identity = _noted(workdir), _raw(workdir).get('identity')
  params, step = noted.get('params_sha256'), noted.get('step')
  return Stamp(
      identity if isinstance(identity, str) else '',
      step if isinstance(step, int) else 0,
      params if isinstance(params, str) else '',
  )


def metrics_damage(workdir: str) -> str:
  """Returns a warning if metrics.jsonl is not as a finished run wrote it."""
  then = _noted(workdir).get('metrics_sha256')
  if not then:
    return ''
  path = os.path.join(workdir, METRICS)
  try:
    now = sha256(path)
  except OSError as e:
    return f'{path} cannot be read ({e.strerror}). {_METRICS_REMEDY}'
  if now == then:
    return ''
  return (
      f'{path} differs from what this run wrote: lines are missing or changed,'
      f' or belong to another run ({MANIFEST} has their hash).'
      f' {_METRICS_REMEDY}'
  )


def _noted(workdir: str) -> Mapping[str, Any]:
  noted = _raw(workdir).get(KEY)
  return noted if isinstance(noted, dict) else {}


def _raw(workdir: str) -> Mapping[str, Any]:
  """Reads the manifest; {} if it is absent or damaged, as `manifest` says."""
  try:
    with open(os.path.join(workdir, MANIFEST), encoding='utf-8') as f:
      manifest = parse_json(f.read())
  except (OSError, ValueError):
    return {}
  return manifest if isinstance(manifest, dict) else {}

"""Looks whether what a finished run left behind is still as it was."""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import checksums, system_errors
from esmm_jax.json_files import parse_json
from esmm_jax.types import InputError
from esmm_jax.whole_files import synchronise
from esmm_jax.workdir import examine, identity
from esmm_jax.workdir.end_note import RESULTS
from esmm_jax.workdir.identity import Stamp


def read_results(workdir: str) -> dict[str, Any] | None:
  """Reads results.json; None if it is missing or damaged.

  Raises:
    InputError: It cannot be read, which is no damage.
  """
  path = os.path.join(workdir, RESULTS)
  try:
    with open(path, encoding='utf-8') as f:
      results = parse_json(f.read())
  except (FileNotFoundError, NotADirectoryError, ValueError):
    return None
  except OSError as e:
    raise system_errors.unreadable(path, e) from e
  return results if isinstance(results, dict) else None


def sound_results(workdir: str) -> dict[str, Any] | None:
  """Reads results.json; None if it or the last checkpoint is not sound."""
  results = read_results(workdir)
  return None if results is None or not is_sound(workdir, results) else results


def has_predictions(path: str, run: Stamp) -> bool:
  """Returns True if a run's predictions are there, sound and its own.

  Args:
    path: The Parquet file.
    run: The stamp of the run.
  """
  return os.path.exists(path) and not damage_of_predictions(path, run)


def is_sound(workdir: str, results: Mapping[str, Any]) -> bool:
  """Returns True if the last checkpoint of a finished run is there and sound.

  All of its bytes are read. Where `checkpoints` was removed or emptied, to make
  room, or nothing in it has a seal, as in early versions, nothing is asked.

  Args:
    workdir: The run's folder.
    results: The content of results.json.

  Raises:
    InputError: A file cannot be read, which is no damage.
  """
  folder = os.path.join(workdir, 'checkpoints')
  try:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    steps = [
        int(name)
        for name in names
        if name.isdigit() and checksums.is_sealed(os.path.join(folder, name))
    ]
    if not steps:
      damaged = examine.ASIDE in names
      return not damaged and not any(map(checksums.is_seal, names))
    last = os.path.join(folder, str(max(steps)))
    return is_end(results, max(steps)) and not checksums.damage(last)
  except OSError as e:
    raise InputError(
        f'{folder} cannot be read: {system_errors.told(e)} The run is left as'
        ' it is.'
    ) from e


def is_end(results: Mapping[str, Any], step: int | None) -> bool:
  """Returns True if a checkpoint can be the last one of a finished run.

  Args:
    results: The content of results.json.
    step: Of the checkpoint. Where replicas stopped at other steps, it is that
      of the last one.
  """
  steps = results.get('steps')
  if not isinstance(steps, int | float):  # Of an early version, or edited.
    return True
  return step is not None and step >= steps


def withdraw(workdir: str, step: int | None, is_alone: bool = True) -> str:
  """Removes results.json if the run has to be trained again to its end.

  Args:
    workdir: The run's folder.
    step: Of the last sound checkpoint; None if there is none.
    is_alone: False for one of several replicas, which have a checkpoint
      together; who trains them again says why.

  Returns:
    A warning, or ''.
  """
  path, results = os.path.join(workdir, RESULTS), read_results(workdir)
  fits = results is not None and is_end(results, step)
  if fits or not os.path.exists(path):
    return ''
  os.remove(path)
  synchronise(workdir)
  if results is None:
    return f'{path} was damaged; it is made again.'
  if not is_alone:
    return ''
  begins = f'step {step}' if step is not None else 'its beginning'
  return (
      f'{workdir} was finished at step {results["steps"]}, and has no sound'
      f' checkpoint of it any more: it is finished again from {begins}.'
  )


def damage_of_predictions(path: str, run: Stamp) -> str:
  """Reads a file of predictions.

  Args:
    path: The Parquet file; '' and a missing one have no damage.
    run: The stamp of the run; what it or the file does not tell is not
      compared.

  Returns:
    What is wrong, '' if nothing is.
  """
  if not os.path.exists(path):
    return ''
  from esmm_jax.workdir import predictions  # Imports slowly.

  try:
    stamp = predictions.stamp_of(path)
    if stamp and (told := identity.difference(stamp, run)):
      return f'{path} is of {told}.'
    for _ in predictions.batches(path):
      pass
  except InputError as e:
    return str(e).removesuffix(f' {predictions.REMEDY}')
  return ''

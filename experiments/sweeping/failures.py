"""Runs of a sweep that failed: their notes, and the end of the program."""

from collections.abc import Mapping
import os
from typing import Any


def require_none(
    failed: Mapping[str, Exception], total: int, workdir: str
) -> None:
  """Raises an error that names the runs that failed, if there are any.

  Args:
    failed: Run -> its error.
    total: Number of runs of the sweep.
    workdir: Its folder.

  Raises:
    FloatingPointError: All that failed had a loss that was not finite.
    InputError: Another run failed.
  """
  from esmm_jax.types import InputError

  if not failed:
    return
  names = '; '.join(f'{n}: {str(e).rstrip(".")}' for n, e in failed.items())
  message = (
      f'{len(failed)} of {total} runs failed: {names}. The others are finished;'
      f' see {os.path.join(workdir, "failed")}.'
  )
  if all(isinstance(e, FloatingPointError) for e in failed.values()):
    raise FloatingPointError(message)
  raise InputError(message)


def note(
    workdir: str, name: str, error: Exception | None, point: Mapping[str, Any]
) -> None:
  """Writes the error of a run, or removes that of an earlier try.

  Args:
    workdir: Folder of the sweep.
    name: Of the run.
    error: None if it has not failed.
    point: Its point.
  """
  from esmm_jax.json_files import write_json
  from esmm_jax.sweeps.saved_runs import failure_file

  path = failure_file(workdir, name)
  if error is not None:
    about = {'error': type(error).__name__, 'message': str(error)}
    write_json(path, {**about, 'point': point})
  elif os.path.exists(path):
    os.remove(path)

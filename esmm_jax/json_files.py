"""Reads JSON with a helpful error; writes files whole or not at all."""

from collections.abc import Iterator, Mapping
import contextlib
import json
import math
import os
from typing import Any

from esmm_jax.types import InputError
import numpy as np


def to_json(value: Any) -> Any:
  """Converts a value to what JSON can hold: nan and infinity become null."""
  if isinstance(value, Mapping):
    return {k: to_json(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [to_json(v) for v in value]
  if isinstance(value, np.generic):
    value = value.item()
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


@contextlib.contextmanager
def replacing(path: str) -> Iterator[str]:
  """Yields a temporary path whose file replaces `path` when it is complete.

  The file and then its folder are synchronised with the disk, so that after a
  crash of the machine either the old file is there or the whole new one. If the
  body raises, `path` is left as it was and the temporary file is removed.

  Args:
    path: The file; its folder must exist.

  Yields:
    A path in the same folder, `path` followed by the process id and .tmp.
  """
  temporary = f'{path}.{os.getpid()}.tmp'
  try:
    yield temporary
    _synchronise(temporary)
    os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      os.remove(temporary)
    raise
  _synchronise(os.path.dirname(path) or '.')


def _synchronise(path: str) -> None:
  """Waits until a file or the entries of a folder are on the disk."""
  number = os.open(path, os.O_RDONLY)
  try:
    os.fsync(number)
  finally:
    os.close(number)


def write_text(path: str, text: str) -> None:
  """Writes a file whole or not at all."""
  with replacing(path) as temporary:
    with open(temporary, 'w', encoding='utf-8') as f:
      f.write(text)


def write_json(path: str, value: Any, indent: int = 2) -> None:
  """Writes a file whole or not at all."""
  write_text(path, json.dumps(to_json(value), indent=indent) + '\n')


def read_json(path: str, remedy: str = 'Delete its folder.') -> Any:
  """Reads a JSON file; None if it does not exist.

  Args:
    path: The file.
    remedy: A sentence for the error: what to do.

  Raises:
    InputError: The file is not JSON, or cannot be read.
  """
  try:
    with open(path, encoding='utf-8') as f:
      return json.load(f)
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as e:
    raise InputError(f'{path} is not JSON ({e}). {remedy}') from e
  except OSError as e:
    raise InputError(f'{path} cannot be read ({e.strerror}). {remedy}') from e


def read_jsonl(path: str, strict: bool = True) -> list[dict[str, Any]]:
  """Reads the complete lines of a file; a last one cut short is left out.

  Args:
    path: The file; an absent one has no lines.
    strict: Refuses a line that is no object with a `step`; otherwise the line
      is left out.

  Raises:
    InputError: A line is damaged and `strict` is set.
  """
  if not os.path.exists(path):
    return []
  with open(path, encoding='utf-8', errors='replace') as f:
    lines = f.read().split('\n')
  entries = []
  for number, line in enumerate(lines[:-1], start=1):
    try:
      value = json.loads(line)
      int(value['step'])
      entries.append(value)
    except (ValueError, TypeError, KeyError) as e:
      if strict:
        raise InputError(
            f'{path}, line {number} is damaged; repair or remove that line.'
        ) from e
  return entries

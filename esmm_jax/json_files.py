"""Reads JSON with a helpful error; writes it whole or not at all."""

from collections.abc import Mapping
import json
import math
import os
from typing import Any

from esmm_jax import system_errors
from esmm_jax.types import InputError
from esmm_jax.whole_files import write_text
import numpy as np

_DEPTH = 50


# What to do about a file that is torn: never more than it concerns.
_REMEDY = 'Restore that file from a copy, or move it away.'
_REMEDIES = {
    'config.json': 'Restore that file from a copy, or use another --workdir.',
    'results.json': (
        'Delete that file: the same training command tests the last checkpoint'
        ' and writes it again.'
    ),
    'origin.json': (
        'Delete that file: what is lost is by which commands and where the run'
        ' was trained.'
    ),
    'sweep.json': 'Delete that file: the same sweep command writes it again.',
    'calibration.json': 'Run the program calibrate again.',
}


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


def with_tuples(value: Any) -> Any:
  """Converts lists of JSON to the tuples that configs have instead."""
  if isinstance(value, Mapping):
    return {k: with_tuples(v) for k, v in value.items()}
  if isinstance(value, list):
    return tuple(with_tuples(v) for v in value)
  return value


def write_json(path: str, value: Any, indent: int = 2) -> None:
  """Writes a file whole or not at all."""
  write_text(path, json.dumps(to_json(value), indent=indent) + '\n')


def parse_json(text: str) -> Any:
  """Parses JSON, of at most `_DEPTH` levels.

  Deeper ones are none of ours, and functions that call themselves on what is in
  them would fail.

  Raises:
    ValueError: The text is no JSON, or deeper.
  """
  try:
    value = json.loads(text)
  except RecursionError as e:
    raise ValueError('it is nested too deeply') from e
  if text.count('[') + text.count('{') > _DEPTH and _is_deep(value):
    raise ValueError('it is nested too deeply')
  return value


def _is_deep(value: Any) -> bool:
  level = [value] if isinstance(value, (dict, list)) else []
  for _ in range(_DEPTH):
    inner = [v.values() if isinstance(v, dict) else v for v in level]
    level = [v for vs in inner for v in vs if isinstance(v, (dict, list))]
    if not level:
      return False
  return True


def read_json(path: str, remedy: str | None = None) -> Any:
  """Reads a JSON file; None if it does not exist.

  Args:
    path: The file.
    remedy: A sentence for the error: what to do; None: as `_REMEDIES` has it.

  Raises:
    InputError: The file is not JSON, or cannot be read.
  """
  try:
    with open(path, encoding='utf-8') as f:
      return parse_json(f.read())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as e:
    if remedy is None:
      remedy = _REMEDIES.get(os.path.basename(path), _REMEDY)
    raise InputError(f'{path} is not JSON ({e}). {remedy}') from e
  except OSError as e:
    # Where the system refuses, nothing is known of the file: no remedy for it.
    raise system_errors.unreadable(path, e) from e


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
      value = parse_json(line)
      int(value['step'])
      entries.append(value)
    except (ValueError, TypeError, KeyError) as e:
      if strict:
        raise InputError(
            f'{path}, line {number} is damaged; repair or remove that line.'
        ) from e
  return entries

"""Damages of files: absent, cut, a flipped bit, another run's, edited ...

A damage changes the file at a path; it gets the same file of another run or
data set too, and returns False where it has nothing to do.
"""

import json
import pathlib
import shutil
from typing import Any

import numpy as np
from pyarrow import parquet
import pyarrow as pa


def absent(path: pathlib.Path, other: Any) -> bool:
  path.unlink()
  return True


def empty(path: pathlib.Path, other: Any) -> bool:
  return _write(path, b'')


def cut(path: pathlib.Path, other: Any) -> bool:
  return _write(path, path.read_bytes()[: path.stat().st_size // 2])


def flipped(path: pathlib.Path, other: Any) -> bool:
  """One bit in the middle."""
  data = bytearray(path.read_bytes())
  if data:
    data[len(data) // 2] ^= 1
  return _write(path, bytes(data))


def zeros(path: pathlib.Path, other: Any) -> bool:
  """4 KB in the middle, as of a sector that was never written."""
  data = bytearray(path.read_bytes())
  start = max(len(data) // 2 - 2048, 0)
  stop = min(start + 4096, len(data))
  data[start:stop] = bytes(stop - start)
  return _write(path, bytes(data))


def other_type(path: pathlib.Path, other: Any) -> bool:
  """The right format, and another type in it."""
  if path.suffix == '.json':
    was = json.loads(path.read_text('utf-8'))
    now = [] if isinstance(was, dict) else {}
    return _write(path, json.dumps(now).encode())
  if path.suffix == '.jsonl':
    return _write(path, b'[]\n')
  if path.suffix == '.parquet':
    parquet.write_table(pa.table({'x': [1, 2]}), path)
    return True
  if path.suffix == '.npy':
    np.save(path, np.arange(3))
    return True
  return False


def of_another(path: pathlib.Path, other: Any) -> bool:
  """The same file of another run or data set, whose shapes are the same."""
  if other is None or not other.is_file():
    return False
  return _write(path, other.read_bytes())


def edited(path: pathlib.Path, other: Any) -> bool:
  """One value of the file, by somebody who knows the format."""
  if path.suffix == '.json':
    tree = json.loads(path.read_text('utf-8'))
    changed = _edit(tree, EDITS.get(path.name, ()))
    return changed and _write(path, json.dumps(tree, indent=2).encode())
  if path.suffix == '.jsonl':
    lines = path.read_text('utf-8').splitlines(keepends=True)
    line = json.loads(lines[0])
    if not _edit(line, EDITS.get(path.name, ())):
      return False
    lines[0] = json.dumps(line) + '\n'
    return _write(path, ''.join(lines).encode())
  if path.suffix == '.parquet':
    return _edit_table(path)
  if path.suffix == '.npy':
    array = np.load(path)
    array.flat[0] += 1
    np.save(path, array)
    return True
  return False


def folder(path: pathlib.Path, other: Any) -> bool:
  """A folder of that name, with a file in it."""
  path.unlink()
  path.mkdir()
  (path / 'x').write_text('x')
  return True


DAMAGES = {
    harm.__name__: harm
    for harm in (
        absent, empty, cut, flipped, zeros, other_type, of_another, edited,
        folder)
}
# Name of a JSON file -> the path in it of the value that `edited` changes; the
# first number of other files.
EDITS = {
    'config.json': ('model', 'activation'),
    'schema.json': ('fields', 0, 'vocab_size'),
    'results.json': ('test/ctr/auc',),
    'calibration.json': ('tasks', 'ctr', 'platt', 'slope'),
    'metrics.jsonl': ('train/loss',),
}


def harm(
    name: str, path: pathlib.Path, other: pathlib.Path | None = None
) -> bool:
  """Damages a file or a folder; returns False if it is as it was."""
  before = content(path)
  if path.is_dir():
    if name not in ('absent', 'of_another') or name != 'absent' and not other:
      return False
    shutil.rmtree(path)
    if name != 'absent':
      shutil.copytree(other, path)
    return True
  applied = DAMAGES[name](path, other)
  return applied and content(path) != before


def content(path: pathlib.Path) -> Any:
  """Returns what is in a file, or in the files of a folder by their names."""
  if path.is_file():
    return path.read_bytes()
  return {
      str(p.relative_to(path)): p.read_bytes()
      for p in sorted(path.rglob('*')) if p.is_file()}


def mend(path: pathlib.Path, sound: pathlib.Path) -> None:
  """Puts a sound file back."""
  if path.is_dir():
    shutil.rmtree(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  shutil.copy2(sound, path)


def _write(path: pathlib.Path, data: bytes) -> bool:
  path.write_bytes(data)
  return True


def _edit(tree: Any, at: tuple[Any, ...]) -> bool:
  """Changes the value at a path in a tree, or its first number."""
  if not at:
    return _edit_first(tree)
  try:
    for key in at[:-1]:
      tree = tree[key]
    was = tree[at[-1]]
  except (KeyError, IndexError, TypeError):
    return _edit_first(tree)
  tree[at[-1]] = 'tanh' if isinstance(was, str) else was * 1.25 + 1
  if isinstance(was, int):
    tree[at[-1]] = was + 1
  return True


def _edit_first(tree: Any) -> bool:
  items = tree.items() if isinstance(tree, dict) else enumerate(tree)
  for key, value in items:
    if isinstance(value, (dict, list)):
      if _edit_first(value):
        return True
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
      tree[key] = value + 1
      return True
  return False


def _edit_table(path: pathlib.Path) -> bool:
  """Changes one number; what the table says of itself stays."""
  table = parquet.read_table(path)
  for k, name in enumerate(table.column_names):
    kind = table.schema.field(k).type
    if pa.types.is_floating(kind):
      values = table[name].to_numpy().copy()
      values[0] = values[0] / 2
      field = table.schema.field(k)
      table = table.set_column(k, field, pa.array(values, kind))
      parquet.write_table(table, path)
      return True
  return False

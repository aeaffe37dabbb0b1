"""Files x damages x readers: what comes of a reader where a file is damaged.

    cells.harm(name, path, other)          one of `DAMAGES`
    outcome = cells.attempt(reader)        in this process
    outcome = cells.of_process(done, ...)  or in another one
    cells.classify(outcome, undamaged)     'same', 'said', 'silent', 'traceback'

`silent`, other numbers without a word, is the worst; no cell may be silent or
end in a traceback.
"""

from collections.abc import Callable
import collections
import contextlib
import io
import json
import pathlib
import shutil
import traceback
from typing import Any, NamedTuple

from esmm_jax.types import InputError
from esmm_jax.workdir.stopping import Stopped
import numpy as np
from pyarrow import parquet
import pyarrow as pa

SAME, SAID, SILENT, TRACEBACK = 'same', 'said', 'silent', 'traceback'
BAD = (SILENT, TRACEBACK)
# What `experiments.cli.run` turns into one line.
EXPECTED = (InputError, FloatingPointError, Stopped, OSError)


class Outcome(NamedTuple):
  """What came of a reader.

  Attributes:
    numbers: What it gave, as `plain` returns it; None if it raised.
    said: Its line of error, or its lines of warning.
    raised: The traceback of an error that is no line; '' without.
  """

  numbers: Any
  said: tuple[str, ...] = ()
  raised: str = ''


class Cell(NamedTuple):
  """A file, a damage and a reader; `outcome` is one of the four above."""

  kind: str
  file: str
  damage: str
  reader: str
  outcome: str
  said: str


def attempt(reader: Callable[[], Any]) -> Outcome:
  """Calls a reader in this process, with its output caught."""
  out = io.StringIO()
  try:
    with contextlib.redirect_stderr(out), contextlib.redirect_stdout(out):
      numbers = plain(reader())
  except EXPECTED as e:
    return Outcome(None, (f'error: {" ".join(str(e).split())}',))
  except Exception:  # What no user should see.
    return Outcome(None, (), traceback.format_exc())
  return Outcome(numbers, _warnings(out.getvalue()))


def of_process(done: Any, numbers: Callable[[], Any]) -> Outcome:
  """Returns the outcome of a program that ran as a process of its own.

  Args:
    done: With `returncode`, `stdout` and `stderr`.
    numbers: Reads what it gave, if its exit code is 0.
  """
  lines = (done.stdout + done.stderr).splitlines()
  errors = tuple(line for line in lines if line.startswith('error: '))
  if 'Traceback' in done.stderr or done.returncode and len(errors) != 1:
    return Outcome(None, (), f'exit {done.returncode}: {done.stderr[-2000:]}')
  if done.returncode:
    return Outcome(None, errors)
  return Outcome(plain(numbers()), _warnings(done.stdout + done.stderr))


def classify(now: Outcome, undamaged: Outcome) -> str:
  """Compares an outcome with that of the same reader without damage."""
  if now.raised:
    return TRACEBACK
  if now.numbers is not None and now.numbers == undamaged.numbers:
    return SAME
  news = set(now.said) - set(undamaged.said)
  return SAID if news else SILENT


def plain(value: Any) -> Any:
  """Returns a value that `==` compares to the bit, arrays and tables too."""
  if isinstance(value, pa.Table):
    return plain(value.to_pydict())
  if isinstance(value, dict):
    return {str(k): plain(v) for k, v in value.items()}
  if isinstance(value, (list, tuple)):
    return [plain(v) for v in value]
  if hasattr(value, 'dtype'):
    array = np.asarray(value)
    return (str(array.dtype), array.shape, array.tobytes())
  return repr(value) if isinstance(value, float) else value


def counts(cells: list[Cell]) -> dict[str, int]:
  """Returns outcome -> number of cells."""
  counted = collections.Counter(cell.outcome for cell in cells)
  return {name: counted[name] for name in (SAME, SAID, SILENT, TRACEBACK)}


def _warnings(text: str) -> tuple[str, ...]:
  return tuple(s for s in text.splitlines() if 'warning:' in s)


# A damage changes the file at a path; it gets the same file of another run or
# data set too, and returns False where it has nothing to do.


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
  """Damages a file; returns False if it is as it was."""
  before = path.read_bytes()
  applied = DAMAGES[name](path, other)
  return applied and not (path.is_file() and path.read_bytes() == before)


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

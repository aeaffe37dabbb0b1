"""Files x damages x readers: what comes of a reader where a file is damaged.

    cells.harm(name, path, other)          one of `cells.DAMAGES`
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
import traceback
from typing import Any, NamedTuple

from esmm_jax.types import InputError
from esmm_jax.workdir.stopping import Stopped
import numpy as np
import pyarrow as pa

from tests.damaged.harms import content, DAMAGES, harm, mend

__all__ = ['content', 'DAMAGES', 'harm', 'mend']

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
  if isinstance(value, (int, float)) and not isinstance(value, bool):
    return repr(float(value))  # As JSON gives a whole number back or not.
  return value


def counts(cells: list[Cell]) -> dict[str, int]:
  """Returns outcome -> number of cells."""
  counted = collections.Counter(cell.outcome for cell in cells)
  return {name: counted[name] for name in (SAME, SAID, SILENT, TRACEBACK)}


def _warnings(text: str) -> tuple[str, ...]:
  return tuple(s for s in text.splitlines() if 'warning:' in s)

"""Texts that keep to the columns of a terminal."""

from collections.abc import Iterable
import shutil

# Columns where there is no terminal, and the fewest in one.
_DEFAULT, _LEAST = 100, 40


def width() -> int:
  """Returns the columns of the terminal, and 100 without one."""
  return max(shutil.get_terminal_size((_DEFAULT, 24)).columns, _LEAST)


def joined(
    text: str, parts: Iterable[str], columns: int | None = None
) -> str:
  """Joins texts; what does not fit goes on in another line.

  >>> print(joined('step 2', [' loss 0.5', ' | auc ctr 0.7'], 16))
  step 2 loss 0.5
    auc ctr 0.7

  Args:
    text: The first one.
    parts: The others, each with a blank before it, or ` | ` where a new kind
      begins; none is divided.
    columns: Of a line; None: those of the terminal.
  """
  columns = width() if columns is None else columns
  lines = [text]
  for part in parts:
    if len(lines[-1]) + len(part) <= columns:
      lines[-1] += part
    else:
      lines.append('  ' + part.removeprefix(' |').strip())
  return '\n'.join(lines)

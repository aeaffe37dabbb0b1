"""Grids of texts, in Markdown, and the formats of values."""

from collections.abc import Iterable
import math
import re
from typing import Any, NamedTuple

from esmm_jax.metrics.significance import Summary
from esmm_jax.printable import in_one_line

NONE = '–'
ARROWS = {'higher': ' ↑', 'lower': ' ↓', None: ''}


class Grid(NamedTuple):
  """Texts in rows and columns.

  Attributes:
    title: Shown above it; '' for none.
    headers: Of the columns.
    rows: Each as many texts as there are headers.
    num_left: Number of first columns, which name the row and are aligned to the
      left; the others are aligned to the right.
    notes: Sentences below it.
    bold: (row, column) of the texts that are set in bold.
  """

  title: str
  headers: list[str]
  rows: list[list[str]]
  num_left: int
  notes: list[str]
  bold: frozenset[tuple[int, int]] = frozenset()


def in_markdown(text: str) -> str:
  r"""Returns a text, of a file say, as a line of Markdown shows it.

  It begins no tag of HTML and no link, and ends no line.

  >>> in_markdown('p <.05\n<img src=x> ![a](b)')
  'p <.05 &lt;img src=x> ![a]\\(b)'
  """
  text = re.sub(r'<(?=[A-Za-z/!?])', '&lt;', in_one_line(text))
  return text.replace('](', ']\\(').replace('][', ']\\[')


def pipes(grid: Grid) -> str:
  """Formats the grid in Markdown, aligned in plain text too."""
  lines = [
      [in_markdown(text).replace('|', r'\|') for text in line]
      for line in (grid.headers, *grid.rows)
  ]
  for i, j in grid.bold:
    lines[i + 1][j] = f'**{lines[i + 1][j]}**'
  widths = [max(map(len, column)) for column in zip(*lines)]
  pads = [
      str.ljust if k < grid.num_left else str.rjust for k in range(len(widths))
  ]
  ends = ['-' if pad is str.ljust else ':' for pad in pads]
  rule = ['-' * (width + 1) + end for width, end in zip(widths, ends)]
  padded = [
      [pad(text, width) for pad, text, width in zip(pads, line, widths)]
      for line in lines
  ]
  header, *rows = [f'| {" | ".join(line)} |' for line in padded]
  return '\n'.join([header, f'|{"|".join(rule)}|', *rows])


def digits(value: float) -> str:
  """Formats a metric by itself: four decimals, six if it is small."""
  return f'{value:.4f}' if abs(value) >= 0.05 else f'{value:.6f}'


def number(value: float, decimals: int, sign: str = '') -> str:
  """Formats a number as .7317, 1.02 or 12,345; '–' for nan."""
  if math.isnan(value):
    return NONE
  text = f'{value:{sign},.{decimals}f}'
  return re.sub(r'^([+-]?)0\.', r'\1.', text)


def spread(summary: Summary, decimals: int) -> str:
  """Formats mean ± standard deviation; the mean alone of a single value."""
  mean = number(summary.mean, decimals)
  if math.isnan(summary.std):
    return mean
  return f'{mean} ± {number(summary.std, decimals)}'


def interval(mean: float, low: float, high: float, decimals: int) -> str:
  """Formats a difference and its interval, '+.0900 [+.0470, +.1330]'."""
  text = number(mean, decimals, '+')
  if math.isnan(low):
    return text
  return f'{text} [{number(low, decimals, "+")}, {number(high, decimals, "+")}]'


def counted(num_finished: int, planned: int) -> str:
  """Formats a number of runs: '3', or '1, missing 2 of 3'."""
  missing = planned - num_finished
  if missing <= 0:
    return str(planned)
  return f'{num_finished}, missing {missing} of {planned}'


def slug(name: str) -> str:
  """Returns a name as part of a file's name, or of a label."""
  return re.sub(r'[^a-z0-9.-]+', '-', name.lower()).strip('-.')


def short(key: str) -> str:
  """Shortens a key to a header: '@model' to model, 'dataset.rho' to rho."""
  return key.removeprefix('@').split('.')[-1]


def text(value: Any) -> str:
  """Formats the value of a point."""
  return NONE if value is None else str(value)


def titled(keys: Iterable[str], values: Iterable[Any]) -> str:
  """Joins keys and values: 'KuaiRand-Pure like, estimator click_space'.

  Labels (keys that begin with @) are shown without their key.
  """
  return ', '.join(
      text(v) if k.startswith('@') else f'{short(k)} {text(v)}'
      for k, v in zip(keys, values)
  )

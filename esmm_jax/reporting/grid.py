"""A table of texts, in Markdown and in LaTeX, and how a value is written."""

from collections.abc import Iterable
import math
import re
from typing import Any, NamedTuple

NONE = '–'
ARROWS = {'higher': ' ↑', 'lower': ' ↓', None: ''}
_TEX = {
    '\\': r'\textbackslash{}',
    '&': r'\&',
    '%': r'\%',
    '_': r'\_',
    '#': r'\#',
    '$': r'\$',
    '{': r'\{',
    '}': r'\}',
    '~': r'\textasciitilde{}',
    '^': r'\textasciicircum{}',
    '<': '$<$',
    '>': '$>$',
    '±': r'$\pm$',
    '†': r'$^\dagger$',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
    '–': '--',
}


class Grid(NamedTuple):
  """A table of texts.

  Attributes:
    title: Above it, or ''.
    headers: Of the columns.
    rows: Each as many texts as there are headers.
    num_left: The first columns, which name the row and are aligned to the left;
      the others are aligned to the right.
    notes: Sentences below it.
  """

  title: str
  headers: list[str]
  rows: list[list[str]]
  num_left: int
  notes: list[str]


def pipes(grid: Grid) -> str:
  """The grid as a Markdown table, aligned in plain text too."""
  lines = [
      [text.replace('|', r'\|') for text in line]
      for line in (grid.headers, *grid.rows)
  ]
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


def tabular(grid: Grid) -> str:
  """The grid as a LaTeX tabular, for the package booktabs."""
  columns = 'l' * grid.num_left + 'r' * (len(grid.headers) - grid.num_left)
  return '\n'.join([
      f'\\begin{{tabular}}{{{columns}}}',
      r'\toprule',
      _tex_line(grid.headers),
      r'\midrule',
      *map(_tex_line, grid.rows),
      r'\bottomrule',
      r'\end{tabular}',
  ])


def _tex_line(texts: Iterable[str]) -> str:
  cells = (''.join(_TEX.get(c, c) for c in text) for text in texts)
  # A minus sign, where a hyphen begins a number.
  signed = (re.sub(r'(?<![\w.-])-(?=[.\d])', '$-$', cell) for cell in cells)
  return ' & '.join(signed) + r' \\'


def digits(value: float) -> str:
  """A metric by itself: four decimals, six where it is small."""
  return f'{value:.4f}' if abs(value) >= 0.05 else f'{value:.6f}'


def number(value: float, decimals: int, sign: str = '') -> str:
  """A number as tables have it: .7317, 1.02, 12,345; '–' for nan."""
  if math.isnan(value):
    return NONE
  text = f'{value:{sign},.{decimals}f}'
  return re.sub(r'^([+-]?)0\.', r'\1.', text)


def interval(mean: float, low: float, high: float, decimals: int) -> str:
  """A difference and its interval, '+.0900 [+.0470, +.1330]'."""
  text = number(mean, decimals, '+')
  if math.isnan(low):
    return text
  return f'{text} [{number(low, decimals, "+")}, {number(high, decimals, "+")}]'


def counted(there: int, planned: int) -> str:
  """'3', or '1, missing 2 of 3'."""
  if there >= planned:
    return str(planned)
  return f'{there}, missing {planned - there} of {planned}'


def short(key: str) -> str:
  """The key as a header: '@model' and 'dataset.rho' as model and rho."""
  return key.removeprefix('@').split('.')[-1]


def text(value: Any) -> str:
  """The value of a point."""
  return NONE if value is None else str(value)


def titled(keys: Iterable[str], values: Iterable[Any]) -> str:
  """'KuaiRand-Pure like, estimator click_space'; labels without their key."""
  return ', '.join(
      text(v) if k.startswith('@') else f'{short(k)} {text(v)}'
      for k, v in zip(keys, values)
  )

"""A table of texts, in Markdown and in LaTeX."""

from collections.abc import Iterable
import re
from typing import NamedTuple

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

r"""Grids in LaTeX: floats with caption, label and notes, as a paper sets them.

An interval stands below its value, in a smaller font; the texts before it name
it `\twolines`, which `PREAMBLE` defines. A grid that is wider than a column
spans both (`table*`); columns that do not fit at all go on in a second float.
No text is cut.
"""

from collections.abc import Sequence
import re

from esmm_jax.printable import in_one_line
from esmm_jax.reporting.grid import Grid, slug

PREAMBLE = '\n'.join([
    r'% \usepackage{booktabs} before \begin{document}, then \input this file.',
    r'\providecommand{\twolines}[2]{%',
    r'  \begin{tabular}[t]{@{}r@{}}#1\\{\scriptsize #2}\end{tabular}}',
])
# Of ACM's and IEEE's styles, in points, a little less than they have.
COLUMN, PAGE = 238.0, 500.0
_SEP = 3.0  # On both sides of a column, but for the outer sides.
# Points of an em of Computer Modern: 9 point text, bold text, 7 point text.
_EM, _BOLD, _SMALL = 9.3, 10.7, 8.0
# Characters -> their width in em; others take .5, capitals .72.
_WIDTHS = (('.,:;|![]()\'', 0.28), (' ', 0.33), ('ijlft', 0.34), ('+-±−', 0.78))
_LONG_HEADER = 11
_INTERVAL = re.compile(r'(.+?) (\[[^\[\]]*\](?: \(n=\d+\))?)')
_DASH = '\0'
_TEX = {
    _DASH: '-{}',
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
    '`': r'\textasciigrave{}',
    '|': r'\textbar{}',
    '"': "''",
    '<': '$<$',
    '>': '$>$',
    '±': r'$\pm$',
    '×': r'$\times$',
    '−': '$-$',
    '≤': r'$\le$',
    '≥': r'$\ge$',
    '†': r'$^\dagger$',
    '↑': r'$\uparrow$',
    '↓': r'$\downarrow$',
    '–': '--',
    '…': r'\ldots{}',
}


def escaped(text: str) -> str:
  """Returns a text, of a file say, as LaTeX shows it, in one line."""
  # Two hyphens would become a dash.
  text = re.sub('-(?=-)', _DASH, in_one_line(text))
  text = ''.join(_TEX.get(c, c) for c in text)
  # A hyphen that begins a number is a minus sign.
  return re.sub(r'(?<![\w.}-])-(?=[.\d])', '$-$', text)


def comment(text: str) -> str:
  """Returns a text as a comment of LaTeX, which no line break in it leaves."""
  return f'% {in_one_line(text)}'


def tabular(grid: Grid) -> str:
  """Formats the grid as a LaTeX tabular, for the package booktabs."""
  columns = 'l' * grid.num_left + 'r' * (len(grid.headers) - grid.num_left)
  headers = [
      _header(text) if k >= grid.num_left else escaped(text)
      for k, text in enumerate(grid.headers)
  ]
  rows = [
      [
          _cell(text, j >= grid.num_left, (i, j) in grid.bold)
          for j, text in enumerate(row)
      ]
      for i, row in enumerate(grid.rows)
  ]
  return '\n'.join([
      f'\\begin{{tabular}}{{@{{}}{columns}@{{}}}}',
      r'\toprule',
      _line(headers),
      r'\midrule',
      *map(_line, rows),
      r'\bottomrule',
      r'\end{tabular}',
  ])


def floats(grid: Grid, title: str, labels: set[str], narrow: bool) -> str:
  """Formats the grid as one `table` or several, with caption and label.

  Args:
    grid: Its title ends the caption, its notes stand below.
    title: Of the results table; begins the caption.
    labels: Those that are taken; gets the new ones.
    narrow: Whether the grid must fit a column of a paper with two; its columns
      then go on in another float, where a wide one would span both columns.
  """
  parts = _parts(grid, COLUMN if narrow else PAGE)
  return '\n\n'.join(
      _float(part, title, _label(title, grid.title, labels), k, len(parts))
      for k, part in enumerate(parts)
  )


def _float(grid: Grid, title: str, label: str, k: int, num: int) -> str:
  """Formats a grid as part k of num of a table."""
  star = '*' if width(grid) > COLUMN else ''
  part = f'part {k + 1} of {num}' if num > 1 else ''
  more = '; '.join(t for t in (grid.title, part) if t)
  caption = escaped(f'{title} ({more})' if more else title)
  below = grid.notes if k == num - 1 else [f'Notes: see part {num}.']
  notes = [
      r'\par\smallskip',
      r'\begin{minipage}{\linewidth}',
      r'\footnotesize',
      *map(escaped, below),
      r'\end{minipage}',
  ]
  return '\n'.join([
      f'\\begin{{table{star}}}[tbp]',
      r'\centering',
      r'\small',
      f'\\setlength{{\\tabcolsep}}{{{_SEP:g}pt}}',
      '\\setlength{\\belowcaptionskip}{4pt}',  # The caption is above.
      f'\\caption{{{caption}.}}',
      f'\\label{{{label}}}',
      tabular(grid),
      *(notes if grid.notes else ()),
      f'\\end{{table{star}}}',
  ])


def _label(title: str, name: str, labels: set[str]) -> str:
  """Returns a label that no other float has, and notes it."""
  first = 'tab:' + (slug(f'{title} {name}') or 'results')
  label, k = first, 1
  while label in labels:
    k += 1
    label = f'{first}-{k}'
  labels.add(label)
  return label


def _parts(grid: Grid, most: float) -> list[Grid]:
  """Splits the columns of a grid so that each part is at most so wide.

  Each part has the columns that name the rows, and at least one of the others.
  """
  left = list(range(grid.num_left))
  groups: list[list[int]] = []
  for j in range(grid.num_left, len(grid.headers)):
    if groups and width(_of_columns(grid, [*left, *groups[-1], j])) <= most:
      groups[-1].append(j)
    else:
      groups.append([j])
  return [_of_columns(grid, [*left, *group]) for group in groups] or [grid]


def _of_columns(grid: Grid, columns: Sequence[int]) -> Grid:
  """Returns the grid with some of its columns."""
  return grid._replace(
      headers=[grid.headers[j] for j in columns],
      rows=[[row[j] for j in columns] for row in grid.rows],
      bold=frozenset(
          (i, columns.index(j)) for i, j in grid.bold if j in columns
      ),
  )


def width(grid: Grid) -> float:
  """Estimates the width of the grid's tabular, in points."""
  total = 0.0
  for j, header in enumerate(grid.headers):
    is_left = j < grid.num_left
    lines = [header] if is_left else _halves(header)
    widths = [_EM * _ems(line) for line in lines]
    for i, row in enumerate(grid.rows):
      value, below = (row[j], '') if is_left else _stacked(row[j])
      em = _BOLD if (i, j) in grid.bold else _EM
      widths += [em * _ems(value), _SMALL * _ems(below)]
    total += max(widths) + 2 * _SEP
  return total - 2 * _SEP


def _ems(text: str) -> float:
  """Estimates the width of a text in em."""
  total = 0.0
  for c in text:
    default = 0.72 if c.isupper() or not c.isascii() else 0.5
    total += next((w for some, w in _WIDTHS if c in some), default)
  return total


def _line(cells: Sequence[str]) -> str:
  line = ' & '.join(cells)
  # Behind the end of a line LaTeX takes these for an option of it.
  return ('{}' if line[:1] in ('[', '*') else '') + line + r' \\'


def _cell(text: str, is_number: bool, bold: bool) -> str:
  value, below = _stacked(text) if is_number else (text, '')
  value = f'\\textbf{{{escaped(value)}}}' if bold else escaped(value)
  return f'\\twolines{{{value}}}{{{escaped(below)}}}' if below else value


def _stacked(text: str) -> tuple[str, str]:
  """Splits '+.09 [+.04, +.13]' into the value and its interval, or ''."""
  match = _INTERVAL.fullmatch(text)
  return (match[1], match[2]) if match else (text, '')


def _halves(header: str) -> list[str]:
  """Splits a long header at the blank nearest to its middle."""
  gaps = [k for k, c in enumerate(header) if c == ' ']
  if len(header) < _LONG_HEADER or not gaps:
    return [header]
  k = min(gaps, key=lambda gap: abs(2 * gap + 1 - len(header)))
  return [header[:k], header[k + 1 :]]


def _header(text: str) -> str:
  lines = [escaped(line) for line in _halves(text)]
  if len(lines) == 1:
    return lines[0]
  return f'\\shortstack[r]{{{lines[0]}\\\\{lines[1]}}}'

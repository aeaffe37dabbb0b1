"""Shared parts of the figures: colours, panels, one legend, the file."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import contextvars
import os
from typing import Any

from esmm_jax import system_errors
from esmm_jax.metrics.significance import summarize
from esmm_jax.printable import printable
from esmm_jax.types import Array, InputError
from esmm_jax.whole_files import replacing
import numpy as np

# Okabe and Ito's colours, which the colour-blind can tell apart, without their
# yellow, which is faint on white; the last is Tol's wine.
COLOURS = (
    '#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000',
    '#882255',
)  # fmt: skip
MARKERS = 'osD^vPX*'
# Colour of references: a diagonal, a baseline, the truth.
GREY = '0.35'
_NARROWEST = 6.0
_PDF_TOO = contextvars.ContextVar('pdf_too', default=False)
# A matplotlib Figure and Axes: the import would cost every program a second.
Figure = Any
Axes = Any


def style(k: int) -> dict[str, Any]:
  """Returns marker and colour of the k-th line; 64 are different."""
  num = len(COLOURS)
  return {
      'marker': MARKERS[(k + k // num) % len(MARKERS)],
      'color': COLOURS[k % num],
  }


def styles(panels: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
  """Returns method -> style, in the order in which the panels name them."""
  methods = dict.fromkeys(method for panel in panels for method in panel)
  return {method: style(k) for k, method in enumerate(methods)}


def checked(
    name: str, values: Array, shape: tuple[int | None, ...]
) -> np.ndarray:
  """Converts to float64 and checks the shape.

  Args:
    name: Name of the values in the message.
    values: Array.
    shape: Its expected shape; None fits any length.

  Raises:
    InputError: The shape does not fit.
  """
  values = np.asarray(values, np.float64)
  if values.ndim != len(shape) or any(
      want not in (None, size) for want, size in zip(shape, values.shape)
  ):
    want = ', '.join('any' if n is None else str(n) for n in shape)
    raise InputError(f'{name} must be [{want}], got {list(values.shape)}.')
  return values


def moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Computes mean, sample standard deviation and number over the seeds.

  Args:
    values: float [S, ...]; nan values are left out and not counted.

  Returns:
    Three float [...]; the mean is nan without values, the deviation nan of
    fewer than two.
  """
  columns = np.moveaxis(values, 0, -1).reshape(-1, len(values))
  summaries = np.reshape([summarize(column) for column in columns], (-1, 3))
  mean, std, n = summaries.T.reshape(3, *values.shape[1:])
  return mean, std, n


def seeds(counts: Iterable[float], total: int) -> str:
  """Formats `5 seeds`, `3 of 5 seeds` or `3 to 5 of 5 seeds`.

  Args:
    counts: Number of seeds behind each point.
    total: Number of planned seeds.
  """
  counts = [int(n) for n in counts]
  low, high = min(counts, default=0), max(counts, default=0)
  some = f'{high}' if low == high else f'{low} to {high}'
  if low < total:
    some += f' of {total}'
  return f'{some} seed{"" if total == 1 else "s"}'


def panels(
    rows: int,
    columns: int,
    size: tuple[float, float],
    sharey: bool = True,
    sharex: bool = True,
) -> tuple[Figure, np.ndarray]:
  """Makes a figure and its panels [rows, columns].

  Args:
    rows: Number of rows.
    columns: Number of columns.
    size: Width and height in inches; a narrow figure is widened, so that its
      title fits.
    sharey: Whether the panels share their y axis.
    sharex: Whether they share their x axis.

  Raises:
    InputError: There is no panel.
  """
  from matplotlib.figure import Figure

  if not rows * columns:
    raise InputError('There is nothing to draw: no panel.')
  size = max(size[0], _NARROWEST), size[1]
  figure = Figure(figsize=size, layout='constrained')
  grid = figure.subplots(
      rows, columns, sharex=sharex, sharey=sharey, squeeze=False
  )
  for axes in grid.flat:
    axes.grid(axis='y', color='0.9')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
  return figure, grid


def headline(axes: Axes, name: str, count: str) -> None:
  """Writes the panel's name on the left and, small, its number of seeds."""
  axes.set_title(name, loc='left', fontsize='medium')
  axes.set_title(count, loc='right', fontsize='x-small', color=GREY)


def outer_labels(grid: np.ndarray, drawn: np.ndarray, x_label: str) -> None:
  """Blanks the panels that are not drawn and labels the outermost that are.

  The lowest panel of each column gets the x label and the numbers, the first of
  each row the numbers. A blank panel keeps its title and its y label.

  Args:
    grid: Axes [rows, columns], which share their axes.
    drawn: bool [rows, columns].
    x_label: Below each column.
  """
  for axes in grid[~drawn]:
    axes.spines[:].set_visible(False)
    axes.grid(False)
    # The locator would hide the ticks of all panels: they share it.
    axes.tick_params(
        which='both', left=False, bottom=False, labelleft=False,
        labelbottom=False,
    )  # fmt: skip
  for column, is_drawn in zip(grid.T, drawn.T):
    if is_drawn.any():
      lowest = column[is_drawn][-1]
      lowest.tick_params(labelbottom=True)
      lowest.set_xlabel(x_label)
  for row, is_drawn in zip(grid, drawn):
    if is_drawn.any():
      row[is_drawn][0].tick_params(labelleft=True)


def finish(figure: Figure, grid: np.ndarray, title: str, path: str) -> None:
  """Adds the title and one legend for all panels, and writes the file."""
  handles = {}
  for axes in grid.flat:
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
      handles.setdefault(label, handle)
  # Tries one row first: as few as the width of the figure allows.
  for rows in range(1, len(handles) + 1):
    legend = figure.legend(
        handles.values(), handles, loc='outside lower center', frameon=False,
        ncols=-(-len(handles) // rows),
    )  # fmt: skip
    _as_they_are(figure)
    if legend.get_window_extent().width <= figure.bbox.width:
      break
    if rows < len(handles):
      legend.remove()
  figure.suptitle(title)
  write(figure, path)


def _as_they_are(figure: Figure) -> None:
  """Shows names as texts: no formula between dollar signs, no control.

  A name may be anything, and what is no formula would be an error. Numbers of
  axes are formulas of matplotlib's own.
  """
  from matplotlib.text import Text

  for text in figure.findobj(Text):
    text.set_text(printable(text.get_text()))
    if '$' in text.get_text() and r'\mathdefault' not in text.get_text():
      text.set_parse_math(False)


@contextlib.contextmanager
def pdf_too() -> Iterator[None]:
  """Has each figure that is drawn within written as PDF too, for papers."""
  token = _PDF_TOO.set(True)
  try:
    yield
  finally:
    _PDF_TOO.reset(token)


def pdf_of(path: str) -> str:
  """Returns the path of the PDF beside a PNG."""
  return os.path.splitext(path)[0] + '.pdf'


def write(figure: Figure, path: str) -> None:
  """Writes the PNG, and its folder if there is none.

  Within `pdf_too` the same figure is written beside it as PDF. Both have the
  same bytes each time: they hold no date.
  """
  _as_they_are(figure)
  with system_errors.naming(path):
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    with replacing(path) as temporary:
      figure.savefig(temporary, dpi=150, format='png')
    if _PDF_TOO.get():
      _write_pdf(figure, pdf_of(path))


def _write_pdf(figure: Figure, path: str) -> None:
  import matplotlib

  options = {'pdf.fonttype': 42}  # Publishers refuse fonts of type 3.
  with matplotlib.rc_context(options), replacing(path) as temporary:
    figure.savefig(temporary, format='pdf', metadata={'CreationDate': None})

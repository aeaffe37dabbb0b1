"""The parts of a page, and their HTML.

The template engine escapes all texts. Pictures are embedded as data, so that
the file needs nothing beside it.
"""

import base64
from collections.abc import Sequence
import dataclasses
import functools
import hashlib
import os
from typing import Any, ClassVar

from esmm_jax import system_errors
from esmm_jax.reporting.grid import Grid
from esmm_jax.types import InputError
from esmm_jax.replaceable import begins_with
from esmm_jax.whole_files import write_text


@dataclasses.dataclass(frozen=True)
class Text:
  """A paragraph."""

  kind: ClassVar[str] = 'text'
  text: str


@dataclasses.dataclass(frozen=True)
class Table:
  """A grid of texts with links.

  Attributes:
    grid: Its texts.
    hrefs: (row, column) -> a relative link of that cell.
    exact: (row, column) -> the number in full precision, shown on hover.
  """

  kind: ClassVar[str] = 'table'
  grid: Grid
  hrefs: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)
  exact: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Terms:
  """Names and their meanings.

  Attributes:
    items: (name, meaning).
  """

  kind: ClassVar[str] = 'terms'
  items: Sequence[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture with a caption.

  Attributes:
    path: The PNG file.
    caption: Below it; also read by screen readers.
    large: Whether it is wider than the text.
  """

  kind: ClassVar[str] = 'picture'
  path: str
  caption: str
  large: bool = False

  @property
  def source(self) -> str:
    """The file as a data URI."""
    with open(self.path, 'rb') as f:
      data = base64.b64encode(f.read()).decode('ascii')
    return f'data:image/png;base64,{data}'


@dataclasses.dataclass(frozen=True)
class Missing:
  """A missing part, and the command that makes it ('' if none does)."""

  kind: ClassVar[str] = 'missing'
  what: str
  command: str = ''


@dataclasses.dataclass(frozen=True)
class Code:
  """Monospaced text; folded away under `title` if it has one."""

  kind: ClassVar[str] = 'code'
  text: str
  title: str = ''


@dataclasses.dataclass(frozen=True)
class Section:
  """A heading and the parts below it."""

  title: str
  parts: Sequence[Any]

  @property
  def anchor(self) -> str:
    """The target of links to it."""
    return self.title.lower().replace(' ', '-')


@dataclasses.dataclass(frozen=True)
class Page:
  """A whole page.

  Attributes:
    title: Its heading.
    subtitle: Below it, small.
    numbers: (name, number, rows it is of) of the first lines.
    sections: In order; those without parts are left out.
  """

  title: str
  subtitle: str
  numbers: Sequence[tuple[str, str, str]]
  sections: Sequence[Section]


@functools.cache
def _template() -> tuple[Any, str, str]:
  """Returns the template, the style sheet and what the page may do."""
  import jinja2

  environment = jinja2.Environment(
      loader=jinja2.PackageLoader('esmm_jax.reporting.page', '.'),
      autoescape=True,
      undefined=jinja2.StrictUndefined,
      trim_blocks=True,
      lstrip_blocks=True,
  )
  css = environment.loader.get_source(environment, 'page.css')[0]
  style = f'\n{css}\n'
  digest = hashlib.sha256(style.encode()).digest()
  # No scripts, nothing from elsewhere, no style but that of the page.
  policy = (
      "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none';"
      f" style-src 'sha256-{base64.b64encode(digest).decode()}'"
  )
  return environment.get_template('page.html'), style, policy


def render(page: Page) -> str:
  """Renders the HTML of a page."""
  sections = [s for s in page.sections if s.parts]
  template, style, policy = _template()
  return template.render(
      page=page, sections=sections, style=style, policy=policy
  )


def is_page(path: str) -> bool:
  """Returns whether a file is a page, also one of earlier versions."""
  return begins_with(
      path,
      '<meta name="generator" content="esmm_jax">',
      '--ink: #1d2733; --soft: #5a6675; --line: #dfe4ea;',
  )


def write(page: Page, path: str) -> None:
  """Writes the page whole or not at all.

  Raises:
    InputError: The folder cannot be written.
  """
  text = render(page)
  try:
    os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
    write_text(path, text)
  except OSError as e:
    raise InputError(
        f'--output={path}:'
        f' {system_errors.told(e, "Name a file that can be written.")}'
    ) from e

"""The form of CSV files, as options of a config or flags name it."""

import codecs
from collections.abc import Mapping
import contextlib
import dataclasses
import re
from typing import Any

from esmm_jax.data.csv_files import quoted_names
from esmm_jax.options import check_choice
from esmm_jax.types import InputError

NONE = 'none'
FORMATS = ('', 'csv', 'parquet')
_SPELLED = {'tab': '\t', 'space': ' '}
_ESCAPE = re.compile(r'\\(?:t|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|[0-7]{3})')


@dataclasses.dataclass(frozen=True)
class Dialect:
  r"""The form of CSV files; each option may be unset, ''.

  Attributes:
    separator: One character, or `tab`, `space`, `\t`, `\x01`; unset: a comma,
      a tab in `.tsv` files.
    header: Unset: the first line. `none`: there is none, columns are `c0`, `c1`
      and so on. Or the names, with commas between, of files without one.
    encoding: A codec of Python; unset: UTF-8.
    null_values: Texts, with commas between, that are missing values, as an
      empty field is; between quotes too, and with blanks around them.
    quote: One character, or `none`; unset: `"`.
    format: `csv` or `parquet`; unset: as the names of the files end.
    prefix: Stands before the options in messages.
  """

  separator: str = ''
  header: str = ''
  encoding: str = ''
  null_values: str = ''
  quote: str = ''
  format: str = ''
  prefix: str = dataclasses.field(default='dataset.', compare=False)

  def __post_init__(self):
    check_choice(self.option('format'), self.format, FORMATS)
    separator = self._character('separator', 'tab, space, \\t or \\x01')
    quote = self.quote_mark
    if quote and quote in ([separator] if separator else [',', '\t']):
      raise InputError(
          f'{self.option("quote")} and {self.option("separator")} are both'
          f' {quote!r}; they must differ.'
      )
    self._check_encoding()
    for option in ('header', 'null_values'):
      try:
        quoted_names.split(getattr(self, option))
      except InputError as e:
        raise InputError(f'{self.option(option)}: {e}') from e
    names = self.header_names
    for name in names:
      if names.count(name) > 1:
        raise InputError(f'{self.option("header")} names {name!r} twice.')

  def _check_encoding(self) -> None:
    try:
      with contextlib.suppress(UnicodeDecodeError):
        b'a'.decode(self.codec)  # Others are of bytes, base64 say.
    except (LookupError, ValueError) as e:
      raise InputError(
          f'{self.option("encoding")} is {self.encoding!r}, which is no'
          ' encoding of texts that Python knows, as utf-8, gbk, latin-1 and'
          ' utf-16 are.'
      ) from e

  def _character(self, name: str, also: str) -> str:
    """Returns the one character that an option is; '' if it is unset."""
    text = getattr(self, name)
    character = _SPELLED.get(text.lower(), text)
    if _ESCAPE.fullmatch(character):
      character = codecs.decode(character, 'unicode_escape')
    if not character:
      return ''
    if (
        len(character) > 1
        or not character.isascii()
        or character.isalnum()
        or character in '\r\n\0'
    ):
      raise InputError(
          f'{self.option(name)} is {text!r}; it must be one ASCII character, no'
          f' letter or digit, or {also}.'
      )
    return character

  def option(self, name: str) -> str:
    """Returns an option's name in messages."""
    return f'{self.prefix}{name}'

  def separator_of(self, name: str) -> str:
    """Returns the separator of a file.

    Args:
      name: Of the file, without the ending of its compression.
    """
    default = '\t' if name.lower().endswith('.tsv') else ','
    return self._character('separator', '') or default

  @property
  def quote_mark(self) -> str:
    """The quote, '' where there is none."""
    if self.quote.lower() == NONE:
      return ''
    return self._character('quote', NONE) or '"'

  @property
  def codec(self) -> str:
    """Name of the encoding as Python has it."""
    return codecs.lookup(self.encoding or 'utf-8').name

  @property
  def has_header(self) -> bool:
    """True where the first line of a file holds the names."""
    return not self.header

  @property
  def header_names(self) -> list[str]:
    """The names that `header` lists."""
    if self.header.lower() == NONE:
      return []
    return quoted_names.split_names(self.header)

  @property
  def nulls(self) -> list[str]:
    """The texts that are missing values, without the empty one."""
    return quoted_names.split_names(self.null_values)

  @property
  def options(self) -> dict[str, str]:
    """The options that are set."""
    return {n: v for n in NAMES if (v := getattr(self, n))}

  @classmethod
  def read(
      cls, options: Mapping[str, Any], prefix: str = 'dataset.'
  ) -> 'Dialect':
    """Makes one of the options in a mapping that are set; others are ignored.

    Raises:
      InputError: An option is not possible.
    """
    values = {n: str(v) for n in NAMES if (v := options.get(n)) is not None}
    return cls(**values, prefix=prefix)


NAMES = tuple(f.name for f in dataclasses.fields(Dialect) if f.name != 'prefix')
DEFAULT = Dialect()

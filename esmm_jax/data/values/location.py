"""Positions of values in files, for messages."""

import dataclasses
from typing import Any

from esmm_jax.data.csv_files import csv_rows, dialect as dialects
from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.types import InputError

_MAX_SHOWN = 120  # Characters of a value.


@dataclasses.dataclass(frozen=True)
class Location:
  """The position of some rows of a file, or of a column of them, for messages.

  Attributes:
    where: The file.
    first: Number of the first of the rows, from 0.
    noun: What messages count: `row` (from 0), or `line` of a CSV file.
    name: The column.
    dialect: The form of a CSV file.
  """

  where: str
  first: int = 0
  noun: str = 'row'
  name: str = ''
  dialect: Dialect = dialects.DEFAULT

  def column(self, name: str) -> 'Location':
    """Returns the location of a column of the rows."""
    # Several of each row that is scored: `dataclasses.replace` is slower.
    return Location(self.where, self.first, self.noun, name, self.dialect)

  def __str__(self) -> str:
    return f'{self.where}: column {self.name!r}'

  def at(self, row: int) -> str:
    """Returns the file and the number of a row, in words."""
    number = self.first + int(row)
    if self.noun == 'line':
      number = csv_rows.line_of(self.where, number, self.dialect)
    return f'{self.where}, {self.noun} {number}'

  def refusal(self, row: int, value: Any, must: str) -> InputError:
    """Makes the error of a value; `must` ends 'it must be'."""
    shown = repr(value)
    if len(shown) > _MAX_SHOWN:
      shown = f'{shown[:_MAX_SHOWN]}...'
    text = f'column {self.name!r} is {shown}; it must be {must}.'
    return InputError(f'{self.at(row)}: {text}')

"""Shares of missing values, and of those that training never saw, by field."""

from collections.abc import Iterator, Mapping
import os
from typing import NamedTuple

from esmm_jax.json_files import read_json, write_json
from esmm_jax.schema import MISSING, RARE, Schema
from esmm_jax.types import Columns, Ragged
import numpy as np

# A share of unseen values above which a column is probably another one than in
# the log that was trained on, or of another type; it is above so many times the
# share in that log, too, because a column may have many rare values.
SUSPICIOUS = 0.5
_TIMES = 2
_FILE = 'unseen.json'
# Of the report of prepared data: split -> column of numbers -> rows without
# one.
MISSING_NUMBERS = 'missing_numbers'
# Smaller shares are not listed.
_LISTED = 0.001


class Share(NamedTuple):
  """Shares of a field's values.

  Attributes:
    missing: Of all rows: without a value, or with an empty list.
    unseen: Of the values (of lists: the entries) that are there: rare in
      training or never seen. 0 or nan of numbers.
  """

  missing: float
  unseen: float


class Counts:
  """Counts of missing and unseen values, piece by piece.

  Attributes:
    fields: Field -> rows, missing rows, values, unseen values.
  """

  def __init__(self) -> None:
    self.fields: dict[str, list[int]] = {}

  def add(
      self,
      name: str,
      values: np.ndarray,
      offsets: np.ndarray | None = None,
  ) -> None:
    """Adds values of a field.

    Args:
      name: The field.
      values: Ids (`MISSING`, `RARE` and so on) [n] or [t], or raw numbers [n],
        nan where one is missing.
      offsets: int64 [n + 1] of lists, whose entries are `values`.
    """
    if offsets is not None:
      num, missing = len(offsets) - 1, int((np.diff(offsets) == 0).sum())
    else:
      is_number = values.dtype.kind == 'f'
      absent = np.isnan(values) if is_number else values == MISSING
      num, missing = len(values), int(absent.sum())
    unseen = int((values == RARE).sum()) if values.dtype.kind != 'f' else 0
    present = len(values) if offsets is not None else num - missing
    self.add_all({name: [num, missing, present, unseen]})

  def add_columns(self, schema: Schema, columns: Columns) -> None:
    """Adds encoded columns; their numbers are not counted.

    A missing number has become the mean, which shows nothing: the report of the
    prepared data has those, see `MISSING_NUMBERS`.
    """
    for f in schema.inputs:
      column = columns[f.name]
      if isinstance(column, Ragged):
        self.add(f.name, column.values, column.offsets)
      else:
        self.add(f.name, column)

  def add_all(self, fields: Mapping[str, list[int]]) -> None:
    """Adds other counts, as `fields` holds them."""
    for name, counts in fields.items():
      before = self.fields.get(name, [0] * len(counts))
      self.fields[name] = [a + b for a, b in zip(before, counts, strict=True)]

  def save(self, folder: str) -> None:
    """Writes the counts into the folder of an encoder: those of its log."""
    write_json(os.path.join(folder, _FILE), self.fields)

  @classmethod
  def load(cls, folder: str) -> 'Counts':
    """Reads the counts of an encoder's log; none of an earlier version's."""
    counts = cls()
    counts.add_all(read_json(os.path.join(folder, _FILE)) or {})
    return counts

  def shares(self) -> dict[str, Share]:
    """Returns the shares of each field; 0 where there are no rows."""
    return {
        name: Share(missing / max(num, 1), unseen / max(present, 1))
        for name, (num, missing, present, unseen) in self.fields.items()
    }


def lines(
    shares: Mapping[str, Share], before: Mapping[str, Share] | None = None
) -> Iterator[str]:
  """Yields a summary for people: a line each for unseen and missing values.

  Warnings follow, of fields that are almost wholly unseen.

  Args:
    shares: Of new rows.
    before: Of the log that was trained on, all its splits; None: not known.
  """
  for key, words in (
      ('unseen', 'rare or never seen in training'),
      ('missing', 'missing'),
  ):
    values = {name: getattr(share, key) for name, share in shares.items()}
    listed = sorted(
        (name for name in values if values[name] >= _LISTED),
        key=lambda name: -values[name],
    )
    if listed:
      texts = [f'{name} {values[name]:.1%}' for name in listed]
      yield f'{words}: {", ".join(texts)}'
  for name, share in shares.items():
    of_log = (before or {}).get(name)
    if share.unseen > max(SUSPICIOUS, _TIMES * of_log.unseen if of_log else 0):
      then = f' ({of_log.unseen:.1%} in its log)' if of_log else ''
      yield (
          f'warning: {share.unseen:.1%} of the values of column {name!r} are'
          f' rare or were never seen in training{then}; is it the right column,'
          ' with the values that it had there?'
      )

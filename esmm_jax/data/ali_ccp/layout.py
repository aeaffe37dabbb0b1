"""The fields that are read of a raw file, and the codes of their names."""

import dataclasses
import re

from esmm_jax.data.ali_ccp import kernel
from esmm_jax.data.ali_ccp.fields import RAW_FIELDS
from esmm_jax.schema import Schema
import numpy as np

_NAME = re.compile(r'([0-9]{1,3})(?:_([0-9]{1,2}))?')
_NAME_CODES = 400_000  # Above every code of `name_code`.


@dataclasses.dataclass(frozen=True)
class Layout:
  """The fields of a file.

  Attributes:
    skeleton: True for the skeleton, False for the common file.
    singles: Fields with one value a line.
    lists: Fields with several.
    weighted: Fields whose values count as weights; of the others, values other
      than 1 are counted.
    last: Those of `singles` of which the last value counts. Of the others the
      first one does, and the rest are counted as duplicates.
    ignored: Fields of the format that are not read.
  """

  skeleton: bool
  singles: tuple[str, ...]
  lists: tuple[str, ...]
  weighted: frozenset[str] = frozenset()
  last: frozenset[str] = frozenset()
  ignored: frozenset[str] = frozenset()

  def codes(self) -> np.ndarray:
    """Returns the look-up of `kernel.parse`, int8."""
    codes = np.full(_NAME_CODES, kernel.UNKNOWN, np.int8)
    for k, name in enumerate(self.singles + self.lists):
      codes[name_code(name)] = k
    for name in self.ignored:
      codes[name_code(name)] = kernel.IGNORED
    return codes


def layout(schema: Schema, skeleton: bool) -> Layout:
  """Returns the fields of a schema that are in a file, and the ignored ones."""
  in_file = [f for f in RAW_FIELDS if f.common != skeleton]
  used = {f.name: f for f in schema.fields}
  read = [f for f in in_file if f.name in used]
  lists = [f.name for f in read if used[f.name].kind == 'ids']
  return Layout(
      skeleton=skeleton,
      singles=tuple(f.name for f in read if f.name not in lists),
      lists=tuple(lists),
      weighted=frozenset(f.name for f in read if used[f.name].weighted),
      last=frozenset(
          f.name for f in read if f.several and f.name not in lists
      ),
      ignored=frozenset(f.name for f in in_file if f.name not in used),
  )


def name_code(name: str) -> int:
  """Returns the number that the parser reads for a spelling of a field."""
  first, second = _NAME.fullmatch(name).groups()
  return int('1' + first) + 2000 * (int('1' + second) if second else 0)


def code_name(code: int) -> str:
  """Returns the name that has this code."""
  second, first = divmod(code, 2000)
  return str(first)[1:] + (f'_{str(second)[1:]}' if second else '')

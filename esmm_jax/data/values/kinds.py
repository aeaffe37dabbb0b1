"""The table of Arrow types: their kind, and the uses of a value of the kind.

    kind        id               number    time     label      list
    none        missing          missing   refused  refused    empty
    truth       True, False      1, 0      1, 0     1, 0       -
    integer     digits           itself    itself   0, 1       -
    fraction    digits if whole  itself    itself   0, 1       -
    decimal     digits if whole  itself    itself   0, 1       -
    text        itself           parsed    parsed   0, 1, ...  split
    date        2022-04-01       -         itself   -          -
    timestamp   see `texts`      -         itself   -          -
    clock       12:30:00.5       -         -        -          -
    duration    -                -         -        -          -
    list        -                -         -        -          itself
    pairs       -                -         -        -          with weights
    other       -                -         -        -          -

A dash is refused. Dictionaries, run-end-encoded arrays and extension types are
of the kind of their values. A column without any value is of kind none.
"""

from typing import Any

from esmm_jax.data.values.location import Location
import pyarrow as pa
from pyarrow import lib

# Arrow type -> kind.
KINDS = {
    lib.Type_NA: 'none',
    lib.Type_BOOL: 'truth',
    lib.Type_INT8: 'integer',
    lib.Type_INT16: 'integer',
    lib.Type_INT32: 'integer',
    lib.Type_INT64: 'integer',
    lib.Type_UINT8: 'integer',
    lib.Type_UINT16: 'integer',
    lib.Type_UINT32: 'integer',
    lib.Type_UINT64: 'integer',
    lib.Type_HALF_FLOAT: 'fraction',
    lib.Type_FLOAT: 'fraction',
    lib.Type_DOUBLE: 'fraction',
    lib.Type_DECIMAL32: 'decimal',
    lib.Type_DECIMAL64: 'decimal',
    lib.Type_DECIMAL128: 'decimal',
    lib.Type_DECIMAL256: 'decimal',
    lib.Type_STRING: 'text',
    lib.Type_LARGE_STRING: 'text',
    lib.Type_STRING_VIEW: 'text',
    lib.Type_BINARY: 'text',
    lib.Type_LARGE_BINARY: 'text',
    lib.Type_BINARY_VIEW: 'text',
    lib.Type_FIXED_SIZE_BINARY: 'text',
    lib.Type_DATE32: 'date',
    lib.Type_DATE64: 'timestamp',
    lib.Type_TIMESTAMP: 'timestamp',
    lib.Type_TIME32: 'clock',
    lib.Type_TIME64: 'clock',
    lib.Type_DURATION: 'duration',
    lib.Type_LIST: 'list',
    lib.Type_LARGE_LIST: 'list',
    lib.Type_FIXED_SIZE_LIST: 'list',
    lib.Type_LIST_VIEW: 'list',
    lib.Type_LARGE_LIST_VIEW: 'list',
    lib.Type_MAP: 'pairs',
    lib.Type_STRUCT: 'other',
    lib.Type_SPARSE_UNION: 'other',
    lib.Type_DENSE_UNION: 'other',
    lib.Type_INTERVAL_MONTHS: 'other',
    lib.Type_INTERVAL_DAY_TIME: 'other',
    lib.Type_INTERVAL_MONTH_DAY_NANO: 'other',
}
_NUMERIC = ('none', 'truth', 'integer', 'fraction', 'decimal', 'text')
# Use -> kinds that can be read so.
READ = {
    'id': (*_NUMERIC, 'date', 'timestamp', 'clock'),
    'number': _NUMERIC,
    'time': (*_NUMERIC, 'date', 'timestamp'),
    'label': _NUMERIC,
    'list': ('none', 'text', 'list', 'pairs'),
}


def kind_of(kind: pa.DataType) -> str:
  """Returns the kind of a type; `arrow` has replaced what wraps another."""
  return KINDS.get(kind.id, 'other')


def require(
    use: str,
    array: pa.Array,
    must: str,
    location: Location,
    rows: Any = None,
) -> str:
  """Returns the kind of an array whose values are read for a use.

  Args:
    use: A key of `READ`.
    array: As `arrow` returns it: with a value, unless it is of kind none.
    must: In words, for the message.
    location: The column's.
    rows: The row of each entry; None: entry k is in row k.

  Raises:
    InputError: Names the first value, which cannot be read so.
  """
  kind = kind_of(array.type)
  if kind not in READ[use]:
    k = array.is_valid().index(True).as_py()
    raise location.refusal(
        k if rows is None else rows[k], shown(array, k), must
    )
  return kind


class Shown(str):
  """A value as messages show it, without quotes."""

  def __repr__(self) -> str:
    return str(self)


def shown(array: pa.Array, k: int) -> Any:
  """Returns entry k for a message, whatever its type."""
  if k >= len(array):
    return None
  kind = array.type
  if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
    # Python's own types hold no nanoseconds.
    if not array[k].is_valid:
      return None
    text = array.slice(k, 1).cast(pa.string())[0].as_py()
    unit = f' {kind.unit}' if pa.types.is_duration(kind) else ''
    return Shown(text + unit)
  try:
    return array[k].as_py()
  except (ValueError, OverflowError, TypeError):  # Such types inside of lists.
    return Shown(' '.join(array.slice(k, 1).to_string().split()))

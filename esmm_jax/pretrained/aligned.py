"""Vectors by raw value -> by the ids of a run's data."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.pretrained import files
from esmm_jax.pretrained.options import of_model, Request, VECTORS
from esmm_jax.schema import Field, FIRST_KEPT, Schema
from esmm_jax.shared_tables.targets import ATTENTION
from esmm_jax.types import InputError, Ragged, suggest
import numpy as np

_LITTLE = 0.5  # A smaller share of the rows is warned of.
_PIECE = 1 << 20  # Rows that are counted at once.


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
  """The vectors of one column.

  Attributes:
    request: What was asked for.
    field: The column's field.
    ids: int32 [n], ascending: those that have a vector.
    vectors: float32 [n, d].
  """

  request: Request
  field: Field
  ids: np.ndarray
  vectors: np.ndarray

  def dense(self) -> np.ndarray:
    """Returns float32 [V, d], 0 for an id without a vector."""
    whole = np.zeros(
        (self.field.vocab_size, self.vectors.shape[1]), np.float32
    )
    whole[self.ids] = self.vectors
    return whole


def check(
    model: Mapping[str, Any], schema: Schema, builder: ColumnarBuilder
) -> None:
  """Refuses columns that can have no vectors; needs no prepared data.

  Args:
    model: Options of the section `model`.
    schema: The fields that the model reads.
    builder: The data set, prepared or not.

  Raises:
    InputError: Names the column.
  """
  requests = of_model(model)
  # A run knows the raw values of its ids by its encoder.
  if requests and not builder.encoder_folder:
    raise InputError(
        f'model.{VECTORS} finds vectors by the values of a column, and'
        f' dataset.name={builder.name} keeps none; it needs'
        ' dataset.name=tabular.'
    )
  tables: dict[str, str] = {}
  names = [f.name for f in schema.inputs]
  for request in requests:
    if request.column not in names:
      raise InputError(
          f'{request.named} is no column of ids that the model reads.'
          f' {suggest(request.column, names)}'
      )
    field = schema.field(request.column)
    table = field.table
    if request.frozen and field.combiner == ATTENTION:
      raise InputError(
          f'{request.named} is combined by attention, and vectors of lists are'
          ' added up: set combiner=sum or mean in dataset.ids, or frozen=False.'
      )
    if request.frozen:
      continue
    if table in tables:
      raise InputError(
          f'{request.named} and {tables[table]!r} share the table {table!r},'
          ' whose rows can begin with one file alone; leave one away.'
      )
    tables[table] = request.column


def align(request: Request, schema: Schema, encoder: Encoder) -> Vectors:
  """Reads a file and finds the ids of its values.

  Args:
    request: What is asked for.
    schema: The fields that the model reads.
    encoder: Of the run's data.

  Raises:
    InputError: The file cannot be read, or has no value of the column.
  """
  field = schema.field(request.column)
  values, vectors = files.read(request.file)
  vocabulary = encoder.vocabulary(field.table)
  ids = vocabulary.encode(values)
  kept = np.flatnonzero(ids >= FIRST_KEPT)
  if not len(kept):
    some = vocabulary.values[:2].to_pylist()
    raise InputError(
        f'{request.named}: no value of {request.file} is a value of the column'
        f' in the training rows; the file has {values[:2].to_pylist()} and so'
        f' on, the column {some}.'
    )
  order = kept[np.argsort(ids[kept])]
  return Vectors(request, field, ids[order], vectors[order])


def coverage(
    vectors: Sequence[Vectors], builder: ColumnarBuilder, split: str
) -> tuple[list[str], list[str]]:
  """Tells how many ids and training rows have a vector.

  Args:
    vectors: Of each column.
    builder: The prepared data.
    split: `train[:10%]`, say.

  Returns:
    Lines for people, and warnings: columns with a vector in fewer than half of
    the rows.
  """
  lines, warnings = [], []
  for one, share in zip(vectors, _shares(vectors, builder, split)):
    request, field = one.request, one.field
    num, kept = len(one.ids), field.vocab_size - FIRST_KEPT
    what = 'frozen, an input of its own'
    if not request.frozen:
      what = 'the first rows of its table'
    of_rows = 'entries of training rows' if field.kind == 'ids' else (
        'training rows'
    )
    line = (
        f'Vectors of {request.column}: {request.file}, {one.vectors.shape[1]}'
        f' numbers, {what}; {num:,} of {kept:,} values and {share:.1%} of the'
        f' {of_rows} have one.'
    )
    lines.append(line)
    if share < _LITTLE:
      rest = 'have zeros in its place' if request.frozen else 'begin at random'
      warnings.append(
          f'{request.named}: {share:.1%} of the {of_rows} have a vector of'
          f' {request.file}; the others {rest}. See that the file has the'
          ' values as the log writes them.'
      )
  return lines, warnings


def _shares(
    vectors: Sequence[Vectors], builder: ColumnarBuilder, split: str
) -> list[float]:
  """Returns the share of the entries of each column that have a vector."""
  source = builder.as_data_source(split)
  num, total = np.zeros((2, len(vectors)), np.int64)
  has = []
  for one in vectors:
    has.append(np.zeros(one.field.vocab_size, bool))
    has[-1][one.ids] = True
  names = list(dict.fromkeys(one.field.name for one in vectors))
  for low in range(0, len(source), _PIECE):
    columns = source.read(low, min(low + _PIECE, len(source)), names)
    for k, one in enumerate(vectors):
      column = columns[one.field.name]
      ids = column.values if isinstance(column, Ragged) else column
      num[k] += np.count_nonzero(has[k][ids])
      total[k] += len(ids)
  return (num / np.maximum(total, 1)).tolist()

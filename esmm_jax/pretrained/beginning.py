"""Puts the vectors into the state before the first step."""

from collections.abc import Mapping
from typing import Any

from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.embeddings.vectors import name_of, Sizes, VECTORS
from esmm_jax.pretrained import aligned, options
from esmm_jax.schema import Schema
import jax
import numpy as np


def sizes(model: Mapping[str, Any], schema: Schema) -> Sizes:
  """Returns the sizes of the frozen vectors, which need no file.

  Args:
    model: Options of the section `model`, resolved.
    schema: The fields that the model reads.
  """
  dims = options.dims(model)
  return {
      name_of(schema, r.column): (
          schema.field(r.column).vocab_size, dims[r.column]
      )
      for r in options.of_model(model)
      if r.frozen
  }


def put(
    state: Any,
    model: Mapping[str, Any],
    schema: Schema,
    builder: ColumnarBuilder,
    split: str,
    num_tables: int,
) -> tuple[Any, list[str], list[str]]:
  """Puts the vectors of files into a state.

  Args:
    state: A `TrainState` before its first step, on its devices; consumed.
    model: Options of the section `model`, resolved.
    schema: The fields that the model reads.
    builder: The prepared data.
    split: The rows that are trained on.
    num_tables: Embeddings of an id.

  Returns:
    The state; lines and warnings for people, as `aligned.coverage` has them.

  Raises:
    InputError: See `aligned.align`.
  """
  requests = options.of_model(model)
  if not requests:
    return state, [], []
  encoder = Encoder.load(builder.encoder_folder)
  every = [aligned.align(r, schema, encoder) for r in requests]
  frozen = dict(state.stats.get(VECTORS, {}))
  table = state.table
  for one in every:
    if one.request.frozen:
      name = name_of(schema, one.field.name)
      frozen[name] = _like(frozen[name], one.dense())
    else:
      first = schema.offsets[one.field.table]
      table = _with_rows(table, first, one, num_tables)
  stats = {**state.stats, VECTORS: frozen} if frozen else state.stats
  state = state.replace(table=table, stats=stats)
  return state, *aligned.coverage(every, builder, split)


def _like(zeros: jax.Array, values: np.ndarray) -> jax.Array:
  """Returns values [V, d] for each replica, where zeros [R, V, d] are."""
  whole = np.broadcast_to(values, zeros.shape)
  return jax.make_array_from_callback(
      zeros.shape, zeros.sharding, lambda index: whole[index]
  )


def _with_rows(
    table: jax.Array, first: int, one: aligned.Vectors, num_tables: int
) -> jax.Array:
  """Returns the table [V, R, .] with rows of a file, of each embedding."""
  width, dim = table.shape[2] // num_tables, one.vectors.shape[1]

  def set_rows(table: Any, rows: Any, vectors: Any) -> Any:
    for k in range(num_tables):  # First-order weights stand behind them.
      columns = slice(k * width, k * width + dim)
      table = table.at[rows, :, columns].set(vectors[:, None, :])
    return table

  return jax.jit(set_rows, donate_argnums=0, out_shardings=table.sharding)(
      table, one.ids + np.int32(first), one.vectors
  )

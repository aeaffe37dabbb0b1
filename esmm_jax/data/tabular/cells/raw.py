"""Raw columns as the numbers and identifiers of an input."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from esmm_jax.data.tabular.cells import buckets, crosses
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
import numpy as np


class Raw(NamedTuple):
  """A raw column.

  Attributes:
    values: Numbers, float64 with nan where one is missing, or identifiers as
      pyarrow strings.
    offsets: int64 [n + 1] of lists, otherwise None.
    weights: float64, of the entries of lists; None if they have none.
  """

  values: Any
  offsets: np.ndarray | None = None
  weights: np.ndarray | None = None


def read(
    column: Input, columns: Mapping[str, Any], location: Location
) -> Raw:
  """Converts the raw column of an input, or two, to numbers or identifiers.

  Raises:
    InputError: A value is of another kind.
  """
  if column.parts:
    pair = [read(part, columns, location).values for part in column.parts]
    return Raw(crosses.texts(*pair))
  (name,) = column.columns
  location = location.column(name)
  array = raw_values.arrow(columns[name], location)
  if column.is_bucket:
    numbers = raw_values.floats(array, location)
    # Without edges, which are still looked for, the numbers themselves.
    edges = column.edges
    return Raw(numbers if edges is None else buckets.texts(numbers, edges))
  if column.kind == 'float':
    return Raw(raw_values.floats(array, location))
  if column.kind == 'id':
    return Raw(raw_values.texts(array, location))
  lists = raw_values.lists(
      array, location, column.max_len, column.separator, column.weights
  )
  return Raw(lists.entries, lists.offsets, lists.weights)


def with_edges(
    inputs: Sequence[Input], edges: Mapping[str, tuple[float, ...]]
) -> list[Input]:
  """Returns inputs with edges, those that crosses are made of too.

  Args:
    inputs: The inputs.
    edges: Input -> its edges, of those that wait for them.
  """
  return [
      dataclasses.replace(
          c,
          edges=edges.get(c.name) if c.needs_edges else c.edges,
          parts=tuple(with_edges(c.parts, edges)),
      )
      for c in inputs
  ]


def edges_of(inputs: Sequence[Input]) -> dict[str, tuple[float, ...]]:
  """Returns input -> its edges, of those that are buckets."""
  return {
      c.name: c.edges
      for some in inputs
      for c in (some, *some.parts)
      if c.edges is not None
  }

"""Reads rows of a split as the arrays of a batch, checked."""

from collections.abc import Mapping, Sequence

from esmm_jax.data.batching.padding import GroupTable, slots_and_weights
from esmm_jax.data.store.checks import check_columns, check_index
from esmm_jax.data.store.columns import concatenate, take_rows
from esmm_jax.data.store.source import ColumnarSource
from esmm_jax.schema import Schema
from esmm_jax.types import Columns, InputError
import numpy as np


class RowReader:
  """Reads ranges of rows.

  Attributes:
    label_names: Labels, those of the truth, the weight of the rows and further
      columns among them.
    groups: The group table, or None.
  """

  def __init__(
      self,
      source: ColumnarSource,
      schema: Schema,
      reads_group: bool,
      truth: ColumnarSource | None,
      truth_labels: Sequence[str],
      more_labels: Mapping[str, np.ndarray],
  ):
    """Opens the columns, and pads the group table.

    Args:
      source: Features and labels.
      schema: The columns to read.
      reads_group: Whether the column `schema.group` is read even if there is no
        group table.
      truth: Truth columns of the same rows.
      truth_labels: Truth columns to add to the labels.
      more_labels: Further columns to add to them, float32 [number of rows]
        each, in file order.

    Raises:
      InputError: truth_labels are asked of a data set without truth, or the
        group table holds an impossible id or weight, or a column is not as it
        was written.
    """
    if truth_labels and truth is None:
      raise InputError(
          f'Labels {list(truth_labels)} exist only where the truth is known;'
          ' use dataset synthetic_funnel, or another estimator.'
      )
    self._source, self._schema, self._truth = source, schema, truth
    self._truth_labels = tuple(truth_labels)
    self._more = dict(more_labels)
    for name, column in self._more.items():
      if len(column) != len(source):
        raise InputError(
            f'Label {name} has {len(column)} values, and {source} has'
            f' {len(source)} rows.'
        )
    self._labels = schema.labels + ((schema.weight,) if schema.weight else ())
    self.label_names = (*self._labels, *self._truth_labels, *self._more)
    self.groups = None
    if schema.group_part.num_slots:
      self.groups = GroupTable(schema, source.groups, str(source))
    weighted = [f for f in schema.row_part.pooled_fields if f.kind == 'id']
    self._names = [f.name for f in schema.fields if not f.by_group]
    self._names += [f'{f.name}.weight' for f in weighted]
    self._names += self._labels
    self._has_groups = self.groups is not None or reads_group
    if self._has_groups:
      self._names.append(schema.group)
    # All of it here: no run begins with damaged data and ends hours later.
    source.verify(self._names)
    if truth_labels:
      truth.verify(truth_labels)

  def read_group(self, low: int, high: int) -> np.ndarray:
    """Returns the group of each of the rows [low, high)."""
    name = self._schema.group
    return self._source.read(low, high, [name])[name]

  def read(
      self,
      ranges: Sequence[tuple[int, int]],
      among: np.ndarray | None = None,
  ) -> list[np.ndarray]:
    """Reads n rows.

    Args:
      ranges: The rows, [low, high) of each range.
      among: Which of them, counted from the first one of the first range,
        ascending; None: all.

    Returns:
      [slots, weights, floats, groups, *labels]: int32 [n, S] rows of the table,
      float32 [n, W], float32 [n, N], int [n] each row's group or 0 where there
      are none, and float32 [n] for each of `label_names`.

    Raises:
      InputError: A value is not as the schema says; names row and field.
    """
    schema = self._schema
    some = _divided(ranges, among)
    pieces = [self._piece(r, at) for r, at in zip(ranges, some)]
    columns = {n: concatenate([p[n] for p in pieces]) for n in self._names}
    num = len(columns[schema.labels[0]])
    part = schema.row_part
    slots, weights = slots_and_weights(schema, part, columns, num)
    groups = np.zeros(num, np.int32)
    if self._has_groups:
      groups = columns[schema.group]
    if self.groups is not None:
      check_index(groups, len(self.groups.slots), str(self._source))
    floats = np.empty((num, len(schema.float_fields)), np.float32)
    for j, f in enumerate(schema.float_fields):
      floats[:, j] = columns[f.name]
    labels = [columns[n] for n in self._labels]
    if self._truth_labels:
      truth = [self._truth.read(a, b, self._truth_labels) for a, b in ranges]
      truth = [
          t if at is None else take_rows(t, at) for t, at in zip(truth, some)
      ]
      labels += [concatenate([t[n] for t in truth]) for n in self._truth_labels]
    for column in self._more.values():
      more = [column[a:b] for a, b in ranges]
      more = [m if at is None else m[at] for m, at in zip(more, some)]
      labels.append(concatenate(more))
    labels = [label.astype(np.float32) for label in labels]
    return [slots, weights, floats, groups, *labels]

  def _piece(
      self, rows: tuple[int, int], at: np.ndarray | None
  ) -> Columns:
    """Reads and checks a range of rows, or some of it."""
    low, high = rows
    piece = whole = self._source.read(low, high, self._names)
    if at is not None:
      piece = take_rows(whole, at)
    try:
      check_columns(self._schema, piece, str(self._source), low)
    except InputError:
      # Names the number of the row in the file.
      check_columns(self._schema, whole, str(self._source), low)
      raise
    return piece


def _divided(
    ranges: Sequence[tuple[int, int]], among: np.ndarray | None
) -> list[np.ndarray | None]:
  """Returns for each range which of its rows are read, from its first one."""
  if among is None:
    return [None] * len(ranges)
  ends = np.cumsum([0] + [high - low for low, high in ranges])
  cuts = np.searchsorted(among, ends)
  return [
      among[a:b] - begin for a, b, begin in zip(cuts, cuts[1:], ends)
  ]

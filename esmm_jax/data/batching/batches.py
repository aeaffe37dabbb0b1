"""Batches as a pure function of (seed, step).

Nothing depends on what was read before, so training resumes at any step without
replaying the steps before it (`EpochOrder`).

Every batch has the same shapes: the last one of an epoch is padded, and `where`
marks the real examples. The embedding rows that a batch touches are made unique
here, on the host (`Compacter`).
"""

from collections.abc import Iterator, Mapping, Sequence

from esmm_jax.data.batching.compacting import Compacter, grown
from esmm_jax.data.batching.order import EpochOrder
from esmm_jax.data.batching.reading import RowReader
from esmm_jax.data.batching.windows import Windows
from esmm_jax.data.store.source import ColumnarSource
from esmm_jax.schema import Schema
from esmm_jax.types import Batch, Groups, InputError
import numpy as np

_MEASURED_BATCHES = 4
_ROUND_TO = 1024
_ROUND_GROUPS_TO = 64


class Batches:
  """The batches of a split.

  Attributes:
    schema: The columns that it reads.
    batch_size: Examples of a batch.
    steps_per_epoch: Batches in one pass, the padded last one included.
    num_rows: Rows of the split.
    capacity: U, the touched rows that a batch has room for; 0 where batches
      are not compacted.
    group_capacity: G, the groups that a batch has room for; 0 without groups.
    groups: The group table, or None.
    label_names: Labels, those of the truth and further ones among them.
  """

  def __init__(
      self,
      source: ColumnarSource,
      schema: Schema,
      batch_size: int,
      *,
      seed: int = 0,
      shuffle: bool = True,
      group_run: int = 1,
      compacted: bool = True,
      truth: ColumnarSource | None = None,
      truth_labels: Sequence[str] = (),
      more_labels: Mapping[str, np.ndarray] | None = None,
  ):
    """Lays out the batches; reads a few to measure how many rows they touch.

    Args:
      source: Features and labels.
      schema: The columns to read; may be a part of those of the source.
      batch_size: Examples of a batch.
      seed: Of the order; epochs differ by themselves.
      shuffle: False keeps the order of the file.
      group_run: So many consecutive rows of one group stay together when rows
        are shuffled. 1 shuffles row by row. Longer runs make the work for a
        group's own fields less, and batches less mixed.
      compacted: Whether `rows` are the unique rows of the batch. False leaves
        `rows` empty and gives table rows as slots, for prediction.
      truth: Truth columns of the same rows.
      truth_labels: Truth columns to add to the labels, for estimators that
        need them (the bound trained on conversions no log would hold).
      more_labels: Columns that are no part of the data, float32 [number of
        rows] each, in file order, to add to the labels: predictions of another
        run.

    Raises:
      InputError: batch_size is not positive, or truth_labels are asked of a
        data set that has no truth.
    """
    _check_sizes(schema, batch_size, group_run)
    self.schema, self.batch_size = schema, batch_size
    self._reader = RowReader(
        source, schema, group_run > 1, truth, truth_labels, more_labels or {}
    )
    self.label_names = self._reader.label_names
    self.groups = self._reader.groups
    self.num_rows = len(source)
    self.steps_per_epoch = -(-self.num_rows // batch_size)
    self._order = EpochOrder(self.num_rows, seed, shuffle, group_run)
    self.windows = Windows(self._reader, self._order, group_run)
    self.capacity = self.group_capacity = 0
    self._compacter = None
    # Measured now rather than at the first step: damaged data is refused before
    # anything is compiled. Every process measures whole batches, so all of them
    # get the same shapes without a message.
    if self.groups is not None:
      self.group_capacity = self._measure_groups()
    if compacted:
      self.capacity = self._measure_capacity()
      self._compacter = Compacter(schema.num_rows)

  def __len__(self) -> int:
    return self.steps_per_epoch

  def __call__(self, step: int) -> Batch:
    """Returns batch `step`, counted over all epochs."""
    epoch, start, stop = self.span(step)
    batch, group = self.labelled(self.windows.examples(epoch, start, stop))
    groups = self.gathered(group)
    rows, slots = batch.rows, batch.slots
    if self._compacter:
      rows, slots, groups = self._compact(slots, groups)
    batch = batch._replace(rows=rows, slots=slots, groups=groups)
    return padded(batch, self.batch_size)

  def span(self, step: int) -> tuple[int, int, int]:
    """Returns the epoch of a batch, and its examples [start, stop) there."""
    epoch, k = divmod(step, self.steps_per_epoch)
    start = k * self.batch_size
    return epoch, start, min(start + self.batch_size, self.num_rows)

  def alone(self, step: int) -> Batch:
    """Reads a batch by itself, not compacted, and none of the other rows."""
    epoch, start, stop = self.span(step)
    windows = self.windows.some(lambda n: (n >= start) & (n < stop))
    batch, group = self.labelled(windows.examples(epoch, start, stop))
    return batch._replace(groups=self.gathered(group))

  def labelled(self, columns: list[np.ndarray]) -> tuple[Batch, np.ndarray]:
    """Makes examples of columns that `windows` gave.

    Returns:
      A batch without padding, rows and groups, whose slots are rows of the
      table; the group of each example, [n].
    """
    slots, weights, floats, group, *labels = columns
    labels = dict(zip(self.label_names, labels))
    where, rows = np.ones(len(slots), np.float32), np.zeros(0, np.int32)
    return Batch(rows, slots, weights, floats, labels, where), group

  def iterate(self, start: int, stop: int) -> Iterator[Batch]:
    """Yields the batches of steps [start, stop)."""
    return (self(step) for step in range(start, stop))

  def order(self, epoch: int) -> np.ndarray:
    """Returns the rows of an epoch in their order, as numbers in the file.

    Args:
      epoch: Counted from 0.

    Returns:
      int64 [num_rows]. Row `order(epoch)[k]` is example k of the epoch: example
      k % batch_size of its batch k // batch_size.
    """
    layout = self._order.layout(epoch)
    pieces = []
    for window in range(len(layout.ends) - 1):
      ranges = self._order.ranges(layout.window_blocks(window))
      rows = np.concatenate([np.arange(*r) for r in ranges])
      groups = self.windows.groups(ranges)
      pieces.append(rows[self._order.mix(epoch, window, groups)])
    return np.concatenate(pieces)

  def pieces(self) -> Iterator[list[np.ndarray]]:
    """Yields all rows in file order, a window's worth at a time.

    The pieces are those of `RowReader.read`.
    """
    return map(self._reader.read, self._order.file_windows())

  def most_rows(self, num_groups: int, size: int | None = None) -> int:
    """Returns a bound on the table rows touched by a batch of that many groups.

    A table is touched at most once for each slot, and for each of its rows.

    Args:
      num_groups: G.
      size: Examples; None: `batch_size`.
    """
    slots, sizes = {}, {}
    size = self.batch_size if size is None else size
    for f in self.schema.inputs:
      num = min(size, num_groups) if f.by_group else size
      slots[f.table] = slots.get(f.table, 0) + num * f.max_len
      sizes[f.table] = f.vocab_size
    return sum(min(n, sizes[t]) for t, n in slots.items())

  def gathered(
      self, group: np.ndarray, others: np.ndarray | None = None
  ) -> Groups | None:
    """Gathers groups, each once.

    Args:
      group: The group of each example.
      others: The groups that are gathered; None: those.
    """
    if self.groups is None:
      return None
    unique = np.unique(group if others is None else others)
    index = np.searchsorted(unique, group)
    # Like table rows, groups get the next of a few sizes when they outgrow the
    # measured one.
    capacity = grown(self.group_capacity, len(unique))
    padded = np.full(capacity, unique[0])
    padded[: len(unique)] = unique
    return Groups(
        self.groups.slots.take(padded, axis=0),
        self.groups.weights.take(padded, axis=0).astype(np.float32),
        index.astype(np.int32),
    )

  def _compact(
      self, slots: np.ndarray, groups: Groups | None
  ) -> tuple[np.ndarray, np.ndarray, Groups | None]:
    """Makes the table rows of examples and groups unique, together."""
    if groups is None:
      return *self._compacter(slots, self.capacity), None
    flat = np.concatenate([slots.reshape(-1), groups.slots.reshape(-1)])
    rows, flat = self._compacter(flat, self.capacity)
    of_rows, shared = np.split(flat, [slots.size])
    groups = groups._replace(slots=shared.reshape(groups.slots.shape))
    return rows, of_rows.reshape(slots.shape), groups

  def _measure_capacity(self) -> int:
    """Returns room for the touched rows: 15 % over the most of a few batches.

    A batch that needs more gets the next size (`Compacter`), at the price of
    one more compilation; the size a batch gets depends on the batch alone.
    """
    most = 0
    for slots, _, _, group, *_ in self._measured_batches():
      ids = [slots.reshape(-1)]
      if self.groups is not None:
        ids.append(self.groups.slots[np.unique(group)].reshape(-1))
      most = max(most, len(np.unique(np.concatenate(ids))))
    room = -(-int(1.15 * most) // _ROUND_TO) * _ROUND_TO
    num_groups = 0 if self.groups is None else len(self.groups.slots)
    return max(min(room, self.most_rows(num_groups)), 1)

  def _measure_groups(self) -> int:
    """Returns room for the groups, in the same way."""
    most = max(len(np.unique(r[3])) for r in self._measured_batches())
    room = -(-int(1.15 * most) // _ROUND_GROUPS_TO) * _ROUND_GROUPS_TO
    return max(min(room, self.batch_size, len(self.groups.slots)), 1)

  def _measured_batches(self) -> Iterator[list[np.ndarray]]:
    """Yields the rows of a few batches."""
    for k in range(min(_MEASURED_BATCHES, self.steps_per_epoch)):
      yield self.windows.examples(*self.span(k))


def padded(batch: Batch, size: int) -> Batch:
  """Pads a batch to `size` examples.

  Padding repeats the last example, so that no other table row is touched.
  """
  pad = size - len(batch.where)
  if not pad:
    return batch
  repeated = lambda x: np.concatenate([x, np.repeat(x[-1:], pad, 0)])
  zeros = lambda x: np.concatenate(
      [x, np.zeros((pad, *x.shape[1:]), np.float32)]
  )
  groups = batch.groups
  if groups is not None:
    groups = groups._replace(segment_ids=repeated(groups.segment_ids))
  return Batch(
      batch.rows,
      repeated(batch.slots),
      zeros(batch.weights),
      zeros(batch.floats),
      {name: zeros(label) for name, label in batch.labels.items()},
      zeros(batch.where),
      groups,
  )


def _check_sizes(schema: Schema, batch_size: int, group_run: int) -> None:
  if batch_size < 1:
    raise InputError(f'batch_size is {batch_size}; it must be positive.')
  if group_run < 1 or (group_run > 1 and not schema.group):
    raise InputError(
        f'group_run is {group_run}; it must be at least 1, and 1 where the'
        ' data set has no group column.'
    )

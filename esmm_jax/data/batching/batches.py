"""Batches as a pure function of (seed, step, host).

An epoch is one pass over the rows in block-shuffled order: blocks of `BLOCK`
consecutive rows in random order, `WINDOW` blocks at a time mixed row by row.
A data set of up to BLOCK * WINDOW rows is thereby shuffled completely, and a
larger one is read from disk in long runs. Nothing depends on what was read
before, so training goes on at any step without replaying a thing.

Every batch has the same shapes: the last one of an epoch is padded, `where`
says which examples are real. The embedding rows that a batch touches are made
unique here, on the host (`Compacter`).
"""

from collections.abc import Callable, Iterator, Sequence
import queue
import threading
from typing import Any

from esmm_jax.data.batching.arranging import grown, permutation
from esmm_jax.data.batching.compacting import Compacter
from esmm_jax.data.batching.padding import GroupTable, slots_and_weights
from esmm_jax.data.batching.padding import table_offsets
from esmm_jax.data.store.checks import check_columns, check_index
from esmm_jax.data.store.columnar import ColumnarSource
from esmm_jax.data.store.columns import concatenate
from esmm_jax.schema import Schema
from esmm_jax.types import Batch, Groups, InputError
import numpy as np

BLOCK = 4096
WINDOW = 64
_MEASURED_BATCHES = 4
_ROUND_TO = 1024
_ROUND_GROUPS_TO = 64


class Batches:
  """The batches of a split.

  Attributes:
    batch_size: Examples of a batch over all hosts.
    steps_per_epoch: Batches in one pass, the padded last one included.
    num_rows: Rows of the split.
    capacity: U, the touched rows that a batch has room for; 0 where batches
      are not compacted.
    group_capacity: G, the groups that a batch has room for; 0 without groups.
    groups: The group table, or None.
    label_names: Labels, those of the truth among them.
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
      host: int = 0,
      num_hosts: int = 1,
  ):
    """Lays out the batches; reads a few to measure how many rows they touch.

    Args:
      source: Features and labels.
      schema: Which columns to read; may be a part of what the source holds.
      batch_size: Examples of a batch over all hosts, divisible by them.
      seed: Of the order; epochs differ by themselves.
      shuffle: False keeps the order of the file.
      group_run: So many rows of one group that stand together in the file stay
        together when rows are shuffled. 1 shuffles row by row. Longer runs make
        the work for a group's own fields less, and batches less mixed.
      compacted: Whether `rows` are the unique rows of the batch. False leaves
        `rows` empty and gives table rows as slots, for prediction.
      truth: Truth columns of the same rows.
      truth_labels: Truth columns to add to the labels, for the estimators that
        say so (the bound that trains on conversions no log would hold).
      host: This host's number.
      num_hosts: Hosts that share each batch.

    Raises:
      InputError: batch_size is not positive or not divisible by num_hosts, or
        truth_labels are asked of a data set that has no truth.
    """
    if batch_size < 1 or batch_size % num_hosts:
      raise InputError(
          f'batch_size is {batch_size}; it must be positive and divisible by'
          f' the {num_hosts} hosts.'
      )
    if group_run < 1 or (group_run > 1 and not schema.group):
      raise InputError(
          f'group_run is {group_run}; it must be at least 1, and 1 where the'
          ' data set has no group column.'
      )
    if truth_labels and truth is None:
      raise InputError(
          f'Labels {list(truth_labels)} exist only where the truth is known;'
          ' use dataset synthetic_funnel, or another estimator.'
      )
    self._source, self._schema, self._truth = source, schema, truth
    self._truth_labels = tuple(truth_labels)
    self.label_names = schema.labels + self._truth_labels
    self.batch_size, self._host, self._num_hosts = batch_size, host, num_hosts
    self._seed, self._shuffle = seed, shuffle
    self._group_run = group_run
    self._part = schema.row_part
    self._offsets = table_offsets(schema, self._part)
    self.groups = None
    if schema.group_part.num_slots:
      self.groups = GroupTable(schema, source.groups, str(source))
    self.num_rows = len(source)
    self.steps_per_epoch = -(-self.num_rows // batch_size)
    self._blocks = -(-self.num_rows // BLOCK)
    self._windows = {}
    self._layout = (-1, None, None)
    self.capacity = self.group_capacity = 0
    self._compacted = compacted
    if self.groups is not None:
      self.group_capacity = self._measure_groups()
    if compacted:
      self.capacity = self._measure_capacity()
      self._compacter = Compacter(schema.num_rows, self.capacity)

  def __len__(self) -> int:
    return self.steps_per_epoch

  def __call__(self, step: int) -> Batch:
    """Batch number `step`, counted over all epochs."""
    epoch, k = divmod(step, self.steps_per_epoch)
    local = self.batch_size // self._num_hosts
    start = min(k * self.batch_size + self._host * local, self.num_rows)
    stop = min(start + local, self.num_rows)
    slots, weights, floats, of, labels = self._rows(epoch, start, stop)
    pad = local - len(slots)
    if pad:  # Repeats a row, so that no other table row is touched.
      slots = np.concatenate([slots, np.repeat(self._filler(slots), pad, 0)])
      weights, floats = _pad(weights, pad), _pad(floats, pad)
      of = np.concatenate([of, np.repeat(of[-1:] if len(of) else 0, pad)])
      labels = {name: _pad(label, pad) for name, label in labels.items()}
    where = np.zeros(local, np.float32)
    where[: local - pad] = 1
    groups = self._gather_groups(of)
    rows = np.zeros(0, np.int32)
    if self._compacted and groups is None:
      rows, slots = self._compacter(slots)
    elif self._compacted:
      flat = np.concatenate([slots.reshape(-1), groups.slots.reshape(-1)])
      rows, flat = self._compacter(flat)
      cut = slots.size
      slots = flat[:cut].reshape(slots.shape)
      groups = groups._replace(slots=flat[cut:].reshape(groups.slots.shape))
    return Batch(rows, slots, weights, floats, labels, where, groups)

  def iterate(self, start: int, stop: int) -> Iterator[Batch]:
    """Batches of steps [start, stop)."""
    return (self(step) for step in range(start, stop))

  def order(self, epoch: int) -> np.ndarray:
    """The rows of an epoch, as numbers in the file, in the order they come.

    Args:
      epoch: Counted from 0.

    Returns:
      int64 [num_rows]. Row `order(epoch)[k]` is the example at place k of the
      epoch: example k % batch_size of its batch k // batch_size.
    """
    blocks, ends = self._block_order(epoch)
    pieces = []
    for window in range(len(ends) - 1):
      ranges = self._ranges(blocks[window * WINDOW : (window + 1) * WINDOW])
      rows = of = np.concatenate([np.arange(*r) for r in ranges])
      if self._group_run > 1:
        name = self._schema.group
        of = concatenate([self._source.read(*r, [name])[name] for r in ranges])
      pieces.append(rows[self._mixed(epoch, window, of)])
    return np.concatenate(pieces)

  def pieces(self) -> Iterator[list[np.ndarray]]:
    """All rows in file order, a window's worth at a time.

    Returns:
      Pieces [slots, weights, floats, of, *labels] of n rows: int32 [n, S] rows
      of the table, float32 [n, W], float32 [n, N], int [n] the row's group or
      0 where there are none, and float32 [n] for each of `label_names`.
    """
    for low in range(0, self._blocks, WINDOW):
      yield self._read(np.arange(low, min(low + WINDOW, self._blocks)))

  def most_rows(self, num_groups: int) -> int:
    """The most table rows that a batch of that many groups can touch."""
    slots, sizes = {}, {}
    local = self.batch_size // self._num_hosts
    for f in self._schema.inputs:
      num = min(local, num_groups) if f.by_group else local
      slots[f.table] = slots.get(f.table, 0) + num * f.max_len
      sizes[f.table] = f.vocab_size
    return sum(min(n, sizes[t]) for t, n in slots.items())

  def _filler(self, slots: np.ndarray) -> np.ndarray:
    return slots[-1:] if len(slots) else self._offsets[None]

  def _gather_groups(self, of: np.ndarray) -> Groups | None:
    """The groups of some examples, each once; room grows as `Compacter`'s."""
    if self.groups is None:
      return None
    unique, place = np.unique(of, return_inverse=True)
    capacity = grown(self.group_capacity, len(unique))
    padded = np.full(capacity, unique[0])
    padded[: len(unique)] = unique
    return Groups(
        self.groups.slots.take(padded, axis=0),
        self.groups.weights.take(padded, axis=0).astype(np.float32),
        place.astype(np.int32),
    )

  def _rows(self, epoch: int, start: int, stop: int):
    """Examples [start, stop) of the epoch's order."""
    blocks, ends = self._block_order(epoch)
    pieces = []
    window = int(np.searchsorted(ends, start, side='right')) - 1
    window = min(window, len(ends) - 2)  # No rows are left for this host.
    while True:
      low = start - ends[window]
      high = min(stop, ends[window + 1]) - ends[window]
      columns = self._window(epoch, window, blocks)
      pieces.append([c[low:high] for c in columns])
      if stop <= ends[window + 1]:
        break
      start, window = ends[window + 1], window + 1
    slots, weights, floats, of, *labels = map(
        concatenate, map(list, zip(*pieces))
    )
    return slots, weights, floats, of, dict(zip(self.label_names, labels))

  def _block_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    """The epoch's order of blocks, and where each window starts and ends."""
    if self._layout[0] != epoch:
      blocks = np.arange(self._blocks)
      if self._shuffle:
        np.random.default_rng([self._seed, epoch]).shuffle(blocks)
      sizes = np.full(self._blocks, BLOCK)
      sizes[-1] = self.num_rows - (self._blocks - 1) * BLOCK
      ends = np.cumsum(np.concatenate([[0], sizes[blocks]]))
      ends = np.append(ends[:-1:WINDOW], ends[-1])
      self._layout = (epoch, blocks, ends)
    return self._layout[1:]

  def _window(self, epoch: int, window: int, blocks: np.ndarray):
    """The mixed rows of a window; the last two are kept."""
    if (epoch, window) not in self._windows:
      columns = self._read(blocks[window * WINDOW : (window + 1) * WINDOW])
      mixed = self._mixed(epoch, window, columns[3])
      columns = [c[mixed] for c in columns]
      while len(self._windows) > 1:
        self._windows.pop(next(iter(self._windows)))
      self._windows[epoch, window] = columns
    return self._windows[epoch, window]

  def _mixed(
      self, epoch: int, window: int, of: np.ndarray
  ) -> np.ndarray | slice:
    """How the rows of a window are mixed: an index of them.

    Args:
      epoch: The pass.
      window: Its window.
      of: [n], the group of each row as read; only its length counts where
        `group_run` is 1.
    """
    if not self._shuffle:
      return slice(None)
    rng = np.random.default_rng([self._seed, epoch, window + 1])
    return permutation(rng, of, self._group_run)

  def _read(self, blocks: np.ndarray) -> list[np.ndarray]:
    """Blocks of rows as [slots, weights, floats, of, *labels], checked."""
    schema = self._schema
    names = [f.name for f in schema.fields if not f.by_group]
    names += [f'{f.name}.weight' for f in self._part.pooled_fields
              if f.kind == 'id']
    names += schema.labels
    grouped = self.groups is not None or self._group_run > 1
    if grouped:
      names.append(schema.group)
    ranges = self._ranges(blocks)
    pieces = []
    for low, high in ranges:
      piece = self._source.read(low, high, names)
      check_columns(schema, piece, str(self._source), low)
      pieces.append(piece)
    columns = {n: concatenate([p[n] for p in pieces]) for n in names}
    num = len(columns[schema.labels[0]])
    slots, weights = slots_and_weights(schema, self._part, columns, num)
    of = columns[schema.group] if grouped else np.zeros(num, np.int32)
    if self.groups is not None:
      check_index(of, len(self.groups.slots), str(self._source))
    floats = np.empty((num, len(schema.float_fields)), np.float32)
    for j, f in enumerate(schema.float_fields):
      floats[:, j] = columns[f.name]
    labels = [columns[n].astype(np.float32) for n in schema.labels]
    if self._truth_labels:
      truth = [self._truth.read(a, b, self._truth_labels) for a, b in ranges]
      for n in self._truth_labels:
        column = concatenate([t[n] for t in truth])
        labels.append(column.astype(np.float32))
    return [slots, weights, floats, of, *labels]

  def _ranges(self, blocks: np.ndarray) -> list[tuple[int, int]]:
    """The rows [low, high) of blocks, those that follow each other joined."""
    runs = np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1)
    return [
        (int(r[0]) * BLOCK, min(int(r[-1] + 1) * BLOCK, self.num_rows))
        for r in runs
    ]

  def _measure_capacity(self) -> int:
    """Room for the touched rows: 15 % over the most of a few batches.

    A batch that needs more gets the next size (`Compacter`), at the price of
    one more compilation; the size a batch gets depends on the batch alone.
    """
    most = 0
    for rows in self._some_rows():
      ids = [rows[0].reshape(-1)]
      if self.groups is not None:
        ids.append(self.groups.slots[np.unique(rows[3])].reshape(-1))
      most = max(most, len(np.unique(np.concatenate(ids))))
    room = -(-int(1.15 * most) // _ROUND_TO) * _ROUND_TO
    num_groups = 0 if self.groups is None else len(self.groups.slots)
    return max(min(room, self.most_rows(num_groups)), 1)

  def _measure_groups(self) -> int:
    """Room for the groups, in the same way."""
    local = self.batch_size // self._num_hosts
    most = max(len(np.unique(rows[3])) for rows in self._some_rows())
    room = -(-int(1.15 * most) // _ROUND_GROUPS_TO) * _ROUND_GROUPS_TO
    return max(min(room, local, len(self.groups.slots)), 1)

  def _some_rows(self) -> Iterator[tuple[Any, ...]]:
    """The rows of a few batches."""
    for k in range(min(_MEASURED_BATCHES, self.steps_per_epoch)):
      start = k * self.batch_size
      stop = min(start + self.batch_size, self.num_rows)
      yield self._rows(0, start, stop)


def prefetch(
    items: Iterator[Any], transform: Callable[[Any], Any], size: int = 2
) -> Iterator[Any]:
  """Runs `items` and `transform` ahead in a thread.

  The thread ends when the iterator is closed or its items do; an exception in
  it is raised at the place where its item would have come.
  """
  ready = queue.Queue(maxsize=size)
  closed = threading.Event()
  end = object()

  def put(item) -> bool:
    while not closed.is_set():
      try:
        ready.put(item, timeout=0.1)
        return True
      except queue.Full:
        continue
    return False

  def work():
    try:
      for item in items:
        if not put((transform(item), None)):
          return
      put((end, None))
    except BaseException as e:  # pylint: disable=broad-except
      put((end, e))

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      item, error = ready.get()
      if error is not None:
        raise error
      if item is end:
        return
      yield item
  finally:
    closed.set()
    thread.join()


def _pad(column: np.ndarray, pad: int) -> np.ndarray:
  rest = np.zeros((pad, *column.shape[1:]), np.float32)
  return np.concatenate([column, rest])

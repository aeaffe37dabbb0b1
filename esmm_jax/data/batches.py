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

from esmm_jax.data.checks import check_columns
from esmm_jax.data.columnar import ColumnarSource, concatenate
from esmm_jax.schema import Schema
from esmm_jax.types import Batch, InputError, Ragged
import numpy as np

BLOCK = 4096
WINDOW = 64
_MEASURED_BATCHES = 4
_ROUND_TO = 1024


class Batches:
  """The batches of a split.

  Attributes:
    steps_per_epoch: Batches in one pass, the padded last one included.
    num_rows: Rows of the split.
    capacity: U, the touched rows that a batch has room for; 0 where batches
      are not compacted.
  """

  def __init__(
      self,
      source: ColumnarSource,
      schema: Schema,
      batch_size: int,
      *,
      seed: int = 0,
      shuffle: bool = True,
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
    if truth_labels and truth is None:
      raise InputError(
          f'Labels {list(truth_labels)} exist only where the truth is known;'
          ' use dataset synthetic_funnel, or another estimator.'
      )
    self._source, self._schema, self._truth = source, schema, truth
    self._truth_labels = tuple(truth_labels)
    self._batch_size, self._host, self._num_hosts = batch_size, host, num_hosts
    self._seed, self._shuffle = seed, shuffle
    self._offsets = np.concatenate(
        [
            np.full(f.max_len, schema.offsets[f.table], np.int32)
            for f in schema.id_fields + schema.list_fields
        ]
        or [np.zeros(0, np.int32)]
    )
    self.num_rows = len(source)
    self.steps_per_epoch = -(-self.num_rows // batch_size)
    self._blocks = -(-self.num_rows // BLOCK)
    self._windows = {}
    self._layout = (-1, None, None)
    self.capacity = 0
    self._compacted = compacted
    if compacted:
      self.capacity = self._measure_capacity()
      self._compacter = Compacter(schema.num_rows, self.capacity)

  def __len__(self) -> int:
    return self.steps_per_epoch

  def __call__(self, step: int) -> Batch:
    """Batch number `step`, counted over all epochs."""
    epoch, k = divmod(step, self.steps_per_epoch)
    local = self._batch_size // self._num_hosts
    start = min(k * self._batch_size + self._host * local, self.num_rows)
    stop = min(start + local, self.num_rows)
    slots, weights, floats, labels = self._rows(epoch, start, stop)
    pad = local - len(slots)
    if pad:  # Repeats a row, so that no other table row is touched.
      slots = np.concatenate([slots, np.repeat(self._filler(slots), pad, 0)])
      weights, floats = _pad(weights, pad), _pad(floats, pad)
      labels = {name: _pad(label, pad) for name, label in labels.items()}
    where = np.zeros(local, np.float32)
    where[: local - pad] = 1
    rows = np.zeros(0, np.int32)
    if self._compacted:
      rows, slots = self._compacter(slots)
    return Batch(rows, slots, weights, floats, labels, where)

  def iterate(self, start: int, stop: int) -> Iterator[Batch]:
    """Batches of steps [start, stop)."""
    return (self(step) for step in range(start, stop))

  def _filler(self, slots: np.ndarray) -> np.ndarray:
    return slots[-1:] if len(slots) else self._offsets[None]

  def _rows(self, epoch: int, start: int, stop: int):
    """Examples [start, stop) of the epoch's order."""
    blocks, ends = self._order(epoch)
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
    slots, weights, floats, *labels = map(
        concatenate, map(list, zip(*pieces))
    )
    names = self._schema.labels + self._truth_labels
    return slots, weights, floats, dict(zip(names, labels))

  def _order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
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
      mine = blocks[window * WINDOW : (window + 1) * WINDOW]
      columns = self._read(mine)
      if self._shuffle:
        rng = np.random.default_rng([self._seed, epoch, window + 1])
        order = rng.permutation(len(columns[0]))
        columns = [c[order] for c in columns]
      while len(self._windows) > 1:
        self._windows.pop(next(iter(self._windows)))
      self._windows[epoch, window] = columns
    return self._windows[epoch, window]

  def _read(self, blocks: np.ndarray) -> list[np.ndarray]:
    """Blocks of rows as [slots, weights, floats, *labels], checked."""
    schema = self._schema
    names = [f.name for f in schema.fields] + list(schema.labels)
    runs = np.split(blocks, np.flatnonzero(np.diff(blocks) != 1) + 1)
    ranges = [(r[0] * BLOCK, (r[-1] + 1) * BLOCK) for r in runs]
    pieces = []
    for low, high in ranges:
      piece = self._source.read(low, high, names)
      check_columns(schema, piece, str(self._source), low)
      pieces.append(piece)
    columns = {n: concatenate([p[n] for p in pieces]) for n in names}
    num = len(columns[schema.labels[0]])
    slots = np.empty((num, schema.num_slots), np.int32)
    for f in schema.id_fields:
      slots[:, schema.slot_columns[f.name].start] = columns[f.name]
    weights = [np.zeros((num, 0), np.float32)]
    for f in schema.list_fields:
      ids, weight = pad_lists(columns[f.name], f.max_len)
      slots[:, schema.slot_columns[f.name]] = ids
      weights.append(weight)
    slots += self._offsets
    floats = np.empty((num, len(schema.float_fields)), np.float32)
    for j, f in enumerate(schema.float_fields):
      floats[:, j] = columns[f.name]
    labels = [columns[n].astype(np.float32) for n in schema.labels]
    if self._truth_labels:
      truth = [self._truth.read(a, b, self._truth_labels) for a, b in ranges]
      for n in self._truth_labels:
        column = concatenate([t[n] for t in truth])
        labels.append(column.astype(np.float32))
    return [slots, np.concatenate(weights, axis=1), floats, *labels]

  def _measure_capacity(self) -> int:
    """Room for the touched rows: 15 % over the most of a few batches.

    A batch that needs more gets the next size (`Compacter`), at the price of
    one more compilation; the size a batch gets depends on the batch alone.
    """
    slots, sizes = {}, {}
    for f in self._schema.id_fields + self._schema.list_fields:
      slots[f.table] = slots.get(f.table, 0) + f.max_len
      sizes[f.table] = f.vocab_size
    local = self._batch_size // self._num_hosts
    bound = sum(min(local * n, sizes[t]) for t, n in slots.items())
    most = 0
    blocks, ends = self._order(0)
    del blocks
    for k in range(min(_MEASURED_BATCHES, self.steps_per_epoch)):
      start = k * self._batch_size
      stop = min(start + self._batch_size, int(ends[-1]))
      most = max(most, len(np.unique(self._rows(0, start, stop)[0])))
    room = -(-int(1.15 * most) // _ROUND_TO) * _ROUND_TO
    return max(min(room, bound), 1)


class Compacter:
  """Finds the unique ids of a batch, and each id's place among them.

  Sorts only what is unique, where `np.unique` sorts every id with its place.
  Costs 4 bytes for each table row.
  """

  def __init__(self, num_rows: int, capacity: int):
    """For ids below `num_rows`; results are at least `capacity` long."""
    self._num_rows, self._capacity = num_rows, capacity
    self._place = np.zeros(num_rows, np.int32)

  def __call__(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compacts ids, int32 of any shape.

    Returns:
      rows int32 [capacity], ascending and unique, and slots int32 with the
      shape of ids: rows[slots] == ids. Padding has ids from num_rows on. Where
      more ids are unique, rows is half as long again, and again.
    """
    place, flat = self._place, ids.reshape(-1)
    order = np.arange(flat.size, dtype=np.int32)
    place[flat] = order  # Of equal ids one stays.
    rows = np.sort(flat[place[flat] == order])
    place[rows] = order[: rows.size]
    slots = place[flat].reshape(ids.shape)
    capacity = self._capacity
    while rows.size > capacity:
      capacity += capacity // 2 + 1
    pad = np.arange(capacity - rows.size, dtype=np.int32) + self._num_rows
    return np.concatenate([rows, pad]), slots


def pad_lists(
    lists: Ragged, max_len: int
) -> tuple[np.ndarray, np.ndarray]:
  """The first `max_len` entries of each list, padded.

  Returns:
    ids int32 [n, max_len], 0 where padded, and weights float32 [n, max_len],
    0 where padded and otherwise the entry's weight (1 for lists without).
  """
  starts = np.asarray(lists.offsets[:-1])
  lengths = np.diff(lists.offsets)
  mask = np.arange(max_len) < lengths[:, None]
  ids = np.zeros(mask.shape, np.int32)
  weights = np.zeros(mask.shape, np.float32)
  places = (starts[:, None] + np.arange(max_len))[mask]
  ids[mask] = lists.values[places]
  weights[mask] = 1 if lists.weights is None else lists.weights[places]
  return ids, weights


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

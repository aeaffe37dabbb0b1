"""Batches of which each of several processes reads its part.

A process reads its examples of a batch and makes their table rows unique, by
itself. What the others have to know is the list of these rows, and of the
groups: its message. From all messages each process makes the same list of the
rows that the batch touches, which is that of the whole batch (`Batches`), to
the number; so training is the same too.
"""

from collections.abc import Iterator
from typing import NamedTuple

from esmm_jax.data.batching.batches import Batches, padded
from esmm_jax.data.batching.compacting import Compacter
from esmm_jax.types import Batch, InputError
import numpy as np

# Fills messages up: they are all of one length.
_NOTHING = -1


class Part(NamedTuple):
  """A process's part of a batch.

  Attributes:
    examples: Not padded; `rows` are the table rows that these touch by fields
      of their own, ascending, and `groups` is None.
    group: int [n], the group of each example.
    message: int32 [num_ids + num_groups], what others have to know: these rows
      and the groups, each once, filled up with -1.
  """

  examples: Batch
  group: np.ndarray
  message: np.ndarray


class SharedBatches:
  """A process's parts of the batches of a split.

  Attributes:
    num_ids: Room for rows in a message; enough for any part.
    num_groups: Room for groups there.
  """

  def __init__(self, batches: Batches, process: int, num_processes: int):
    """Reads nothing yet.

    Args:
      batches: The whole batches, compacted.
      process: The number of this process, of those that share each batch.
      num_processes: How many do; consecutive examples are of one.

    Raises:
      InputError: They cannot share a batch evenly.
    """
    size = batches.batch_size
    if size % num_processes:
      raise InputError(
          f'batch_size is {size}; it must be divisible by the'
          f' {num_processes} processes that share a batch.'
      )
    self._batches, self._process = batches, process
    self._size = part = size // num_processes
    self._windows = batches.windows.some(
        lambda number: number % size // part == process
    )
    num_groups = 0 if batches.groups is None else len(batches.groups.slots)
    self.num_groups = min(part, num_groups)
    self.num_ids = batches.most_rows(0, part)
    # Parts are made in a thread that works ahead of the one that joins them.
    self._of_part = Compacter(batches.schema.num_rows)
    self._of_batch = Compacter(batches.schema.num_rows)

  def iterate(self, start: int, stop: int) -> Iterator[Part]:
    """Yields this process's parts of batches [start, stop)."""
    return (self.part(step) for step in range(start, stop))

  def part(self, step: int) -> Part:
    """Reads this process's part of batch `step`; it may have no example."""
    epoch, begin, end = self._batches.span(step)
    first = min(begin + self._process * self._size, end)
    last = min(first + self._size, end)
    columns = self._windows.examples(epoch, first, last)
    examples, group = self._batches.labelled(columns)
    message = np.full(self.num_ids + self.num_groups, _NOTHING, np.int32)
    rows, slots = self._of_part(examples.slots, 0)
    rows = rows[rows < self._batches.schema.num_rows]
    message[: len(rows)] = rows
    if self.num_groups:
      groups = np.unique(group)
      message[self.num_ids :][: len(groups)] = groups
    return Part(examples._replace(rows=rows, slots=slots), group, message)

  def joined(self, part: Part, messages: np.ndarray) -> Batch:
    """Makes this process's part of a batch as the step takes it.

    Args:
      part: What this process has read.
      messages: Those of all processes, in their order, int32 [P, num_ids +
        num_groups].

    Returns:
      `rows` and `groups` of the whole batch, the same in all processes; the
      rest of this process's examples, padded.
    """
    batches = self._batches
    ids = messages[:, : self.num_ids]
    counts = (ids != _NOTHING).sum(axis=1)
    first, num = counts[: self._process].sum(), len(part.examples.rows)
    flat, groups = ids[ids != _NOTHING], None
    if self.num_groups:
      numbers = messages[:, self.num_ids :]
      groups = batches.gathered(part.group, numbers[numbers != _NOTHING])
      flat = np.concatenate([flat, groups.slots.reshape(-1)])
    rows, index = self._of_batch(flat, batches.capacity)
    slots = index[first : first + num][part.examples.slots]
    if groups is not None:
      shared = index[counts.sum() :].reshape(groups.slots.shape)
      groups = groups._replace(slots=shared)
    batch = part.examples._replace(rows=rows, slots=slots, groups=groups)
    if not len(batch.where):
      batch = _nothing(batch)
    return padded(batch, self._size)


def _nothing(batch: Batch) -> Batch:
  """Makes an example that counts nowhere, of the first table row and group."""
  zero = lambda x: np.zeros((1, *x.shape[1:]), x.dtype)
  groups = batch.groups
  if groups is not None:
    groups = groups._replace(segment_ids=zero(groups.segment_ids))
  return Batch(
      batch.rows,
      zero(batch.slots),
      zero(batch.weights),
      zero(batch.floats),
      {name: zero(label) for name, label in batch.labels.items()},
      zero(batch.where),
      groups,
  )

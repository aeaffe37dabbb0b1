"""Training on a training set that lies in device memory.

A step gathers its rows on the device and finds the table rows that they touch,
and many steps are one call. The host only gives the order of an epoch. Use this
where the link to the device, not the device, is what a step waits for. Several
devices that share a batch share the training set too (`feeds.gathering`).
"""

from collections.abc import Callable, Iterator
import functools
from typing import Any

from esmm_jax.data.batching.compacting import grown
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.batching.whole import most_bytes, Whole, whole
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.feeds.gathering import gather
from esmm_jax.training.feeds.traffic import of_step, Traffic
from esmm_jax.training.state import StepSpec, TracedHyperparameters, TrainState
from esmm_jax.training.step import train_step
from esmm_jax.types import Array, Batch, InputError
import jax
import numpy as np

KEY = 'device_resident'
# The part of the device's memory that 'auto' gives to the training set.
_SHARE = 0.25


def check_choice(choice: str, layout: Layout) -> None:
  """Refuses before the data is prepared what no data can make possible.

  Args:
    choice: The option `device_resident`.
    layout: Devices.

  Raises:
    InputError: 'on' with several processes.
  """
  if choice == 'on' and layout.num_processes > 1:
    raise InputError(
        f"{KEY} is 'on', but there are {layout.num_processes} processes; the"
        " training set can stay in the memory of one's devices. Use 'off' or"
        ' one process.'
    )


def is_resident(choice: str, batches: Batches, layout: Layout) -> bool:
  """Decides whether the training set is kept in device memory.

  Args:
    choice: 'on', 'off', or 'auto': on a single accelerator, if the set takes at
      most a quarter of its memory, as far as it says how much it has. 'on' may
      be several devices, each of which holds its share.
    batches: The training set.
    layout: Devices.

  Raises:
    InputError: 'on', and the training set cannot fit.
  """
  if choice == 'off':
    return False
  if choice == 'auto':
    if layout.num_devices > 1 or jax.default_backend() == 'cpu':
      return False
  stats = layout.mesh.devices.flat[0].memory_stats() or {}
  limit = stats.get('bytes_limit', float('inf'))
  needed = most_bytes(batches, layout.num_parts)
  # Row numbers on the device are int32, the padding's among them.
  countable = batches.num_rows + batches.batch_size < 2**31
  if choice == 'auto':
    return countable and needed <= _SHARE * limit
  if not countable or needed > limit:
    raise InputError(
        f"{KEY} is 'on', but the {batches.num_rows} rows of the training set"
        f' ({needed / 1e9:.1f} GB on a device) do not fit into device memory'
        f" ({limit / 1e9:.1f} GB). Use 'off'."
    )
  return True


class Resident:
  """Batches from device memory, one call for many steps."""

  def __init__(
      self,
      plan: StepSpec,
      batches: Batches,
      layout: Layout,
      start: int,
      total: int,
      hashed: Callable[[int], bool] = lambda step: True,
  ):
    """Moves the training set to the device, for steps [start, total).

    Args:
      plan: What a step does.
      batches: The training set.
      layout: Devices.
      start: Steps done.
      total: Of the whole run.
      hashed: Not needed: any batch can be had again.

    Raises:
      InputError: It does not fit.
    """
    self._batches, self._layout = batches, layout
    host = whole(batches)
    self._segment_ids = host.segment_ids
    try:
      self._whole = jax.block_until_ready(_placed(host, layout))
    except jax.errors.JaxRuntimeError as e:
      raise InputError(
          f"The training set does not fit into device memory; use {KEY}='off'."
      ) from e
    del hashed
    self._compacted = batches.capacity > 0
    make = functools.partial(
        gather, num_rows=batches.num_rows, size=batches.batch_size
    )
    self._gather = jax.jit(
        make, static_argnames=('num_groups', 'capacity', 'table_rows')
    )
    self._take_steps = functools.partial(_steps, plan=plan, make=make)
    self._steps, self._traces = None, 0
    length = batches.steps_per_epoch
    epochs = range(start // length, -(-total // length))
    self._orders = prefetch(self._arranged(epochs), lambda order: order, size=1)
    self._epoch = -1

  @property
  def traces(self) -> int:
    return self._traces

  def advance(
      self,
      state: TrainState,
      start: int,
      stop: int,
      hyper: TracedHyperparameters,
  ) -> TrainState:
    length = self._batches.steps_per_epoch
    if self._steps is None:
      several = self._layout.num_devices > 1
      self._steps = jax.jit(
          self._traced,
          donate_argnums=0,
          static_argnames=('num_groups', 'capacity'),
          out_shardings=self._layout.shardings(state) if several else None,
      )
    while start < stop:
      epoch, first = divmod(start, length)
      if epoch != self._epoch:
        self._epoch, order, self._num_groups = next(self._orders)
        self._order = self._layout.put_state(order)
      last = min(first + stop - start, length)
      num = self._num_groups
      with self._layout.active():
        state = self._steps(
            state,
            self._whole,
            self._order,
            np.int32(first),
            np.int32(last),
            hyper,
            num_groups=num,
            capacity=self._batches.most_rows(num) if self._compacted else 0,
        )
      start += last - first
    return state

  def hash_after(self, step: int) -> int:
    with self._layout.active():
      batch = self._gather(
          self._whole,
          self._order,
          np.int32((step - 1) % self._batches.steps_per_epoch),
          num_groups=self._num_groups,
          capacity=0,  # The hash does not depend on it.
          table_rows=0,
      )
    return content_hash(jax.device_get(batch))

  def exchanged(self, state: TrainState) -> Traffic:
    rows, batches = self._whole, self._batches
    numbers = len(rows.labels) + (rows.segment_ids is not None)
    for columns in (rows.slots, rows.weights, rows.floats):
      numbers += columns.shape[1]
    room = batches.group_capacity
    return of_step(
        state,
        self._layout,
        batches.schema,
        batches.most_rows(room),
        room,
        numbers=numbers * batches.batch_size,
    )

  def close(self) -> None:
    self._orders.close()

  def _traced(self, *args: Any, **sizes: int) -> TrainState:
    self._traces += 1  # Runs when the steps are traced, not when called.
    return self._take_steps(*args, **sizes)

  def _arranged(
      self, epochs: range
  ) -> Iterator[tuple[int, np.ndarray, int]]:
    """Yields each epoch's number, its order and the capacity of groups.

    The last row fills the last batch, so that no other table row is touched.
    The room is that of the streamed batches, or more if a batch needs it, at
    the price of one more compilation.
    """
    batches = self._batches
    size = batches.batch_size
    for epoch in epochs:
      order = batches.order(epoch).astype(np.int32)
      pad = -len(order) % size
      order = np.concatenate([order, np.repeat(order[-1:], pad)])
      room = batches.group_capacity
      if self._segment_ids is not None:
        most = max(
            1 + np.count_nonzero(np.diff(np.sort(self._segment_ids[rows])))
            for rows in order.reshape(-1, size)
        )
        room = min(grown(room, most), size, len(batches.groups.slots))
      yield epoch, order, room


def _placed(rows: Whole, layout: Layout) -> Whole:
  """Moves the rows to the devices, each of which gets its share."""
  if layout.num_devices == 1:
    return layout.put_state(rows)
  pad = -len(rows.slots) % layout.num_parts
  groups = rows.group_slots, rows.group_weights
  shares = rows._replace(group_slots=None, group_weights=None)
  if pad:  # The last shares have rows that no order has.
    shares = jax.tree.map(
        lambda x: np.concatenate([x, np.repeat(x[-1:], pad, 0)]), shares
    )
  shares, groups = layout.put_shares(shares), layout.put_state(groups)
  return shares._replace(group_slots=groups[0], group_weights=groups[1])


def _steps(
    state: TrainState,
    rows: Whole,
    order: Array,
    first: Array,
    last: Array,
    hyper: TracedHyperparameters,
    *,
    plan: StepSpec,
    make: Callable[..., Batch],
    num_groups: int,
    capacity: int,
) -> TrainState:
  """Takes the steps of batches [first, last) of an epoch, traced or not."""
  batch = functools.partial(
      make,
      rows,
      order,
      num_groups=num_groups,
      capacity=capacity,
      table_rows=plan.model.schema.num_rows,
  )
  one = lambda k, state: train_step(state, batch(k), hyper, plan=plan)
  return jax.lax.fori_loop(first, last, one, state)

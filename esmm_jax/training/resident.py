"""Training on a training set that lies in device memory.

A step gathers its rows on the device and finds the table rows that they touch,
and many steps are one call. The host only gives the order of an epoch. Use this
where the link to the device, not the device, is what a step waits for.
"""

from collections.abc import Callable, Iterator
import functools

from esmm_jax.data.batching.compacting import grown
from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.batching.whole import most_bytes, Whole, whole
from esmm_jax.embeddings.distinct import distinct
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.state import StepSpec, TracedHyperparameters, TrainState
from esmm_jax.training.step import train_step
from esmm_jax.types import Array, Batch, Groups, InputError
import jax
import jax.numpy as jnp
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
    InputError: 'on' with several devices.
  """
  if choice == 'on' and layout.num_devices > 1:
    raise InputError(
        f"{KEY} is 'on', but there are {layout.num_devices} devices; the"
        " training set can stay in the memory of one. Use 'off' or one device."
    )


def is_resident(choice: str, batches: Batches, layout: Layout) -> bool:
  """Decides whether the training set is kept in device memory.

  Args:
    choice: 'on', 'off', or 'auto': on a single accelerator, if the set takes at
      most a quarter of its memory, as far as it says how much it has.
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
  needed = most_bytes(batches)
  # Row numbers on the device are int32, the padding's among them.
  countable = batches.num_rows + batches.batch_size < 2**31
  if choice == 'auto':
    return countable and needed <= _SHARE * limit
  if not countable or needed > limit:
    raise InputError(
        f"{KEY} is 'on', but the {batches.num_rows} rows of the training set"
        f' ({needed / 1e9:.1f} GB) do not fit into device memory'
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
      self._whole = jax.block_until_ready(layout.put_state(host))
    except jax.errors.JaxRuntimeError as e:
      raise InputError(
          f"The training set does not fit into device memory; use {KEY}='off'."
      ) from e
    del hashed
    self._compacted = batches.capacity > 0
    self._gather = jax.jit(
        gather,
        static_argnames=('size', 'num_groups', 'capacity', 'table_rows'),
    )
    self._steps = jax.jit(
        functools.partial(_steps, plan=plan, size=batches.batch_size),
        donate_argnums=0,
        static_argnames=('num_groups', 'capacity'),
    )
    length = batches.steps_per_epoch
    epochs = range(start // length, -(-total // length))
    self._orders = prefetch(self._arranged(epochs), lambda order: order, size=1)
    self._epoch = -1

  @property
  def traces(self) -> int:
    return self._steps._cache_size()

  def advance(
      self,
      state: TrainState,
      start: int,
      stop: int,
      hyper: TracedHyperparameters,
  ) -> TrainState:
    length = self._batches.steps_per_epoch
    while start < stop:
      epoch, first = divmod(start, length)
      if epoch != self._epoch:
        self._epoch, order, self._num_groups = next(self._orders)
        self._order = self._layout.put_state(order)
      last = min(first + stop - start, length)
      num = self._num_groups
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
    batch = self._gather(
        self._whole,
        self._order,
        np.int32((step - 1) % self._batches.steps_per_epoch),
        size=self._batches.batch_size,
        num_groups=self._num_groups,
        capacity=0,  # The hash does not depend on it.
        table_rows=0,
    )
    return content_hash(jax.device_get(batch))

  def close(self) -> None:
    self._orders.close()

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


def _steps(
    state: TrainState,
    rows: Whole,
    order: Array,
    first: Array,
    last: Array,
    hyper: TracedHyperparameters,
    *,
    plan: StepSpec,
    size: int,
    num_groups: int,
    capacity: int,
) -> TrainState:
  """Takes the steps of batches [first, last) of an epoch, traced or not."""
  make = functools.partial(
      gather,
      rows,
      order,
      size=size,
      num_groups=num_groups,
      capacity=capacity,
      table_rows=state.table.shape[0],
  )
  one = lambda k, state: train_step(state, make(k), hyper, plan=plan)
  return jax.lax.fori_loop(first, last, one, state)


def gather(
    rows: Whole,
    order: Array,
    k: Array,
    *,
    size: int,
    num_groups: int,
    capacity: int,
    table_rows: int,
) -> Batch:
  """Makes a batch on the device, as `Batches` does on the host.

  Args:
    rows: All rows.
    order: int32, the rows of an epoch in order, padded to whole batches.
    k: int32, the number of the batch in the epoch.
    size: B.
    num_groups: G; at least the groups of any batch of the epoch.
    capacity: U; at least the table rows that any batch touches. 0 leaves `rows`
      of the batch empty and gives table rows as slots.
    table_rows: V.
  """
  at = jax.lax.dynamic_slice_in_dim(order, k * size, size)
  real = k * size + jnp.arange(size, dtype=jnp.int32) < rows.slots.shape[0]

  def masked(column: Array) -> Array:
    taken = column[at].astype(jnp.float32)
    mask = real.reshape((size,) + (1,) * (taken.ndim - 1))
    return jnp.where(mask, taken, 0.0)

  slots, groups = rows.slots[at], None
  flat = slots.reshape(-1)
  if rows.segment_ids is not None:
    # Padding repeats the first group.
    chosen = rows.segment_ids[at]
    unique, segment_ids = distinct(chosen, num_groups, chosen.min())
    groups = Groups(
        rows.group_slots[unique],
        rows.group_weights[unique].astype(jnp.float32),
        segment_ids,
    )
    flat = jnp.concatenate([flat, groups.slots.reshape(-1)])
  touched = jnp.zeros(0, jnp.int32)
  if capacity:
    touched, flat = distinct(flat, capacity, table_rows)
    pad = table_rows + jnp.arange(capacity, dtype=jnp.int32)
    touched = jnp.where(touched < table_rows, touched, pad)
    slots, cut = flat[: slots.size].reshape(slots.shape), slots.size
    if groups is not None:
      groups = groups._replace(slots=flat[cut:].reshape(groups.slots.shape))
  return Batch(
      touched,
      slots,
      masked(rows.weights),
      masked(rows.floats),
      {name: masked(label) for name, label in rows.labels.items()},
      real.astype(jnp.float32),
      groups,
  )

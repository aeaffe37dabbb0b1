"""How training gets its batches: made by the host, or from device memory.

Both ways have one interface and train on the same rows in the same order. The
results agree up to the order in which float32 sums are added
(`tests/training/test_feeding.py`).

  Streamed: a thread of the host makes each batch and moves it to the device;
    each step is a call.
  Resident: the training set is in device memory. A step gathers its rows there
    and finds what they touch, and many steps are one call. The host only gives
    the order of an epoch.
"""

from collections.abc import Callable, Iterator
import functools
from typing import Protocol

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.compacting import grown
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.batching.whole import most_bytes, Whole, whole
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.gathering import gather
from esmm_jax.training.state import Hyper, Plan, TrainState
from esmm_jax.training.step import train_step
from esmm_jax.types import Array, Batch, InputError, suggest
import jax
import numpy as np

KEY = 'device_resident'
CHOICES = ('auto', 'on', 'off')
# The part of the device's memory that 'auto' gives to the training set.
_SHARE = 0.25


def check_choice(choice: str, layout: Layout) -> None:
  """Refuses what can be refused before the data is there.

  Args:
    choice: The config's `device_resident`.
    layout: Devices.

  Raises:
    InputError: It is none of `CHOICES`, or 'on' with several devices.
  """
  if choice not in CHOICES:
    raise InputError(
        f'{KEY} is {choice!r}, which is not known. {suggest(choice, CHOICES)}'
    )
  if choice == 'on' and layout.num_devices > 1:
    raise InputError(
        f"{KEY} is 'on', but there are {layout.num_devices} devices; the"
        " training set can stay in the memory of one. Use 'off' or one device."
    )


def is_resident(choice: str, batches: Batches, layout: Layout) -> bool:
  """Whether the training set is to be kept in device memory.

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


class Feed(Protocol):
  """What training asks for its steps."""

  def advance(
      self, state: TrainState, start: int, stop: int, hyper: Hyper
  ) -> TrainState:
    """Does steps [start, stop); each call begins where the last one ended."""

  @property
  def traces(self) -> int:
    """How often the step was compiled."""

  def hash_after(self, step: int) -> int:
    """`content_hash` of the last batch of `step` steps, where `hashed` is."""

  def close(self) -> None:
    """Ends the thread that works ahead."""


class Streamed:
  """Batches from the host, one call a step."""

  def __init__(
      self,
      plan: Plan,
      batches: Batches,
      layout: Layout,
      start: int,
      total: int,
      hashed: Callable[[int], bool] = lambda step: False,
  ):
    """For steps [start, total); begins to make batches at once.

    Args:
      plan: What a step does.
      batches: The training set.
      layout: Devices.
      start: Steps done.
      total: Of the whole run.
      hashed: After how many steps `hash_after` will be asked.
    """
    self._hashes: dict[int, int] = {}
    self._layout = layout
    self._plan, self._step, self._traces = plan, None, 0
    made = self._made(batches, start, total, hashed)
    self._ahead = prefetch(made, layout.put_batch)

  def _made(
      self,
      batches: Batches,
      start: int,
      total: int,
      hashed: Callable[[int], bool],
  ) -> Iterator[Batch]:
    for step, batch in enumerate(batches.iterate(start, total), start + 1):
      if hashed(step):
        self._hashes[step] = content_hash(batch)
      yield batch

  def hash_after(self, step: int) -> int:
    return self._hashes.pop(step)

  @property
  def traces(self) -> int:
    return self._traces

  def advance(
      self, state: TrainState, start: int, stop: int, hyper: Hyper
  ) -> TrainState:
    if self._step is None:
      divided = self._layout.num_devices > 1
      where = self._layout.shardings(state) if divided else None
      self._step = jax.jit(self._traced, donate_argnums=0, out_shardings=where)
    with self._layout.active():
      for _ in range(start, stop):
        state = self._step(state, next(self._ahead), hyper)
    return state

  def close(self) -> None:
    self._ahead.close()

  def _traced(
      self, state: TrainState, batch: Batch, hyper: Hyper
  ) -> TrainState:
    self._traces += 1  # Not when it runs.
    return train_step(state, batch, hyper, plan=self._plan)


class Resident:
  """Batches from device memory, one call for many steps."""

  def __init__(
      self,
      plan: Plan,
      batches: Batches,
      layout: Layout,
      start: int,
      total: int,
      hashed: Callable[[int], bool] = lambda step: True,
  ):
    """For steps [start, total); moves the training set to the device.

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
    self._of = host.of
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
      self, state: TrainState, start: int, stop: int, hyper: Hyper
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
    """Of each epoch its number, its order, and the groups to have room for.

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
      if self._of is not None:
        most = max(
            1 + np.count_nonzero(np.diff(np.sort(self._of[rows])))
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
    hyper: Hyper,
    *,
    plan: Plan,
    size: int,
    num_groups: int,
    capacity: int,
) -> TrainState:
  """Steps of the batches [first, last) of an epoch; both may be traced."""
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

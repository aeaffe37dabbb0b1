"""Training on batches that the host makes, a call for each step.

`Streamed` here and `resident.Resident` have one interface and train on the same
rows in the same order. The results agree up to the order in which float32 sums
are added (`tests/training/test_feeding.py`). Of several processes each reads
its part of a batch (`SharedBatches`).
"""

from collections.abc import Callable, Iterator

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.data.batching.prefetching import prefetch
from esmm_jax.data.batching.shared import Part, SharedBatches
from esmm_jax.parallel.layout import Layout
from esmm_jax.training.feeds.together import joined
from esmm_jax.training.feeds.traffic import of_step, Traffic
from esmm_jax.training.state import StepSpec, TracedHyperparameters, TrainState
from esmm_jax.training.step import train_step
from esmm_jax.types import Batch
import jax


class Streamed:
  """Batches from the host, one call a step."""

  def __init__(
      self,
      plan: StepSpec,
      batches: Batches,
      layout: Layout,
      start: int,
      total: int,
      hashed: Callable[[int], bool] = lambda step: False,
  ):
    """Begins to make the batches of steps [start, total).

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
    self._hashed = hashed
    self._sizes = batches.schema, batches.capacity, batches.group_capacity
    self._listed = 0
    # Works ahead: a batch is made and moved while the step before it runs.
    if layout.shares_batches:
      shared = SharedBatches(
          batches, jax.process_index(), layout.num_processes
      )
      self._listed = shared.num_ids + shared.num_groups
      self._ahead = prefetch(
          self._parts(batches, shared, start, total), lambda part: part
      )
      self._batches = joined(shared, self._ahead, layout)
    else:
      hashing = self._hashing(batches, start, total)
      self._ahead = self._batches = prefetch(hashing, layout.put_batch)

  def _hashing(
      self, batches: Batches, start: int, total: int
  ) -> Iterator[Batch]:
    for step, batch in enumerate(batches.iterate(start, total), start + 1):
      if self._hashed(step):
        self._hashes[step] = content_hash(batch)
      yield batch

  def _parts(
      self, batches: Batches, shared: SharedBatches, start: int, total: int
  ) -> Iterator[Part]:
    for step in range(start, total):
      if self._hashed(step + 1):  # Of the whole batch, so it is read.
        self._hashes[step + 1] = content_hash(batches.alone(step))
      yield shared.part(step)

  def hash_after(self, step: int) -> int:
    """Returns the `content_hash` of the last batch of `step` steps."""
    return self._hashes.pop(step)

  @property
  def traces(self) -> int:
    """The number of times that the step was compiled."""
    return self._traces

  def advance(
      self,
      state: TrainState,
      start: int,
      stop: int,
      hyper: TracedHyperparameters,
  ) -> TrainState:
    """Takes the steps [start, stop); each call begins where the last ended."""
    if self._step is None:
      divided = self._layout.num_devices > 1
      where = self._layout.shardings(state) if divided else None
      self._step = jax.jit(self._traced, donate_argnums=0, out_shardings=where)
    with self._layout.active():
      for _ in range(start, stop):
        state = self._step(state, next(self._batches), hyper)
    return state

  def exchanged(self, state: TrainState) -> Traffic:
    """Returns what a step exchanges between devices and processes."""
    return of_step(state, self._layout, *self._sizes, self._listed)

  def close(self) -> None:
    """Ends the thread that works ahead."""
    self._batches.close()
    self._ahead.close()

  def _traced(
      self, state: TrainState, batch: Batch, hyper: TracedHyperparameters
  ) -> TrainState:
    self._traces += 1  # Runs when the step is traced, not when it is called.
    return train_step(state, batch, hyper, plan=self._plan)

"""Batches of several processes, each of which has read its part."""

from collections.abc import Iterator

from esmm_jax.data.batching.shared import Part, SharedBatches
from esmm_jax.parallel.layout import Layout
from esmm_jax.types import Batch
import numpy as np


def joined(
    shared: SharedBatches, parts: Iterator[Part], layout: Layout
) -> Iterator[Batch]:
  """Yields batches on the devices.

  What the processes tell each other of a batch is sent while the step before it
  is not yet asked for, so it arrives before that step is done, and the lists
  are joined meanwhile. It is a computation of all devices, and these have to
  run in one order everywhere: so it is asked for here, where steps are, and by
  no thread that works ahead.

  Args:
    shared: Makes the parts.
    parts: Those of this process, in the order of the steps.
    layout: Devices, of all processes.
  """
  part = next(parts, None)
  sent = None if part is None else layout.all_gather(part.message)
  while part is not None:
    width = len(part.message)
    batch = shared.joined(part, np.asarray(sent)[:, :width])
    part = next(parts, None)
    if part is not None:
      sent = layout.all_gather(part.message)
    yield layout.put_part(batch)

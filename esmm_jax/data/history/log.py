"""The columns of a log that its history is made of."""

from collections.abc import Mapping
from typing import NamedTuple

from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.specs import IMPRESSIONS
from esmm_jax.tasks import Tasks
from esmm_jax.types import Ragged
import numpy as np

CHUNK = 1 << 20  # Rows read at once.


class Log(NamedTuple):
  """The columns of a log that its history is made of.

  Attributes:
    clock: Of its times.
    time: int64 [n], nanoseconds since 1970.
    asked: int64 [n], what the history of a row is asked for at: its time, the
      first time of its request, or of its split (`plan.capped`).
    is_event: bool [n], rows that later rows may see.
    amounts: Label or number -> integers [n], numbers times `encode.FRACTION`.
    keys: Columns of a key -> hashes, uint64 [n], or a `Ragged` of them.
    entries: Column -> hashes of its values, uint64 [n].
    tasks: Of the labels.
  """

  clock: Clock
  time: np.ndarray
  asked: np.ndarray
  is_event: np.ndarray
  amounts: Mapping[str, np.ndarray]
  keys: Mapping[tuple[str, ...], np.ndarray | Ragged]
  entries: Mapping[str, np.ndarray]
  tasks: Tasks

  @property
  def names(self) -> list[str]:
    """The amounts in order, impressions first."""
    return [IMPRESSIONS, *self.amounts]

  def sums(self, rows: np.ndarray) -> np.ndarray:
    """Returns the amounts of rows, int64 [q, A]."""
    sums = np.ones((len(rows), 1 + len(self.amounts)), np.int64)
    for k, name in enumerate(self.amounts, 1):
      sums[:, k] = self.amounts[name][rows]
    return sums


def priors_of(log: Log) -> Priors:
  """Sums the events of a log by quarter of an hour."""
  priors = Priors.empty(len(log.names))
  for low in range(0, len(log.time), CHUNK):
    rows = low + np.flatnonzero(log.is_event[low : low + CHUNK])
    priors = priors.add(log.time[rows], log.sums(rows), log.names)
  return priors

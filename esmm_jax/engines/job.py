"""One call of `Engine.map`: which parts are to do, in work and done."""

import abc
from collections import Counter
from collections.abc import Iterator
from typing import Any

from esmm_jax import streams
from esmm_jax.engines import worker
from esmm_jax.types import InputError

_TRIES = 3  # Of a part whose worker is lost.
_AHEAD = 2  # Parts for each worker whose results may wait for an earlier one.


class Job(abc.ABC):
  """Gives parts to workers, and their results in the order of the parts.

  Attributes:
    busy: What is waited for, a pipe or a call -> its worker, and the number of
      the part that it does.
  """

  def __init__(self, workers: int, num: int):
    """Prepares the parts.

    Args:
      workers: Parts in work at once.
      num: Of parts.
    """
    self._workers, self._num = workers, num
    self.busy: dict[Any, tuple[Any, int]] = {}
    self._todo = list(range(num))[::-1]  # The next one is the last.
    self._done: dict[int, tuple[str, Any]] = {}
    self._losses: Counter[int] = Counter()

  @abc.abstractmethod
  def begin(self, k: int) -> None:
    """Gives part k to a worker, which is then `busy`."""

  @abc.abstractmethod
  def hear(self) -> None:
    """Waits for those that are `busy`; calls `take` or `lose` for each."""

  @abc.abstractmethod
  def stop(self) -> None:
    """Ends the workers that are at work."""

  def results(self) -> Iterator[Any]:
    """Yields the results in order.

    Raises:
      InputError: Workers were lost `_TRIES` times in one part.
    """
    for turn in range(self._num):
      while turn not in self._done:
        self._fill(turn)
        self.hear()
      kind, value = self._done.pop(turn)
      if kind == worker.FAILED:
        raise value
      self._fill(turn + 1)  # What comes out now takes time to be added up.
      yield value

  def _fill(self, turn: int) -> None:
    """Gives parts to workers, not too far ahead of the one whose turn it is."""
    end = turn + _AHEAD * self._workers
    while (
        self._todo
        and self._todo[-1] < end
        and len(self.busy) < self._workers
    ):
      self.begin(self._todo.pop())

  def take(self, k: int, answer: tuple[str, Any]) -> None:
    """Takes `worker.answer` of part k."""
    self._done[k] = answer

  def lose(self, k: int, lost: str, more: str = '') -> None:
    """Puts the part of a lost worker back.

    Args:
      k: The part.
      lost: Which worker was lost, and by what.
      more: To say where it is not done again.
    """
    which = f'part {k + 1} of {self._num}'
    self._losses[k] += 1
    if self._losses[k] >= _TRIES:
      raise InputError(
          f'{lost}, {_TRIES} times at {which}{more}. Where memory runs out, the'
          ' system ends processes: set fewer --workers. Nothing half-written is'
          ' left.'
      )
    streams.warn(f'{lost}; another one does {which} again.')
    self._todo.append(k)
    self._todo.sort(reverse=True)

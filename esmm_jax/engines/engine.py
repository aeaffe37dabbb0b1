"""The interface of engines, and the one that works in this process."""

import abc
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# Gets the rows that are done.
Tell = Callable[[int], None]
# (what all parts share, a part, tell) -> the result of the part. A function of
# a module, so that other processes find it by its name.
Function = Callable[[Any, Any, Tell], Any]


class Engine(abc.ABC):
  """Maps a function over parts.

  Attributes:
    workers: Parts in work at once. With 1 they are done in this process, and
      what they return is not copied.
  """

  workers = 1

  @abc.abstractmethod
  def map(
      self,
      function: Function,
      shared: Any,
      parts: Sequence[Any],
      folder: str,
      tell: Tell,
  ) -> Iterator[Any]:
    """Yields the results of parts, in the order of the parts.

    An error of a part is raised when its turn comes, so that it is the first
    one, whichever part met one first. A part may be begun a second time, where
    a worker was lost: what it writes must not depend on that.

    Args:
      function: See `Function`.
      shared: What all parts share, for `function`.
      parts: One argument of `function` each.
      folder: For files of the engine, which it removes.
      tell: Gets rows as they are done, in any order.
    """

  @abc.abstractmethod
  def close(self) -> None:
    """Ends the workers."""


class InProcess(Engine):
  """Does the parts one after the other, in this process."""

  def map(
      self,
      function: Function,
      shared: Any,
      parts: Sequence[Any],
      folder: str,
      tell: Tell,
  ) -> Iterator[Any]:
    """See the base class."""
    del folder
    for part in parts:
      yield function(shared, part, tell)

  def close(self) -> None:
    """See the base class; there is nothing to end."""

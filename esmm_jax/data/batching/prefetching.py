"""Runs an iterator ahead of its consumer, in a thread."""

from collections.abc import Callable, Iterator
import queue
import threading
from typing import Any


def prefetch(
    items: Iterator[Any], transform: Callable[[Any], Any], size: int = 2
) -> Iterator[Any]:
  """Runs `items` and `transform` ahead in a thread.

  The thread ends when the iterator is closed or its items are exhausted; an
  exception in it is raised where its item would have come.

  Args:
    items: Gives the items.
    transform: Applied to each item, in the thread.
    size: Items that may wait.

  Yields:
    The transformed items, in order.
  """
  ready = queue.Queue(maxsize=size)
  closed = threading.Event()
  end = object()

  def put(item) -> bool:
    # With a timeout: nobody takes from a full queue once the iterator is
    # closed, and the thread has to notice that.
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

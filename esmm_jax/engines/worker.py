"""The process of a worker: does the parts that come through a pipe.

It ends when the other end of the pipe does, in the middle of a part too, so
that no worker outlives the process that it works for.
"""

from collections.abc import Callable
from multiprocessing.connection import Connection
import os
import pickle
import queue
import threading
import traceback
from typing import Any

from esmm_jax.engines import shared
from esmm_jax.engines.engine import Function, Tell

# Kinds of messages to the process that it works for.
TOLD, DONE, FAILED = 'told', 'done', 'failed'


def serve(number: int) -> None:
  """Does parts until the pipe is closed.

  Args:
    number: File descriptor of the pipe. Through it come (function, path of what
      is shared, part), and go (kind, value): rows that are done, a result, or
      an error.
  """
  connection = Connection(number)
  requests: queue.SimpleQueue = queue.SimpleQueue()
  threading.Thread(
      target=_receive, args=(connection, requests), daemon=True
  ).start()
  last = shared.Last()
  tell = lambda rows: connection.send((TOLD, rows))
  while True:
    function, path, part = requests.get()
    message = answer(function, lambda p=path: last.load(p), part, tell)
    connection.send_bytes(message)
    message = b''  # Not while the next part is done.


def answer(
    function: Function, load: Callable[[], Any], part: Any, tell: Tell
) -> bytes:
  """Does a part.

  Args:
    function: See `Function`.
    load: Returns what all parts share.
    part: The part.
    tell: See `Function`.

  Returns:
    The pickle of (`DONE`, the result) or of (`FAILED`, an error).
  """
  try:
    done = DONE, function(load(), part, tell)
    return pickle.dumps(done, pickle.HIGHEST_PROTOCOL)
  except Exception as e:  # pylint: disable=broad-exception-caught
    return pickle.dumps((FAILED, portable(e)))


def _receive(connection: Connection, requests: queue.SimpleQueue) -> None:
  """Takes requests while a part is done; ends the process with the pipe."""
  while True:
    try:
      requests.put(connection.recv())
    except (EOFError, OSError):
      os._exit(0)


def portable(error: Exception) -> Exception:
  """Returns an error that another process can read."""
  try:
    again = pickle.loads(pickle.dumps(error))
    if str(again) == str(error):
      return error
  except Exception:  # pylint: disable=broad-exception-caught
    pass
  text = ''.join(traceback.format_exception(error))
  return RuntimeError(f'in a worker process:\n{text}')

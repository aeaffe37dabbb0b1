"""The process of a worker: does the parts that come through a pipe.

It ends when the other end of the pipe does, in the middle of a part too, so
that no worker outlives the process that it works for.
"""

from multiprocessing.connection import Connection
import os
import pickle
import queue
import threading
import traceback

from esmm_jax.engines import shared

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
    try:
      value = function(last.load(path), part, tell)
      message = pickle.dumps((DONE, value), pickle.HIGHEST_PROTOCOL)
    except Exception as e:  # pylint: disable=broad-exception-caught
      message = pickle.dumps((FAILED, portable(e)))
    connection.send_bytes(message)
    value = message = None  # Not while the next part is done.


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

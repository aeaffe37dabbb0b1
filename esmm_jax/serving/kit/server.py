"""Scores of an exported model over HTTP, by the standard library.

    POST /score   {"rows": [{"user": 7, "item": 9}, ...]}
                  -> {"scores": [{"p_ctr": 0.1, ...}, ...]}, in their order
    GET /health   what is served

All errors are JSON too, {"error": "rows, row 1: column 'user' is ..."}: 4xx if
the request is wrong, which changes nothing.

No client keeps the others or the end waiting: each has a thread, and rows are
scored once the whole request is there; all that is read or sent has a deadline,
and there are only so many clients at once.
"""

from collections.abc import Callable, Iterator
import contextlib
from http.server import ThreadingHTTPServer
import socket
import socketserver
import sys
import threading
import time
import traceback
from typing import Any, NamedTuple

from esmm_jax.serving.kit.handler import Handler
import numpy as np

_NAP = 0.1  # Seconds.
_TEXT = b'{"error":"there are as many clients as may be; try again."}'
_FULL = (
    b'HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Type:'
    b' application/json\r\nContent-Length: %d\r\n\r\n%s' % (len(_TEXT), _TEXT)
)


class Limits(NamedTuple):
  """The load that a server takes upon itself.

  Attributes:
    body: Bytes of a request.
    rows: Rows of a request.
    threads: Requests that are scored at once; others wait.
    clients: Connections at once. One more takes the place of the one that has
      asked for nothing the longest, or gets 503 where all ask for something.
    patience: Seconds until a request is there, until an answer is taken, and
      between the two.
  """

  body: int = 8 << 20
  rows: int = 10_000
  threads: int = 2
  clients: int = 256
  patience: float = 60.0


class Server(ThreadingHTTPServer):
  """Serves one function of rows.

  Attributes:
    score: Rows, as they came -> output -> array [n].
    about: What /health answers.
    limits: See there.
    slots: Free for so many requests more to be scored.
    is_ending: Whether `end` was called.
  """

  daemon_threads = True  # Connections without a request end with the process.
  block_on_close = False
  request_queue_size = 128

  def __init__(
      self,
      address: tuple[str, int],
      score: Callable[[list[Any]], dict[str, np.ndarray]],
      about: dict[str, Any],
      limits: Limits,
  ):
    """Listens on an address; `serve` answers.

    Args:
      address: Name or IP of the host, and the port; 0: one that is free.
      score: See above; threads call it at once.
      about: See above.
      limits: See above.

    Raises:
      OSError: The address is taken, or of another machine.
    """
    if ':' in address[0]:
      self.address_family = socket.AF_INET6
    super().__init__(address, Handler)
    # The base polls and then accepts without a limit of time.
    self.socket.settimeout(_NAP)
    self.score, self.about, self.limits = score, about, limits
    self.slots = threading.BoundedSemaphore(limits.threads)
    self.is_ending = False
    self._changed = threading.Condition()
    self._serving = self._running = 0
    self._clients: set[socket.socket] = set()
    # Those of which nothing was read of a request, the longest first.
    self._idle: dict[socket.socket, None] = {}

  def server_bind(self) -> None:
    """Binds without asking for the full name of the host, as the base does."""
    socketserver.TCPServer.server_bind(self)
    self.server_name, self.server_port = self.server_address[:2]

  def serve(self) -> None:
    """Answers requests until `end` is called."""
    with self._changed:
      self._serving += 1
    try:
      while not self.is_ending:
        self.handle_request()
    finally:
      with self._changed:
        self._serving -= 1
        self._changed.notify_all()

  def get_request(self) -> tuple[socket.socket, Any]:
    """Accepts a client; waits a moment where that fails (too many files)."""
    try:
      return super().get_request()
    except OSError as e:
      if not isinstance(e, TimeoutError) and not self.is_ending:
        time.sleep(_NAP)
      raise

  def verify_request(self, request: Any, client_address: Any) -> bool:
    """Returns whether there is room for a client, after making some."""
    del client_address
    with self._changed:
      if len(self._clients) >= self.limits.clients:
        if not self._idle:
          _refuse(request)
          return False
        longest = next(iter(self._idle))
        self._forget(longest)
        _cut(longest)
      self._clients.add(request)
      self._idle[request] = None
    return True

  def shutdown_request(self, request: Any) -> None:
    """Closes the connection to a client."""
    with self._changed:
      self._forget(request)
    super().shutdown_request(request)

  def _forget(self, request: socket.socket) -> None:
    self._clients.discard(request)
    self._idle.pop(request, None)

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Says nothing of clients that go away, and prints other errors."""
    if not isinstance(sys.exception(), (ConnectionError, TimeoutError)):
      with contextlib.suppress(OSError):  # Of a full disk: go on serving.
        traceback.print_exc()

  @contextlib.contextmanager
  def running(self, request: socket.socket) -> Iterator[None]:
    """Counts a request that has begun to arrive, until it is answered."""
    with self._changed:
      self._idle.pop(request, None)
      self._running += 1
    try:
      yield
    finally:
      with self._changed:
        self._running -= 1
        if request in self._clients:
          self._idle[request] = None
        self._changed.notify_all()

  @property
  def num_running(self) -> int:
    """Requests that have begun to arrive and are not answered."""
    with self._changed:
      return self._running

  @property
  def num_clients(self) -> int:
    """Connections that were accepted and are not closed."""
    with self._changed:
      return len(self._clients)

  def end(self, seconds: float) -> int:
    """Takes no more clients, and waits for requests that have begun.

    Args:
      seconds: To wait at most.

    Returns:
      The number of requests that were not answered by then.
    """
    with self._changed:
      self.is_ending = True
      # From here on who connects is refused, and who was not accepted is cut
      # off, even if the thread that accepts does not come to it.
      _cut(self.socket)
      for request in self._idle:
        _cut(request)
      self._changed.wait_for(
          lambda: not self._running and not self._serving, seconds
      )
      left = self._running
    self.server_close()
    return left


def _cut(end: socket.socket) -> None:
  """Ends a connection, or listening, while other threads wait for it."""
  with contextlib.suppress(OSError):  # It is gone.
    end.shutdown(socket.SHUT_RDWR)


def _refuse(request: socket.socket) -> None:
  """Tells a client that there is no room; waits for nothing."""
  with contextlib.suppress(OSError):
    request.setblocking(False)
    request.send(_FULL)
    request.recv(1 << 16)  # Closed with something unread, it would be reset.

"""Scores of an exported model over HTTP, by the standard library.

    POST /score   {"rows": [{"user": 7, "item": 9}, ...]}
                  -> {"scores": [{"p_ctr": 0.1, ...}, ...]}, in their order
    GET /health   what is served; 503 once the server ends

All errors are JSON too, {"error": "rows, row 1: column 'user' is ..."}: 4xx if
the request is wrong, which changes nothing.
"""

from collections.abc import Callable, Iterator
import contextlib
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import socket
import socketserver
import sys
import threading
import time
import traceback
from typing import Any, NamedTuple

from esmm_jax.json_files import to_json
from esmm_jax.serving.kit import json_rows
from esmm_jax.types import InputError
import numpy as np

# A body above the limit is read, up to so many times of it, and not looked at:
# otherwise a client that is still sending would not read the answer.
_READ_AWAY = 8
_CHUNK = 1 << 16
_METHODS = {'/score': ('POST',), '/health': ('GET', 'HEAD')}


class Refusal(Exception):
  """An answer that is an error: its status and its text."""

  def __init__(self, status: HTTPStatus, text: str):
    super().__init__(text)
    self.status = status


class Limits(NamedTuple):
  """The load that a server takes upon itself.

  Attributes:
    body: Bytes of a request.
    threads: Requests that are scored at once; others wait.
    patience: Seconds that a client may be silent.
  """

  body: int = 8 << 20
  threads: int = 2
  patience: float = 60.0


class Server(ThreadingHTTPServer):
  """Serves one function of rows.

  Attributes:
    score: Rows, as they came -> output -> array [n].
    about: What /health answers.
    limits: See there.
    slots: Free for so many requests more to be scored.
  """

  daemon_threads = True  # Connections without a request end with the process.
  request_queue_size = 128

  def __init__(
      self,
      address: tuple[str, int],
      score: Callable[[list[Any]], dict[str, np.ndarray]],
      about: dict[str, Any],
      limits: Limits,
  ):
    """Listens on an address; `serve_forever` answers.

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
    super().__init__(address, _Handler)
    self.score, self.about, self.limits = score, about, limits
    self.slots = threading.BoundedSemaphore(limits.threads)
    self.is_ending = False
    self._running, self._changed = 0, threading.Condition()

  def server_bind(self) -> None:
    """Binds without asking for the full name of the host, as the base does."""
    socketserver.TCPServer.server_bind(self)
    self.server_name, self.server_port = self.server_address[:2]

  def handle_error(self, request: Any, client_address: Any) -> None:
    """Says nothing of clients that go away, and prints other errors."""
    if not isinstance(sys.exception(), ConnectionError):
      traceback.print_exc()

  @contextlib.contextmanager
  def running(self) -> Iterator[None]:
    """Counts a request that is being answered."""
    with self._changed:
      self._running += 1
    try:
      yield
    finally:
      with self._changed:
        self._running -= 1
        self._changed.notify_all()

  def end(self, seconds: float) -> int:
    """Ends `serve_forever`, and waits for requests that are being answered.

    Args:
      seconds: To wait at most.

    Returns:
      The number of requests that were not answered by then.
    """
    self.is_ending = True
    self.shutdown()
    self.server_close()
    stop = time.monotonic() + seconds
    with self._changed:
      while self._running and (left := stop - time.monotonic()) > 0:
        self._changed.wait(left)
      return self._running


class _Handler(BaseHTTPRequestHandler):
  """Answers the requests of one connection, one after the other."""

  server: Server
  protocol_version = 'HTTP/1.1'
  server_version, sys_version = 'esmm', ''
  disable_nagle_algorithm = True
  wbufsize = -1  # One packet for an answer.

  def setup(self) -> None:
    self.timeout = self.server.limits.patience
    super().setup()

  def do_GET(self) -> None:
    self._answer()

  do_POST = do_HEAD = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_GET

  def handle_expect_100(self) -> bool:
    """Asks for the body at once: the client waits for that."""
    answered = super().handle_expect_100()
    self.wfile.flush()
    return answered

  def log_message(self, *args: Any) -> None:
    """Prints no line for each request."""

  def send_error(
      self, code: int, message: str | None = None, explain: str | None = None
  ) -> None:
    """Answers what is no HTTP in the form of all errors."""
    del explain
    self.close_connection = True
    self._send(HTTPStatus(code), {'error': message or HTTPStatus(code).phrase})

  def _answer(self) -> None:
    with self.server.running():
      try:
        status, value = HTTPStatus.OK, self._value()
      except Refusal as e:
        status, value = e.status, {'error': str(e)}
      except InputError as e:
        status, value = HTTPStatus.BAD_REQUEST, {'error': str(e)}
      except TimeoutError:
        self.close_connection = True
        status = HTTPStatus.REQUEST_TIMEOUT
        value = {'error': 'the body did not arrive in time.'}
      except ConnectionError:
        self.close_connection = True
        return
      except Exception:
        traceback.print_exc()
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        value = {'error': 'the server failed; its own output says why.'}
      self._send(status, value)
      self.wfile.flush()

  def _value(self) -> Any:
    """Returns what to answer.

    Raises:
      Refusal: The request is wrong.
      InputError: A row is wrong.
    """
    is_late = self.server.is_ending
    body = self._body()
    path = self.path.partition('?')[0]
    if path not in _METHODS:
      raise Refusal(
          HTTPStatus.NOT_FOUND,
          f'there is no {path}; there are POST /score and GET /health.',
      )
    if self.command not in _METHODS[path]:
      raise Refusal(
          HTTPStatus.METHOD_NOT_ALLOWED,
          f'{path} takes {_METHODS[path][0]}, not {self.command}.',
      )
    if is_late:
      raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, 'the server ends.')
    if path == '/health':
      return self.server.about
    with self.server.slots:
      return _scored(self.server, body)

  def _body(self) -> bytes:
    """Reads the body of a request, b'' where it has none."""
    length = self.headers.get('Content-Length')
    if 'Transfer-Encoding' in self.headers or (
        length is None and self.command == 'POST'
    ):
      self.close_connection = True
      raise Refusal(
          HTTPStatus.LENGTH_REQUIRED, 'the request must say Content-Length.'
      )
    if not (length or '0').isascii() or not (length or '0').isdigit():
      self.close_connection = True
      raise Refusal(
          HTTPStatus.BAD_REQUEST, f'Content-Length is {length!r}, no number.'
      )
    num, most = int(length or '0'), self.server.limits.body
    if num > most:
      self.close_connection = True
      left = min(num, _READ_AWAY * most)
      while left and (piece := self.rfile.read(min(left, _CHUNK))):
        left -= len(piece)
      raise Refusal(
          HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
          f'the body has {num} bytes; at most {most} are read. Send fewer rows'
          ' at once.',
      )
    body = self.rfile.read(num)
    if len(body) < num:
      self.close_connection = True
      raise Refusal(
          HTTPStatus.BAD_REQUEST,
          f'the body ended after {len(body)} of {num} bytes.',
      )
    return body

  def _send(self, status: HTTPStatus, value: Any) -> None:
    text = json.dumps(value, separators=(',', ':')).encode()
    self.send_response(status)
    self.send_header('Content-Type', 'application/json')
    self.send_header('Content-Length', str(len(text)))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
      methods = _METHODS[self.path.partition('?')[0]]
      self.send_header('Allow', ', '.join(methods))
    if self.close_connection or self.server.is_ending:
      self.send_header('Connection', 'close')  # Which also closes it here.
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(text)


def _scored(server: Server, body: bytes) -> dict[str, Any]:
  """Returns the answer to a body of rows."""
  rows = json_rows.parse(body)
  if not rows:
    return {'scores': []}
  columns = server.score(rows)
  # A number of float32 is one of float64, whose text gives it back.
  lists = {name: to_json(a.tolist()) for name, a in columns.items()}
  names = list(lists)
  return {'scores': [dict(zip(names, row)) for row in zip(*lists.values())]}

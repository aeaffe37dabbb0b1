"""The requests of one connection to a server of scores."""

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
import io
import json
import socket
import time
import traceback
from typing import Any

from esmm_jax.json_files import to_json
from esmm_jax.serving.kit import json_rows
from esmm_jax.types import InputError

# A body above the limit is read, up to so many times of it, and not looked at:
# otherwise a client that is still sending would not read the answer.
_READ_AWAY = 8
_CHUNK = 1 << 16
_DIGITS = 18  # Of a length; Python reads no more than 4,300.
_METHODS = {'/score': ('POST',), '/health': ('GET', 'HEAD')}


class Refusal(Exception):
  """An answer that is an error: its status and its text."""

  def __init__(self, status: HTTPStatus, text: str):
    super().__init__(text)
    self.status = status


class _Reader(io.RawIOBase):
  """Reads from a socket until a time, however slowly the bytes come."""

  def __init__(self, connection: socket.socket):
    self._connection, self._stop = connection, 0.0

  def readable(self) -> bool:
    return True

  def allow(self, seconds: float) -> None:
    """Allows so many seconds from now on."""
    self._stop = time.monotonic() + seconds

  def readinto(self, buffer: Any) -> int:
    if (left := self._stop - time.monotonic()) <= 0:
      raise TimeoutError
    self._connection.settimeout(left)
    return self._connection.recv_into(buffer)


class _Writer(io.BytesIO):
  """Sends what was written at once, with a limit of time for all of it."""

  def __init__(self, connection: socket.socket, seconds: float):
    super().__init__()
    self._connection, self._seconds = connection, seconds

  def flush(self) -> None:
    text = self.getvalue()
    self.seek(0)
    self.truncate()
    if text:
      self._connection.settimeout(self._seconds)
      self._connection.sendall(text)


class Handler(BaseHTTPRequestHandler):
  """Answers the requests of one connection, one after the other."""

  server: Any  # `Server`, which imports this module.
  protocol_version = 'HTTP/1.1'
  server_version, sys_version = 'esmm', ''
  disable_nagle_algorithm = True

  def setup(self) -> None:
    super().setup()
    self.rfile.close()
    self.wfile.close()
    self._reader = _Reader(self.connection)
    self.rfile = io.BufferedReader(self._reader)
    self.wfile = _Writer(self.connection, self.server.limits.patience)

  def handle_one_request(self) -> None:
    """Waits for a request, and answers it."""
    self.close_connection = True
    if self.server.is_ending:
      return
    self._reader.allow(self.server.limits.patience)
    if not self.rfile.peek(1):
      return  # The client has closed.
    with self.server.running(self.connection):
      self._reader.allow(self.server.limits.patience)
      super().handle_one_request()

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
    try:
      status, value = HTTPStatus.OK, self._value()
    except Refusal as e:
      status, value = e.status, {'error': str(e)}
    except InputError as e:
      status, value = HTTPStatus.BAD_REQUEST, {'error': str(e)}
    except ConnectionError:
      self.close_connection = True
      return
    except Exception:
      traceback.print_exc()
      status = HTTPStatus.INTERNAL_SERVER_ERROR
      value = {'error': 'the server failed; its own output says why.'}
    self._send(status, value)

  def _value(self) -> Any:
    """Returns what to answer.

    Raises:
      Refusal: The request is wrong.
      InputError: A row is wrong.
    """
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
    if path == '/health':
      return self.server.about
    with self.server.slots:
      return _scored(self.server, body)

  def _body(self) -> bytes:
    """Reads the body of a request, b'' where it has none."""
    num, most = self._length(), self.server.limits.body
    try:
      if num > most:
        self.close_connection = True
        left = min(num, _READ_AWAY * most)
        while left and (piece := self.rfile.read(min(left, _CHUNK))):
          left -= len(piece)
        raise Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f'the body has {num} bytes; at most {most} are read. Send fewer'
            ' rows at once.',
        )
      body = self.rfile.read(num)
    except TimeoutError as e:
      self.close_connection = True
      raise Refusal(
          HTTPStatus.REQUEST_TIMEOUT, 'the body did not arrive in time.'
      ) from e
    if len(body) < num:
      self.close_connection = True
      raise Refusal(
          HTTPStatus.BAD_REQUEST,
          f'the body ended after {len(body)} of {num} bytes.',
      )
    return body

  def _length(self) -> int:
    """Returns the length of the body that the request says."""
    lengths = self.headers.get_all('Content-Length', [])
    if 'Transfer-Encoding' in self.headers or (
        not lengths and self.command == 'POST'
    ):
      self.close_connection = True
      raise Refusal(
          HTTPStatus.LENGTH_REQUIRED, 'the request must say Content-Length.'
      )
    text = ', '.join(lengths) or '0'
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
      self.close_connection = True
      raise Refusal(
          HTTPStatus.BAD_REQUEST,
          f'Content-Length is {text[:40]!r}, no number of bytes.',
      )
    return int(text)

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
    self.wfile.flush()


def _scored(server: Any, body: bytes) -> dict[str, Any]:
  """Returns the answer to a body of rows."""
  rows = json_rows.parse(body)
  if not rows:
    return {'scores': []}
  if len(rows) > server.limits.rows:
    raise Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f'the request has {len(rows)} rows; at most {server.limits.rows} are'
        ' scored. Send fewer at once.',
    )
  columns = server.score(rows)
  # A number of float32 is one of float64, whose text gives it back.
  lists = {name: to_json(a.tolist()) for name, a in columns.items()}
  names = list(lists)
  return {'scores': [dict(zip(names, row)) for row in zip(*lists.values())]}

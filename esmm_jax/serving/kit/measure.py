"""Times the requests to a server of an exported model."""

from collections.abc import Sequence
import contextlib
import http.client
import json
import threading
import time
from typing import Any

from esmm_jax.json_files import read_json
from esmm_jax.types import InputError
import numpy as np

_FIRST = 5  # Requests of each connection that are not counted.


def measure(
    host: str,
    port: int,
    file: str,
    sizes: Sequence[int],
    requests: int,
    connections: int,
) -> None:
  """Prints a table: rows of a request, milliseconds, rows a second.

  Args:
    host: Of the server.
    port: Of the server.
    file: JSON as a request has it, {"rows": [...]}; they are repeated.
    sizes: Rows of a request; a line each.
    requests: In all, of a line.
    connections: That send at once, each one request after the other.

  Raises:
    InputError: The file has no rows, or the server refuses them.
  """
  held = read_json(file, 'It must be {"rows": [...]}.')
  rows = held.get('rows') if isinstance(held, dict) else None
  if not isinstance(rows, list) or not rows:
    raise InputError(f'{file} holds no rows; it must be {{"rows": [...]}}.')
  print('  rows  requests   p50 ms   p99 ms     rows/s', flush=True)
  for size in sizes:
    body = json.dumps({'rows': (rows * (size // len(rows) + 1))[:size]})
    each = -(-requests // connections)
    times, seconds = _timed(host, port, body.encode(), each, connections)
    middle, late = np.percentile(times, [50, 99])
    print(
        f'{size:6,d} {len(times):9,d} {middle:8.2f} {late:8.2f}'
        f' {size * len(times) / seconds:10,.0f}',
        flush=True,
    )


def _timed(
    host: str, port: int, body: bytes, requests: int, connections: int
) -> tuple[list[float], float]:
  """Returns the milliseconds of all requests, and the seconds of all."""
  times: list[float] = []
  failed: list[Exception] = []
  begin = threading.Barrier(connections + 1)

  def send() -> None:
    try:
      connection = http.client.HTTPConnection(host, port, timeout=60)
      with contextlib.closing(connection):
        for _ in range(_FIRST):
          _post(connection, body)
        begin.wait()
        for _ in range(requests):
          start = time.perf_counter()
          _post(connection, body)
          times.append((time.perf_counter() - start) * 1e3)
    except (OSError, InputError, http.client.HTTPException) as e:
      failed.append(e)
      begin.abort()
    except threading.BrokenBarrierError:
      return  # Another one failed.

  threads = [threading.Thread(target=send) for _ in range(connections)]
  for thread in threads:
    thread.start()
  with contextlib.suppress(threading.BrokenBarrierError):
    begin.wait()
  start = time.perf_counter()
  for thread in threads:
    thread.join()
  if failed:
    raise failed[0]
  return times, time.perf_counter() - start


def _post(connection: Any, body: bytes) -> None:
  connection.request('POST', '/score', body)
  answer = connection.getresponse()
  text = answer.read()
  if answer.status != 200:
    raise InputError(f'the server answers {answer.status}: {text.decode()}')

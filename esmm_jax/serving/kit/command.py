"""The program `serve.py` of an exported model."""

import argparse
import functools
import importlib
import os
import signal
import sys
import threading
import time
from typing import Any

from esmm_jax.cores import cores
from esmm_jax.serving.kit import json_rows, measure
from esmm_jax.serving.kit.server import Limits, Server
from esmm_jax.types import InputError

_MB = 1 << 20
_NAP = 0.1  # Seconds.


def main(folder: str) -> int:
  """Serves an export until SIGTERM or SIGINT, or measures a server.

  Args:
    folder: Of the export; `encode.py` in it encodes rows.

  Returns:
    The exit status: 0; 1 after an error, of which one line is printed.
  """
  options = _parser().parse_args()
  try:
    if options.measure:
      measure.measure(
          options.host,
          options.port,
          options.measure,
          _counts('rows', options.rows),
          options.requests,
          options.connections,
      )
      return 0
    return _serve(folder, options)
  except InputError as e:
    error = str(e)
  except OSError as e:
    error = f'{options.host}:{options.port}: {e.strerror or e}.'
  print(f'error: {error}', file=sys.stderr)
  return 1


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
      prog='serve.py',
      description='Scores of the exported model in this folder over HTTP.',
      formatter_class=argparse.ArgumentDefaultsHelpFormatter,
      allow_abbrev=False,
  )
  add = parser.add_argument
  add('--host', default='127.0.0.1', help='address to listen on')
  add('--port', type=int, default=8000, help='0: one that is free')
  add('--sizes', default='1,32,1024', help='rows of the compiled batches')
  add('--max_mb', type=_positive, default=8.0, help='MB of a request')
  add('--max_rows', type=_count, default=10_000, help='rows of a request')
  threads = 'requests that are scored at once'
  add('--threads', type=_count, default=cores(), help=threads)
  clients = 'connections at once; more are answered 503 if none is idle'
  add('--clients', type=_count, default=256, help=clients)
  patience = 'seconds for a request to arrive, and for an answer to be taken'
  add('--patience', type=_positive, default=60.0, help=patience)
  grace = 'seconds for running requests after SIGTERM'
  add('--grace', type=_positive, default=10.0, help=grace)
  file = 'times requests to the server at --host and --port instead, with the'
  add('--measure', metavar='FILE', help=f'{file} rows of this JSON')
  add('--rows', default='1,32,1000', help='of --measure: rows of a request')
  add('--requests', type=_count, default=500, help='of --measure: of each')
  add('--connections', type=_count, default=1, help='of --measure: at once')
  return parser


def _serve(folder: str, options: argparse.Namespace) -> int:
  # Slow to import; --measure and --help do without.
  from esmm_jax.serving.kit.program import Program

  program = Program(folder, _counts('sizes', options.sizes))
  rows = importlib.import_module('encode').load(folder)
  about = {
      'status': 'ok',
      'run': program.about.get('run'),
      'columns': rows.names,
      'scores': [o['name'] for o in program.about['outputs']],
      'sizes': program.sizes,
      'calibrated': program.about['calibrated'],
  }
  limits = Limits(
      body=int(options.max_mb * _MB),
      rows=options.max_rows,
      threads=options.threads,
      clients=options.clients,
      patience=options.patience,
  )
  score = functools.partial(_score, rows, program)
  server = Server((options.host, options.port), score, about, limits)
  stopped: list[int] = []  # No lock that a handler would wait for.
  for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: stopped.append(number))
  threading.Thread(target=server.serve, daemon=True).start()
  host, port = server.server_address[:2]
  host = f'[{host}]' if ':' in host else host
  print(f'{folder} is served at http://{host}:{port}/score', flush=True)
  while not stopped:  # Another thread may get the signal: it wakes nobody.
    time.sleep(_NAP)
  if num := server.end(options.grace):
    print(f'warning: {num} requests were not answered.', file=sys.stderr)
    sys.stderr.flush()
    os._exit(0)  # Their threads may compute: nothing to take apart under them.
  return 0


def _score(rows: Any, program: Any, raw: list[Any]) -> Any:
  """Returns output -> scores of rows as JSON has them."""
  json_rows.refuse_misspelled(raw, rows.names)
  try:
    features = rows.encode(raw, json_rows.WHERE)
  except InputError:
    json_rows.refuse_mixed(raw, rows.names)  # Which says more of them.
    raise
  return program.scores(features)


def _counts(flag: str, text: str) -> list[int]:
  try:
    return [_count(part) for part in text.split(',')]
  except ValueError as e:
    raise InputError(
        f'--{flag}={text} must be whole numbers from 1, with commas between.'
    ) from e


def _count(text: str) -> int:
  if (value := int(text)) < 1:
    raise ValueError(text)
  return value


def _positive(text: str) -> float:
  if not 0 < (value := float(text)) < float('inf'):
    raise ValueError(text)
  return value

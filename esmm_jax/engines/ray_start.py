"""Starts Ray so that nobody else uses it, or joins one that is named."""

from collections.abc import Iterator, Mapping
import contextlib
import functools
import importlib
import os
import secrets
import signal
import socket
import sys
import threading
from typing import Any
import warnings

from esmm_jax import streams
from esmm_jax.cores import cores
from esmm_jax.types import InputError

_SECONDS = 10  # Until a cluster answers.


def load() -> Any:
  """Returns Ray.

  Raises:
    InputError: It is not installed.
  """
  try:
    return importlib.import_module('ray')
  except ImportError as e:
    raise InputError(
        '--engine=ray needs Ray, which is not installed: pip install'
        " 'esmm_jax[cluster]'."
    ) from e


def join(ray: Any, workers: int, address: str) -> None:
  """Starts a Ray of this program, or joins one."""
  options: dict[str, Any] = {'logging_level': 'WARNING', 'log_to_driver': False}
  if address:
    _refuse_absent(address)
    try:
      with _own_signals():
        ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError) as e:
      reason = ' '.join(str(e).split())
      raise InputError(
          f'--ray_address={address}: no cluster can be joined there ({reason}).'
          ' Name that of its head, as 10.0.0.1:6379, on one of its machines.'
      ) from e
    return
  if elsewhere := os.environ.get('RAY_ADDRESS'):
    streams.warn(
        f'RAY_ADDRESS={elsewhere} is not looked at: a Ray is started on this'
        ' machine. --ray_address names a cluster.'
    )
  with _own_signals():
    ray.init(
        address='local',
        num_cpus=workers or cores(),
        include_dashboard=False,
        dashboard_host='127.0.0.1',
        **options,
    )


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
  """Lets SIGTERM do what it did: Ray has it end the program, with code 1."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.getsignal(signal.SIGTERM)
  came = False
  try:
    yield
  except SystemExit:
    came = signal.getsignal(signal.SIGTERM) != before  # Ray's own did it.
    raise
  finally:
    if before is not None:  # None: one that is not Python's.
      signal.signal(signal.SIGTERM, before)
      if came:
        os.kill(os.getpid(), signal.SIGTERM)


def _refuse_absent(address: str) -> None:
  """Refuses an address where nothing listens; Ray would wait for minutes."""
  host, colon, port = address.rpartition('://')[2].rpartition(':')
  if not colon or not port.isdigit():
    return  # A name that Ray has.
  try:
    socket.create_connection((host.strip('[]'), int(port)), _SECONDS).close()
  except (OSError, OverflowError) as e:
    raise InputError(
        f'--ray_address={address}: there is no cluster ({e}). Start it with'
        ' ray start --head, or leave --ray_address out.'
    ) from e


@functools.cache
def _token() -> str:
  """Returns the token of this process; Ray reads it once."""
  return secrets.token_hex(32)


def safe() -> dict[str, str]:
  """Returns the environment of a Ray that nobody else is to use.

  Most of it is read when Ray is imported. Where the program has done that, Ray
  listens on all interfaces, and the token alone keeps others away.
  """
  safe = {'RAY_USAGE_STATS_ENABLED': '0'}
  if 'RAY_AUTH_MODE' not in os.environ:
    safe['RAY_AUTH_TOKEN'] = _token()
    if 'ray' not in sys.modules:  # Else it asks for the token by itself.
      safe['RAY_AUTH_MODE'] = 'token'
  if sys.platform == 'linux':
    # The loopback address on all ports, as on other systems.
    safe['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'
  return safe


@contextlib.contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
  """Changes variables within the block; those that Ray sets go, too."""
  before = dict(os.environ)
  os.environ.update(changes)
  try:
    yield
  finally:
    for name in os.environ.keys() - before.keys():
      del os.environ[name]
    os.environ.update(before)


@contextlib.contextmanager
def silent() -> Iterator[None]:
  """Drops what Python warns of: that Ray forks (it runs programs then)."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore')
    yield

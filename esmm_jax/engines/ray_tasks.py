"""The engine of Ray: each part is a task of its cluster.

Ray is an extra, `pip install 'esmm_jax[cluster]'`, and imported with this
engine alone. What is written must lie where all machines of the cluster have
it, on a shared file system.

References:
  Moritz et al., Ray: A Distributed Framework for Emerging AI Applications,
    OSDI 2018. https://docs.ray.io
"""

from collections import deque
from collections.abc import Iterator, Sequence
import contextlib
import os
import pickle
import socket
from typing import Any

from esmm_jax import streams
from esmm_jax.engines.engine import Engine, Function, Tell
from esmm_jax.engines.shared import Last, save
from esmm_jax.engines.worker import portable
from esmm_jax.types import InputError

_SECONDS = 10  # Until a cluster answers.
_RETRIES = 2  # Of a part whose worker is lost.
_AHEAD = 2  # Parts for each worker whose results may wait for an earlier one.
_last = Last()  # Of a worker.


class RayTasks(Engine):
  """Does parts in the workers of a Ray cluster."""

  def __init__(self, workers: int, address: str = ''):
    """Joins a cluster, or starts one on this machine.

    Args:
      workers: Parts in work at once; 0: one for each processor of the cluster.
      address: Of the cluster; '' starts one of `workers` workers, which ends
        with `close`. No address is taken from the environment.

    Raises:
      InputError: Ray is not installed, or there is no such cluster.
    """
    try:
      import ray  # An extra.
    except ImportError as e:
      raise InputError(
          '--engine=ray needs Ray, which is not installed; pip install'
          " 'esmm_jax[cluster]'."
      ) from e
    self._ray = ray
    _refuse_absent(address)
    local = {'num_cpus': workers or None, 'include_dashboard': False}
    try:
      with _no_usage_report():
        ray.init(
            address=address or 'local',
            log_to_driver=False,
            logging_level='error',
            **({} if address else local),
        )
    except (ConnectionError, RuntimeError, ValueError) as e:
      why = (str(e).splitlines() or [type(e).__name__])[0]
      raise InputError(f'--ray_address={address}: {why}') from e
    self.workers = workers or int(ray.cluster_resources().get('CPU', 1))

  def map(
      self,
      function: Function,
      shared: Any,
      parts: Sequence[Any],
      folder: str,
      tell: Tell,
  ) -> Iterator[Any]:
    """See the base class; rows are told of when their part is done.

    Raises:
      InputError: The workers of a part were lost, several times.
    """
    path = save(shared, folder)
    task = self._ray.remote(max_retries=_RETRIES, num_cpus=1)(_do)
    waiting: deque = deque()
    todo = iter(parts)
    try:
      for k in range(len(parts)):
        while len(waiting) < _AHEAD * self.workers:
          if (part := next(todo, waiting)) is waiting:
            break
          waiting.append(task.remote(function, path, part))
        yield self._result(waiting.popleft(), k, len(parts), tell)
    finally:
      for reference in waiting:
        self._ray.cancel(reference, force=True)
      os.remove(path)

  def _result(self, reference: Any, k: int, num: int, tell: Tell) -> Any:
    """Waits for a part, and returns its result or raises its error."""
    try:
      is_done, content, rows = self._ray.get(reference)
    except self._ray.exceptions.RayError as e:
      why = str(e).strip().splitlines()[0]
      raise InputError(
          f'a worker of Ray was lost {_RETRIES + 1} times at part {k + 1} of'
          f' {num} ({why}). Where memory runs out, it is ended: set fewer'
          ' --workers. Nothing half-written is left.'
      ) from e
    tell(rows)
    value = pickle.loads(content)
    if not is_done:
      raise value
    return value

  def close(self) -> None:
    """See the base class."""
    try:
      self._ray.shutdown()
    except Exception as e:  # pylint: disable=broad-exception-caught
      streams.warn(f'Ray did not end: {e}')  # The data is there.


def _refuse_absent(address: str) -> None:
  """Refuses an address where nothing listens; Ray would wait for minutes."""
  host, colon, port = address.rpartition('://')[2].rpartition(':')
  if not colon or not port.isdigit():
    return  # '' or a name that Ray knows.
  try:
    socket.create_connection((host.strip('[]'), int(port)), _SECONDS).close()
  except (OSError, OverflowError) as e:
    raise InputError(
        f'--ray_address={address}: there is no cluster ({e}). Start it with'
        ' ray start --head, or leave --ray_address out.'
    ) from e


@contextlib.contextmanager
def _no_usage_report() -> Iterator[None]:
  """Keeps a cluster that is started here from reporting to Ray's makers."""
  name = 'RAY_USAGE_STATS_ENABLED'
  before, os.environ[name] = os.environ.get(name), '0'
  try:
    yield
  finally:
    del os.environ[name]
    if before is not None:
      os.environ[name] = before


def _do(function: Function, path: str, part: Any) -> tuple[bool, bytes, int]:
  """Does a part in a worker.

  Returns:
    Whether it is done; its result or error, as a pickle; the rows done.
  """
  rows = 0

  def tell(num: int) -> None:
    nonlocal rows
    rows += num

  try:
    value = function(_last.load(path), part, tell)
    return True, pickle.dumps(value, pickle.HIGHEST_PROTOCOL), rows
  except Exception as e:  # pylint: disable=broad-exception-caught
    return False, pickle.dumps(portable(e)), rows

"""The engine of Ray: actors, of this machine or of a cluster that is named.

Ray is an extra and is imported when an engine is made. The machines of a
cluster see the files of the work, and this package, under the same paths.
"""

from collections.abc import Iterator, Sequence
import contextlib
import importlib
import os
import pickle
import sys
from typing import Any

from esmm_jax import streams
from esmm_jax.engines import ray_start, worker
from esmm_jax.engines.engine import Engine, Function, Tell
from esmm_jax.engines.job import Job
from esmm_jax.engines.shared import Last, save
from esmm_jax.types import InputError

_SILENCE = 20.0  # Seconds without a worker before a line says so.


class OnRay(Engine):
  """Does parts in actors of Ray, which have one processor each."""

  def __init__(self, workers: int = 0, address: str = ''):
    """Starts Ray, or joins it. Before JAX is used, if that can be: Ray forks.

    Args:
      workers: Actors; 0: as many as there are processors.
      address: Of a running cluster, as `10.0.0.1:6379`; 'auto' for the one of
        this machine. '': a Ray of its own, which `close` ends. Where the
        program has joined a Ray by itself, that one is used and stays.

    Raises:
      InputError: Ray is not installed, nothing answers at the address, or the
        cluster has fewer processors than workers.
    """
    safe = {} if address else ray_start.safe()
    with ray_start.silent(), ray_start.environment(safe):
      self._ray = ray = ray_start.load()
      self._is_ours = not ray.is_initialized()
      if self._is_ours:
        ray_start.join(ray, workers, address)
    try:
      num = int(ray.cluster_resources().get('CPU', 0))
      self.workers = workers or max(1, num)
      if self.workers > num:
        raise InputError(
            f'--workers={self.workers}: the cluster has {num} processors,'
            ' and each worker takes one. Set fewer, or add machines.'
        )
    except BaseException:
      self.close()
      raise
    self._idle: list[Any] = []

  def map(
      self,
      function: Function,
      shared: Any,
      parts: Sequence[Any],
      folder: str,
      tell: Tell,
  ) -> Iterator[Any]:
    """See the base class; rows are told of when a part is done.

    Raises:
      InputError: See `Job.results`.
    """
    path = save(shared, folder)
    try:
      with open(path, 'rb') as f:
        content = [self._ray.put(f.read())]  # In a list it is not fetched.
    finally:
      os.remove(path)
    call = lambda k: (function, path, content, parts[k])
    job = _Job(self, call, len(parts), tell)
    try:
      yield from job.results()
    finally:
      job.stop()

  def take(self) -> Any:
    """Returns an actor without work, a new one if need be."""
    if self._idle:
      return self._idle.pop()
    actor = self._ray.remote(_Actor).options(num_cpus=1, max_restarts=0)
    return actor.remote(list(sys.path) if self._is_ours else [])

  def give_back(self, actor: Any) -> None:
    """Takes an actor that has done its part."""
    self._idle.append(actor)

  def end(self, actor: Any) -> None:
    """Ends an actor, in the middle of a part too."""
    self._ray.kill(actor)

  def close(self) -> None:
    """See the base class; ends Ray too, if it was started or joined here."""
    for actor in self.__dict__.pop('_idle', []):
      self.end(actor)
    if self._is_ours:
      self._ray.shutdown()


class _Actor:
  """Does parts in a process of Ray."""

  def __init__(self, path: list[str]):
    """Takes `sys.path` of the program; [] to leave it."""
    sys.path[:] = path or sys.path
    self._last = Last()

  def do(
      self, function: Function, name: str, content: list[Any], part: Any
  ) -> tuple[int, bytes]:
    """Does a part; returns the rows that it told of, and `worker.answer`."""
    import ray

    told: list[int] = []
    load = lambda: self._last.load(name, lambda: ray.get(content[0]))
    answer = worker.answer(function, load, part, told.append)
    return sum(told), answer


class _Job(Job):
  """Parts that actors do."""

  def __init__(self, engine: OnRay, call: Any, num: int, tell: Tell):
    super().__init__(engine.workers, num)
    self._engine, self._call, self._tell = engine, call, tell
    self._ray = importlib.import_module('ray')
    self._begun = self._warned = False

  def begin(self, k: int) -> None:
    """See the base class."""
    actor = self._engine.take()
    self.busy[actor.do.remote(*self._call(k))] = actor, k

  def hear(self) -> None:
    """See the base class."""
    ready, _ = self._ray.wait(list(self.busy), timeout=_SILENCE)
    for call in ready:
      self._hear(call)
    if not ready:
      self._warn_of_silence()

  def stop(self) -> None:
    """See the base class."""
    for actor, _ in self.busy.values():
      self._engine.end(actor)
    self.busy.clear()

  def _hear(self, call: Any) -> None:
    """Takes the result of a part, or the loss of its actor."""
    actor, k = self.busy.pop(call)
    try:
      told, message = self._ray.get(call)
    except self._ray.exceptions.RayError as e:
      with contextlib.suppress(Exception):  # It is mostly gone.
        self._engine.end(actor)
      reason = str(e).partition('\n')[0].rstrip('.')
      lost = f'a worker of Ray was lost, by {type(e).__name__}'
      self.lose(k, lost, f' ({reason})')
      return
    self._begun = True
    self._tell(told)
    self.take(k, pickle.loads(message))
    self._engine.give_back(actor)

  def _warn_of_silence(self) -> None:
    """Says, once, that the cluster gives no worker, which Ray does not."""
    if self._begun or self._warned:
      return
    free = self._ray.available_resources().get('CPU', 0)
    if free < 1:
      self._warned = True
      streams.warn(
          f'{len(self.busy)} workers wait for processors: the cluster has'
          f' {free:g} free. Another job may hold them.'
      )

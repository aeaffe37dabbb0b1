"""Slots of Ray: programs on the machines of a cluster, or of this one."""

from collections.abc import Mapping, Sequence
import contextlib
import math
import os
import queue
import sys
import time
from typing import Any

from esmm_jax import streams
from esmm_jax.cores import cores
from esmm_jax.engines import ray_start
from esmm_jax.engines.program import Call, End, Line, Program
from esmm_jax.engines.shares import threads
from esmm_jax.engines.slots import Slots, Told
from esmm_jax.types import InputError

_SECONDS = 1.0  # In which `hear` looks for what programs say.
_SILENCE = 20.0  # Seconds without a program before a line says so.
_LOST = -9  # Exit code of a program whose machine or actor is lost.
# Variables by which the numbers of a program are those of this machine.
_SAME = ('JAX_', 'XLA_', 'TF_')


class OnRay(Slots):
  """Runs each program by an actor of Ray, which has the resources."""

  def __init__(
      self, workers: int | None, resources: Mapping[str, float], address: str
  ):
    """Starts Ray, or joins it. Before JAX is used, if that can be: Ray forks.

    Args:
      workers: Programs at once; None: as many as there is room for.
      resources: Of each; {}: one GPU where there are any, else a processor.
      address: See `on_ray.OnRay`.

    Raises:
      InputError: See there.
    """
    safe = {} if address else ray_start.safe()
    need = dict(resources)
    with ray_start.silent(), ray_start.environment(safe):
      self._ray = ray = ray_start.load()
      self._is_ours = not ray.is_initialized()
      if self._is_ours:
        num = math.ceil((workers or 0) * need.get('CPU', 1))
        ray_start.join(ray, max(num, cores()), address)
    self._workers, self._is_local = workers, self._is_ours and not address
    if not need:
      need = {'GPU' if ray.cluster_resources().get('GPU') else 'CPU': 1.0}
    self._need = need
    self._calls: dict[Any, Any] = {}  # Call -> its actor.
    self._begun: set[Any] = set()  # Actors that have said something.
    self._ended: list[Told] = []  # Not yet told.
    self._since, self._warned = time.monotonic(), False
    try:
      self._check()
    except BaseException:
      self.close()
      raise

  @property
  def num(self) -> int:
    """See the base class; machines may join and leave."""
    return self._workers or max(1, self._room())

  def begin(self, call: Call) -> Any:
    """See the base class."""
    need = dict(self._need)
    options = {
        'num_cpus': need.pop('CPU', 0),
        'num_gpus': need.pop('GPU', 0),
        'resources': need,
        'max_restarts': 0,
        'max_concurrency': 2,  # So that `stop` comes while `hear` waits.
    }
    call = call._replace(request={**call.request, 'cores': ()})
    path = list(sys.path) if self._is_local else []
    with ray_start.silent():
      actor = (
          self._ray.remote(_Actor)
          .options(**options)
          .remote(call, path, os.getcwd(), self._environment())
      )
    self._calls[actor.hear.remote()] = actor
    self._since = time.monotonic()
    return actor

  def hear(self) -> list[Told]:
    """See the base class."""
    if self._ended or not self._calls:
      ended, self._ended = self._ended, []
      return ended
    ready, _ = self._ray.wait(
        list(self._calls), num_returns=1, timeout=_SECONDS
    )
    told: list[Told] = []
    for call in ready:
      actor = self._calls.pop(call)
      try:
        heard = self._ray.get(call)
      except self._ray.exceptions.RayError as e:
        self._end(actor)
        reason = str(e).partition('\n')[0].rstrip('.')
        why = f'{type(e).__name__} of Ray ({reason})'
        told.append((actor, End(_LOST, why=why)))
        continue
      self._warned = True
      self._begun.add(actor)
      told += [(actor, one) for one in heard]
      if heard and isinstance(heard[-1], End):
        self._end(actor)
      else:
        self._calls[actor.hear.remote()] = actor
    if not ready and time.monotonic() - self._since > _SILENCE:
      self._warn_of_silence()
    return told

  def stop(self) -> None:
    """See the base class."""
    for call, actor in list(self._calls.items()):
      if actor in self._begun:
        with contextlib.suppress(self._ray.exceptions.RayError):
          actor.stop.remote()
        continue
      # It may wait for a machine. Its program, if any, sees that it is gone.
      del self._calls[call]
      self._end(actor)
      self._ended.append((actor, End(_LOST)))

  def close(self) -> None:
    """See the base class; ends Ray too, if it was started or joined here."""
    for actor in self._calls.values():
      self._end(actor)
    self._calls.clear()
    if self._is_ours:
      self._ray.shutdown()

  def _end(self, actor: Any) -> None:
    with contextlib.suppress(Exception):  # It is mostly gone.
      self._ray.kill(actor)

  def _room(self) -> int:
    """Returns how many programs there are resources for, in all."""
    every = self._ray.cluster_resources()
    return int(min(every.get(k, 0) // v for k, v in self._need.items()))

  def _check(self) -> None:
    """Refuses what a Ray of this machine will never have."""
    if self._room() >= (self._workers or 1):
      return
    every = self._ray.cluster_resources()
    has = ', '.join(f'{k}={every.get(k, 0):g}' for k in self._need)
    text = ','.join(f'{k}={v:g}' for k, v in self._need.items())
    if self._is_local:
      raise InputError(
          f'--resources={text}: this machine has {has}, for'
          f' {self._workers or 1} at once. Ask for less, or name a cluster with'
          ' --ray_address.'
      )
    streams.warn(
        f'the cluster has {has}; --resources={text} for'
        f' {self._workers or 1} at once waits for machines.'
    )

  def _environment(self) -> dict[str, str | None]:
    """Returns the variables on which numbers depend, as they are here."""
    chosen = {k: v for k, v in os.environ.items() if k.startswith(_SAME)}
    # Ray sets it, to the processors of an actor.
    omp = {'OMP_NUM_THREADS': os.environ.get('OMP_NUM_THREADS')}
    return chosen | omp | ({} if self._need.get('GPU') else threads())

  def _warn_of_silence(self) -> None:
    """Says, once, that the cluster begins nothing, which Ray does not."""
    if self._warned:
      return
    self._warned = True
    free = self._ray.available_resources()
    has = ', '.join(f'{k}={free.get(k, 0):g}' for k in self._need)
    streams.warn(
        f'{len(self._calls)} programs wait for resources: the cluster has {has}'
        ' free. Another job may hold them.'
    )


class _Actor:
  """Runs a program, and hands on what it says."""

  def __init__(
      self,
      call: Call,
      path: Sequence[str],
      folder: str,
      environment: Mapping[str, str | None],
  ):
    """Starts the program.

    Args:
      call: See `Program`.
      path: Its `sys.path`; () for that of this process, behind `folder`.
      folder: Its working folder, where this machine has it.
      environment: See `Program`.
    """
    if os.path.isdir(folder):
      os.chdir(folder)
    path = path or [folder, *sys.path]
    self._heard: queue.SimpleQueue[Line | End] = queue.SimpleQueue()
    self._program = Program(call, self._heard.put, path, environment)

  def hear(self) -> list[Line | End]:
    """Waits a moment for what the program says; its end comes last."""
    told: list[Line | End] = []
    with contextlib.suppress(queue.Empty):
      told.append(self._heard.get(timeout=_SECONDS))
      while True:
        told.append(self._heard.get_nowait())
    return told

  def stop(self) -> None:
    """Sends SIGTERM to the program."""
    self._program.stop()

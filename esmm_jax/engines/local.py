"""The engine of processes on this machine.

They are started anew and not forked: JAX and Arrow have threads, which a fork
would leave in the middle of what they do. Nor do they run the program's main
module, as `multiprocessing` has it, so any script may start them; and nothing
in them imports JAX.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
import multiprocessing
from multiprocessing.connection import wait
import os
import pickle
import signal
import subprocess
import sys
from typing import Any

from esmm_jax import streams
from esmm_jax.cores import cores
from esmm_jax.engines import worker
from esmm_jax.engines.engine import Engine, Function, Tell
from esmm_jax.engines.shared import save
from esmm_jax.types import InputError

_TRIES = 3  # Of a part whose worker is lost.
_AHEAD = 2  # Parts for each worker whose results may wait for an earlier one.
_START = (
    'import sys; sys.path[:] = {path!r}\n'
    'from esmm_jax.engines.worker import serve; serve({number})'
)


class _Worker:
  """A process, and this end of its pipe.

  Attributes:
    connection: See `worker.serve`.
    told: Rows of the part in work that it has told of.
  """

  def __init__(self, num_threads: int):
    self.connection, theirs = multiprocessing.Pipe()
    self.told = 0
    number = theirs.fileno()
    import pyarrow as pa  # Not where no process is started.

    backend = pa.default_memory_pool().backend_name
    try:
      self._process = subprocess.Popen(
          [sys.executable, '-c', _START.format(path=sys.path, number=number)],
          stdin=subprocess.DEVNULL,
          stdout=subprocess.DEVNULL,
          pass_fds=[number],
          env=os.environ
          | {
              'ARROW_DEFAULT_MEMORY_POOL': backend,
              'OMP_NUM_THREADS': str(num_threads),
          },
          # Signals of the terminal are for the program alone.
          start_new_session=True,
      )
    finally:
      theirs.close()

  def end(self) -> int:
    """Ends the process; returns its exit code, -9 of signal 9."""
    self.connection.close()
    self._process.kill()
    return self._process.wait()

  def lost(self) -> int:
    """Waits for the end of a process whose pipe is closed, likewise."""
    self.connection.close()
    try:
      return self._process.wait(10)
    except subprocess.TimeoutExpired:
      return self.end()


class Processes(Engine):
  """Does parts in processes of this machine."""

  def __init__(self, workers: int):
    """Takes the number of processes, which start with the first parts."""
    self.workers = workers
    self._idle: list[_Worker] = []
    self._num_threads = max(1, cores() // workers)

  def map(
      self,
      function: Function,
      shared: Any,
      parts: Sequence[Any],
      folder: str,
      tell: Tell,
  ) -> Iterator[Any]:
    """See the base class.

    Raises:
      InputError: Workers were lost `_TRIES` times in one part.
    """
    path = save(shared, folder)
    job = _Job(self, function, path, parts, tell)
    try:
      yield from job.results()
    finally:
      job.stop()
      os.remove(path)

  def take(self) -> _Worker:
    """Returns a worker without work, a new one if need be."""
    return self._idle.pop() if self._idle else _Worker(self._num_threads)

  def give_back(self, one: _Worker) -> None:
    """Takes a worker that has done its part."""
    self._idle.append(one)

  def close(self) -> None:
    """See the base class."""
    while self._idle:
      self._idle.pop().end()


class _Job:
  """One call of `map`: which parts are to do, in work and done."""

  def __init__(
      self,
      engine: Processes,
      function: Function,
      path: str,
      parts: Sequence[Any],
      tell: Tell,
  ):
    self._engine, self._tell = engine, tell
    self._call = lambda k: (function, path, parts[k])
    self._num = len(parts)
    self._todo = list(range(self._num))[::-1]  # The next one is the last.
    self._busy: dict[Any, tuple[_Worker, int]] = {}
    self._done: dict[int, tuple[str, Any]] = {}
    self._losses: Counter[int] = Counter()

  def results(self) -> Iterator[Any]:
    """Yields the results in order."""
    for turn in range(self._num):
      while turn not in self._done:
        self._begin(turn)
        for connection in wait(list(self._busy)):
          self._hear(connection)
      kind, value = self._done.pop(turn)
      if kind == worker.FAILED:
        raise value
      self._begin(turn + 1)  # What comes out now takes time to be added up.
      yield value

  def stop(self) -> None:
    """Ends the workers that are at work."""
    for one, _ in self._busy.values():
      one.end()
    self._busy.clear()

  def _begin(self, turn: int) -> None:
    """Gives parts to workers, not too far ahead of the one whose turn it is."""
    end = turn + _AHEAD * self._engine.workers
    while (
        self._todo
        and self._todo[-1] < end
        and len(self._busy) < self._engine.workers
    ):
      k, one = self._todo.pop(), self._engine.take()
      one.told = 0
      self._busy[one.connection] = one, k
      try:
        one.connection.send(self._call(k))
      except OSError:  # It was lost; its end of the pipe will say so.
        pass

  def _hear(self, connection: Any) -> None:
    """Takes a message of a worker."""
    one, k = self._busy[connection]
    try:
      kind, value = pickle.loads(connection.recv_bytes())
    except (EOFError, OSError):
      self._lose(connection)
      return
    if kind == worker.TOLD:
      one.told += value
      self._tell(value)
      return
    self._done[k] = kind, value
    del self._busy[connection]
    self._engine.give_back(one)

  def _lose(self, connection: Any) -> None:
    """Puts the part of a lost worker back."""
    one, k = self._busy.pop(connection)
    code = one.lost()
    end = f'exit code {code}'
    if code < 0:
      end = f'signal {-code} ({signal.Signals(-code).name})'
    self._losses[k] += 1
    if self._losses[k] >= _TRIES:
      raise InputError(
          f'a worker process was lost, by {end}, {_TRIES} times at part {k + 1}'
          f' of {self._num}. Where memory runs out, the system ends processes:'
          ' set fewer --workers. Nothing half-written is left.'
      )
    streams.warn(
        f'a worker process was lost, by {end}; another one does its part,'
        f' {k + 1} of {self._num}, again.'
    )
    self._tell(-one.told)
    self._todo.append(k)
    self._todo.sort(reverse=True)

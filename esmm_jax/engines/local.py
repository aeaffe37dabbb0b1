"""The engine of processes on this machine.

They are started anew and not forked: JAX and Arrow have threads, which a fork
would leave in the middle of what they do. Nor do they run the program's main
module, as `multiprocessing` has it, so any script may start them; and nothing
in them imports JAX.
"""

from collections.abc import Iterator, Sequence
import multiprocessing
from multiprocessing.connection import wait
import os
import pickle
import signal
import subprocess
import sys
from typing import Any

from esmm_jax.cores import cores
from esmm_jax.engines import worker
from esmm_jax.engines.engine import Engine, Function, Tell
from esmm_jax.engines.job import Job
from esmm_jax.engines.shared import save

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
      InputError: See `Job.results`.
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


class _Job(Job):
  """Parts that processes do."""

  def __init__(
      self,
      engine: Processes,
      function: Function,
      path: str,
      parts: Sequence[Any],
      tell: Tell,
  ):
    super().__init__(engine.workers, len(parts))
    self._engine, self._tell = engine, tell
    self._call = lambda k: (function, path, parts[k])

  def begin(self, k: int) -> None:
    """See the base class."""
    one = self._engine.take()
    one.told = 0
    self.busy[one.connection] = one, k
    try:
      one.connection.send(self._call(k))
    except OSError:  # It was lost; its end of the pipe will say so.
      pass

  def hear(self) -> None:
    """See the base class."""
    for connection in wait(list(self.busy)):
      one, k = self.busy[connection]
      try:
        kind, value = pickle.loads(connection.recv_bytes())
      except (EOFError, OSError):
        self._end(connection)
        continue
      if kind == worker.TOLD:
        one.told += value
        self._tell(value)
        continue
      self.take(k, (kind, value))
      del self.busy[connection]
      self._engine.give_back(one)

  def stop(self) -> None:
    """See the base class."""
    for one, _ in self.busy.values():
      one.end()
    self.busy.clear()

  def _end(self, connection: Any) -> None:
    """Ends a worker that was lost; what it told of is not done."""
    one, k = self.busy.pop(connection)
    code = one.lost()
    end = f'exit code {code}'
    if code < 0:
      end = f'signal {-code} ({signal.Signals(-code).name})'
    self.lose(k, f'a worker process was lost, by {end}')
    self._tell(-one.told)

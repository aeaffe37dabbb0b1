"""Tells a tracker of a run, from a thread of its own.

The run's folder keeps in `tracking/NAME.json` the id of the tracked run and the
last step that it has. A run that resumes goes on with it: what is there is not
told again, and what is not there, because the tracker was away or not asked
for, is told from metrics.jsonl.
"""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import os
import queue
import threading
from typing import Any

from esmm_jax.json_files import read_json, write_json
from esmm_jax.tracking import contents
from esmm_jax.tracking.tracker import TrackedRun, Tracker

FOLDER = 'tracking'
# Seconds for what a tracker still has to be told, at the end of a run and where
# it is stopped: whoever stops it may not wait longer.
PATIENCE = {True: 60.0, False: 20.0}


class Worker:
  """A thread that talks to one tracker, for all runs of this process.

  Attributes:
    stuck: True once it did not come to an end in time.
  """

  def __init__(self, name: str):
    self.stuck = False
    self._tasks: queue.SimpleQueue[Callable[[], None] | None] = (
        queue.SimpleQueue()
    )
    # A tracker that hangs must not keep the process from ending.
    self._thread = threading.Thread(
        target=self._work, name=f'tracker {name}', daemon=True
    )

  def do(self, task: Callable[[], None]) -> None:
    """Does something later, in order; it must not raise an error."""
    if not self._thread.is_alive() and not self.stuck:
      self._thread.start()
    self._tasks.put(task)

  def finish(self, seconds: float) -> bool:
    """Waits for what was asked for; returns whether all of it is done."""
    if self.stuck:
      return False
    done = threading.Event()
    self.do(done.set)
    self.stuck = not done.wait(seconds)
    return not self.stuck

  def end(self) -> None:
    """Ends the thread, after what was asked for."""
    self._tasks.put(None)

  def _work(self) -> None:
    while (task := self._tasks.get()) is not None:
      task()


class Recorder:
  """One run and one tracker.

  The methods return at once, but for `close`.
  """

  def __init__(
      self,
      name: str,
      make: Callable[[], Tracker],
      run: TrackedRun,
      worker: Worker,
      warn: Callable[[str], None],
  ):
    """Prepares to follow a run.

    Args:
      name: Of the tracker.
      make: Makes it.
      run: The run, without its id.
      worker: Does the work.
      warn: Gets a line if the tracker fails; then it is told no more.
    """
    self._name, self._make, self._run = name, make, run
    self._worker, self._warn = worker, warn
    file = f'{name.rpartition(":")[2]}.json'
    self._path = os.path.join(run.workdir, FOLDER, file)
    # Of the thread alone, from here on.
    self._tracker: Tracker | None = None
    self._step = -1
    self._error: Exception | None = None
    self._warned = self._ended = False

  def start(self, lines: Sequence[Mapping[str, Any]]) -> None:
    """Begins; tells what metrics.jsonl has and the tracker lacks.

    Args:
      lines: Of metrics.jsonl, up to where the run is.
    """
    self._later(self._start, [dict(line) for line in lines])

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Tells the metrics of a step; those of the test come with the results."""
    self._later(self._write, step, dict(metrics))

  def end(self, results: Mapping[str, Any]) -> None:
    """Tells the results of a run that has finished."""
    self._ended = True
    self._later(self._close, dict(results))

  def close(self) -> None:
    """Ends a run that has not finished, and waits for the tracker."""
    seconds = PATIENCE[self._ended]
    if not self._ended:
      self._ended = True
      self._later(self._close, None)
    if not self._worker.finish(seconds) and not self._warned:
      self._warned = True
      self._warn(
          f'--track={self._name} did not answer in {seconds:.0f} seconds and'
          ' lacks what came last; the run has all of it.'
      )
    self._look()

  def _later(self, task: Callable[..., None], *args: Any) -> None:
    self._look()
    if not self._warned:
      self._worker.do(lambda: self._try(task, *args))

  def _look(self) -> None:
    """Warns of a failure, once."""
    error = self._error
    if error is not None and not self._warned:
      self._warned = True
      why = ' '.join(str(error).split()) or 'no reason'
      self._warn(
          f'--track={self._name} is told no more, while the run continues:'
          f' {type(error).__name__}: {why[:200]}'
      )

  def _try(self, task: Callable[..., None], *args: Any) -> None:
    if self._error is None:
      try:
        task(*args)
      except Exception as e:  # Whatever a library, or somebody's code, raises.
        self._error = e

  def _start(self, lines: Sequence[Mapping[str, Any]]) -> None:
    noted = read_json(self._path) or {}
    self._step = int(noted.get('step', -1))
    self._tracker = self._make()
    run = self._run._replace(id=str(noted.get('id', '')))
    self._run = run._replace(id=str(self._tracker.start(run)))
    self._note()
    for line in lines:
      metrics = {k: v for k, v in line.items() if k not in ('step', 'time')}
      self._write(int(line['step']), metrics)

  def _write(self, step: int, metrics: Mapping[str, Any]) -> None:
    numbers = {
        k: v
        for k, v in metrics.items()
        if contents.is_number(k, v) and not k.startswith('test/')
    }
    if self._tracker is not None and step > self._step and numbers:
      self._tracker.write(step, numbers)
      self._step = step
      self._note()

  def _close(self, results: Mapping[str, Any] | None) -> None:
    if self._tracker is not None:
      self._tracker.close(results)

  def _note(self) -> None:
    with contextlib.suppress(FileExistsError):
      os.mkdir(os.path.dirname(self._path))  # Not a run that was taken away.
    write_json(self._path, {'id': self._run.id, 'step': self._step})

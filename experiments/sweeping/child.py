"""The program of a process that trains one group of a sweep.

`several` starts it, in a slot of this machine or of another one.
"""

import os
import pickle
import signal
import sys
import threading
from typing import Any, NamedTuple

from esmm_jax import streams


class Group(NamedTuple):
  """A group of runs to train.

  Attributes:
    configs: Run -> its config.
    workdir: Folder of the sweep.
    command: Noted in each run's origin.json.
    data_dir: Folder of prepared data; None: the default one.
    quiet: Prints warnings alone.
    tracked: As `tracking.using` takes it.
  """

  configs: dict[str, Any]
  workdir: str
  command: str
  data_dir: str | None
  quiet: bool
  tracked: tuple[tuple[str, ...], str, bool] = ((), '', False)


def serve(number: int) -> None:
  """Trains the group that stdin brings.

  The exit codes are those of all programs (`cli.EXIT_CODES`); a run that fails
  is part of the answer.

  Args:
    number: File descriptor that the answer goes to: the pickle of run -> its
      error, or None.
  """
  from esmm_jax.workdir import stopping

  streams.guard()
  # Not when Python ends: what it drops then is of no interest.
  sys.stdin.close = lambda: None
  try:
    with stopping.ending():
      request = pickle.load(sys.stdin.buffer)
      threading.Thread(target=_end_with_stdin, daemon=True).start()
      ends = _trained(request['group'], request['cores'])
      with open(number, 'wb') as answer:
        pickle.dump(ends, answer)
  except stopping.Stopped as e:
    streams.progress(str(e))
    code = e.code
  else:
    code = 0
  sys.stdout.flush()
  sys.stderr.flush()
  # Threads of libraries are not waited for, nor is what reads stdin.
  os._exit(code)


def _end_with_stdin() -> None:
  """Stops this process, with a checkpoint, when its parent is gone."""
  from esmm_jax.workdir import stopping

  sys.stdin.buffer.read(1)
  if not stopping.is_asked():  # A second signal would end it at once.
    os.kill(os.getpid(), signal.SIGTERM)


def _trained(
    group: Group, cores: tuple[int, ...]
) -> dict[str, Exception | None]:
  """Trains a group; returns run -> its error, or None."""
  from esmm_jax.doctor.allocator import keep_scratch, return_arrow_memory
  from esmm_jax.engines.worker import portable
  from esmm_jax.workdir import provenance, stopping
  from esmm_jax.experiments.sweeping import runs
  from esmm_jax import tracking

  keep_scratch()
  return_arrow_memory()
  try:
    runs.cache_compiled(group.workdir)
    _pin(cores)
    stopping.check()
    origin = provenance.origin(group.command)
    # One that this machine lacks is no reason not to train.
    tracked = tracking.using(*group.tracked, check=False)
    with streams.quiet(group.quiet), tracked:
      ends = runs.train_group(
          group.configs, group.workdir, origin, group.data_dir
      )
  except Exception as e:  # pylint: disable=broad-exception-caught
    stopping.check()
    ends = dict.fromkeys(group.configs, e)
  return {name: end and portable(end) for name, end in ends.items()}


def _pin(cores: tuple[int, ...]) -> None:
  """Lets all threads of this process run on some cores alone.

  Libraries count the cores when they start, and the order of their sums goes by
  that number: they start before, and sum as if they had all cores.
  """
  if not cores or not os.path.isdir('/proc/self/task'):
    return
  import jax
  import numpy as np
  import scipy.linalg

  jax.devices()
  scipy.linalg.inv(np.eye(2) + np.ones((2, 2)))
  for thread in os.listdir('/proc/self/task'):
    try:
      os.sched_setaffinity(int(thread), cores)
    except OSError:  # It has ended, or it is not for us to choose.
      pass

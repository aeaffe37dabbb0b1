"""Heartbeats: a process ends when another one of its run is gone.

A process that is killed or stopped leaves the others waiting in a collective,
possibly for ever, or with an error that does not name it. So each process
writes a heartbeat to a file beside the checkpoints, and ends when the heartbeat
of another one is too old. All processes must see that folder, as they must see
the checkpoints.
"""

from collections.abc import Iterator
import contextlib
import os
import shutil
import socket
import tempfile
import threading
import time

from esmm_jax import ownership
from esmm_jax.parallel.processes import is_connection_error, is_first, lost
from esmm_jax.parallel.processes import wait_for_all
from esmm_jax.whole_files import SUFFIX
import jax
import numpy as np

FOLDER = '.processes'
# Instead of a heartbeat: the process has ended well, or with an error of its
# own, which it prints.
_DONE, _FAILED = 'done', 'failed'
# Seconds for which a process that failed too may print its own error.
_GRACE = 5.0


@contextlib.contextmanager
def watching(workdir: str, timeout: float) -> Iterator[None]:
  """Ends this process if another one is gone, and says which.

  Args:
    workdir: A folder that all processes see.
    timeout: Greatest age of a heartbeat, in seconds.

  Raises:
    InputError: The folder is somebody else's.
  """
  if jax.process_count() == 1:
    yield
    return
  from jax.experimental import multihost_utils

  ownership.check(workdir, ownership.RUN)
  if is_first():  # Before the heartbeats stand there.
    ownership.claim(workdir, ownership.RUN)
  # A name that no earlier start had, so that no old heartbeat is read.
  # JAX would cut 64 bits, and leave a negative number.
  start = np.int32(time.time_ns() % (1 << 31) if is_first() else 0)
  start = int(multihost_utils.broadcast_one_to_all(start))
  folder = os.path.join(workdir, FOLDER, str(start))
  os.makedirs(folder, exist_ok=True)
  watch = _Watch(folder, timeout)
  thread = threading.Thread(target=watch.run, daemon=True)
  thread.start()
  try:
    yield
  except Exception as e:
    # What another process has caused may look like an error of the disk, say.
    if name := _killed(folder):
      lost(f'{name} was killed.')
    if is_connection_error(e):
      watch.name_soon()  # And ends this process.
    else:
      _show(folder, _FAILED)
    raise
  finally:
    watch.over.set()
    thread.join()
  _show(folder, _DONE)
  wait_for_all('done')
  if is_first():
    _remove(os.path.join(workdir, FOLDER))


def _remove(folder: str) -> None:
  """Removes the folders of all starts; what else is there stays."""
  with contextlib.suppress(OSError):  # The run's folder may be gone.
    for name in os.listdir(folder):
      if name.isdecimal():
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    os.rmdir(folder)


class _Watch:
  """Writes the heartbeat of this process and checks those of the others.

  Attributes:
    over: Ends `run` when it is set.
  """

  def __init__(self, folder: str, timeout: float):
    self._folder, self._timeout = folder, timeout
    self._every = min(1.0, timeout / 4)
    self.over = threading.Event()

  def run(self) -> None:
    """Watches until `over`; ends the process if another one is gone."""
    seen = dict.fromkeys(_others(), ('', time.monotonic()))
    count = 0
    while not self.over.wait(self._every):
      count += 1
      who = f'process {os.getpid()} on {socket.gethostname()}'
      _show(self._folder, f'{count} {who}')
      now = time.monotonic()
      for k, (before, since) in seen.items():
        text = _read(self._folder, k)
        if text not in ('', before) and text not in (_DONE, _FAILED):
          seen[k] = text, now
        elif text == _FAILED and now - since > _GRACE:
          lost(f'process {k} has ended with an error, which it printed.')
        elif text not in (_DONE, _FAILED) and now - since > self._timeout:
          who = before.partition(' ')[2] or 'which has not begun'
          lost(
              f'process {k} ({who}) has not been heard of for'
              f' {self._timeout:g} s; it was killed, stopped or cut off.'
          )

  def name_soon(self) -> None:
    """Waits until `run` has named who is gone, now that one surely is."""
    timeout = self._timeout
    self._timeout = min(timeout, _GRACE)
    self.over.wait(timeout + _GRACE)


def _others() -> list[int]:
  me, num = jax.process_index(), jax.process_count()
  return [k for k in range(num) if k != me]


def _killed(folder: str) -> str:
  """Returns the name of a process of this machine that is no more; or ''."""
  for k in _others():
    _, _, who = _read(folder, k).partition(' process ')
    number, _, host = who.partition(' on ')
    if number.isdigit() and host == socket.gethostname():
      try:
        os.kill(int(number), 0)
      except ProcessLookupError:
        return f'process {k} (process {who})'
      except PermissionError:
        pass
  return ''


def _show(folder: str, text: str) -> None:
  """Writes this process's heartbeat, whole or not at all.

  Not synchronised with the disk, which may take longer than a heartbeat while
  a checkpoint is written.
  """
  path = os.path.join(folder, str(jax.process_index()))
  try:
    number, temporary = tempfile.mkstemp(SUFFIX, '.', folder)
    try:
      with open(number, 'w', encoding='utf-8') as f:
        f.write(text)
      os.replace(temporary, path)
    except OSError:
      os.remove(temporary)
  except OSError:
    pass  # The disk is full, or the folder is gone: training will say so.


def _read(folder: str, process: int) -> str:
  """Reads the heartbeat of a process; '' if there is none."""
  try:
    with open(os.path.join(folder, str(process)), encoding='utf-8') as f:
      return f.read()
  except OSError:
    return ''

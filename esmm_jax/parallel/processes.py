"""Several processes that train one run: joining, watching, stopping together.

`jax.distributed` connects them. All run the same program on the same data; the
first one alone writes what people read. A process that is killed or stopped
leaves the others waiting in a collective, possibly for ever. So each process
writes a heartbeat to a file beside the checkpoints, and ends when the heartbeat
of another one is too old. All processes must see that folder, as they must see
the checkpoints.
"""

from collections.abc import Iterator, Sequence
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import time

from esmm_jax import ownership, streams
from esmm_jax.types import InputError
from esmm_jax.whole_files import SUFFIX
import jax
import numpy as np

EXIT_CODE = int(signal.SIGABRT)  # 6; see `_end_without_a_dump`.
FOLDER = '.processes'
AUTO = 'auto'
_DONE = 'done'
# XLA begins an error's text with its status. These are of the coordination
# service and of barriers alone; the others also of errors in this process, of
# which a collective names its library or the connection.
_UNREACHABLE = re.compile(r'\b(ABORTED|DEADLINE_EXCEEDED|UNAVAILABLE): ')
_COLLECTIVE = re.compile(
    r'\b(CANCELLED|INTERNAL|UNKNOWN): .*'
    r'(gloo|nccl|coordination|connection|heartbeat)',
    re.DOTALL | re.IGNORECASE,
)


def join(
    coordinator: str, num_processes: int | None, process_id: int | None
) -> None:
  """Connects this process with the others.

  It must be called before anything else uses JAX.

  Args:
    coordinator: host:port where the first process listens, or 'auto' to ask
      the cluster (Slurm, Open MPI, Kubernetes, Cloud TPU).
    num_processes: Number of processes; unused with 'auto'.
    process_id: Number of this process, from 0; unused with 'auto'.

  Raises:
    InputError: A flag is wrong, or the processes cannot be connected.
  """
  address = {}
  if coordinator != AUTO:
    if num_processes is None or process_id is None:
      raise InputError(
          f'--coordinator={coordinator} needs --num_processes and --process_id,'
          f' or --coordinator={AUTO} on a cluster that says them.'
      )
    if not 0 <= process_id < num_processes:
      raise InputError(
          f'--process_id={process_id} must be from 0 to {num_processes - 1},'
          ' below --num_processes.'
      )
    host, _, port = coordinator.rpartition(':')
    if not host or not port.isdigit():
      raise InputError(
          f'--coordinator={coordinator} must be HOST:PORT, where process 0 can'
          ' be reached.'
      )
    address = {
        'coordinator_address': coordinator,
        'num_processes': num_processes,
        'process_id': process_id,
    }
  _end_without_a_dump()
  # A pool of threads that is as small as the machine can be used up by
  # collectives that wait for each other.
  os.environ.setdefault('NPROC', '16')
  # The service would swallow SIGTERM, which `stopping` notes.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    # JAX's own heartbeat is off: `watching` names the process that was lost.
    jax.distributed.initialize(**address, heartbeat_timeout_seconds=86_400)
  except (RuntimeError, ValueError) as e:
    raise InputError(
        f'--coordinator={coordinator}: the processes cannot be connected:'
        f' {str(e).splitlines()[0]}'
    ) from e


def _end_without_a_dump() -> None:
  """Makes SIGABRT end the process with exit code 6 and without a core dump.

  JAX aborts, with a message, if the first process is lost, which runs the
  coordination service. The handler is `_exit` of the C library, called with the
  number of the signal; so the exit code is that of any process that lost
  another.
  """
  if os.name != 'posix':
    return
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(libc._exit, ctypes.c_void_p))


def is_first() -> bool:
  """Returns whether this process writes what people read."""
  return jax.process_index() == 0


def own_folders(
    folders: Sequence[str], stack: contextlib.ExitStack
) -> list[str]:
  """Returns the folders that this process writes to instead of `folders`.

  The first process writes to `folders`; the others to temporary folders, which
  are removed when `stack` is closed.
  """
  folders = list(dict.fromkeys(folders))
  if is_first():
    return folders
  return [
      stack.enter_context(tempfile.TemporaryDirectory()) for _ in folders
  ]


def wait_for_all(name: str) -> None:
  """Waits until every process has called this with the same name."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def any_of(value: bool) -> bool:
  """Returns whether any process has True; all must call it together."""
  if jax.process_count() == 1:
    return value
  from jax.experimental import multihost_utils

  return bool(multihost_utils.process_allgather(np.int32(value)).any())


@contextlib.contextmanager
def first_alone(name: str) -> Iterator[None]:
  """Runs the block in the first process before it runs in the others."""
  if not is_first():
    wait_for_all(name)
  yield
  if is_first():
    wait_for_all(name)


@contextlib.contextmanager
def watching(workdir: str, timeout: float) -> Iterator[None]:
  """Ends this process if the heartbeat of another one is too old.

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
  # A name that no earlier start had, so that no old heartbeat is read.
  start = np.int64(time.time_ns() if is_first() else 0)
  start = int(multihost_utils.broadcast_one_to_all(start))
  folder = os.path.join(workdir, FOLDER, str(start))
  os.makedirs(folder, exist_ok=True)
  over = threading.Event()
  thread = threading.Thread(
      target=_watch, args=(folder, timeout, over), daemon=True
  )
  thread.start()
  failed = True
  try:
    yield
    failed = False
  finally:
    over.set()
    thread.join()
    if not failed:
      _show(folder, _DONE)
      wait_for_all('done')
      if is_first():
        _remove_heartbeats(os.path.join(workdir, FOLDER))


def _remove_heartbeats(folder: str) -> None:
  """Removes the folders of all starts; what else is there stays."""
  with contextlib.suppress(OSError):  # The run's folder may be gone.
    for name in os.listdir(folder):
      if name.isdecimal():
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
    os.rmdir(folder)


def _watch(folder: str, timeout: float, over: threading.Event) -> None:
  """Writes the heartbeat of this process and checks those of the others."""
  me, num = jax.process_index(), jax.process_count()
  others = [k for k in range(num) if k != me]
  every = min(1.0, timeout / 4)
  seen = dict.fromkeys(others, ('', time.monotonic()))
  count = 0
  while not over.wait(every):
    count += 1
    _show(folder, f'{count} process {os.getpid()} on {socket.gethostname()}')
    now = time.monotonic()
    for k in others:
      text = _read(folder, k)
      if text not in ('', seen[k][0]):
        seen[k] = text, now
      elif text != _DONE and now - seen[k][1] > timeout:
        who = seen[k][0].partition(' ')[2] or 'which has not begun'
        lost(
            f'process {k} ({who}) has not been heard of for {timeout:g} s;'
            ' it was killed, stopped or cut off.'
        )


def is_connection_error(error: Exception) -> bool:
  """Returns whether an error means that another process cannot be reached.

  A failed all-gather is a JaxRuntimeError with `error_code`, but a jitted
  all-reduce is a plain ValueError when its result is waited for; both have the
  status in their text.
  """
  if not isinstance(error, (RuntimeError, ValueError)):
    return isinstance(error, ConnectionError)
  text = str(error)
  return bool(_UNREACHABLE.search(text) or _COLLECTIVE.search(text))


def lost(message: str) -> None:
  """Ends the process at once: others may never answer again."""
  streams.complain(
      f'error: {message} The same command in all processes goes on from the'
      ' last checkpoint.'
  )
  os._exit(EXIT_CODE)


def _show(folder: str, text: str) -> None:
  """Writes this process's heartbeat, whole or not at all."""
  path = os.path.join(folder, str(jax.process_index()))
  try:
    # Not synchronised, as `whole_files` would: it is read by the living alone,
    # and must not wait for a disk that is busy.
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

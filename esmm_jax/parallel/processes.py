"""Several processes that train one run: joining, watching, stopping together.

`jax.distributed` connects them. All run the same program on the same data; the
first one alone writes what people read. A process that is killed or stopped
leaves the others waiting in a collective, which may last for ever; so each
shows that it lives in a file beside the checkpoints, and ends when another has
not for too long. The folder must be one that all processes see, as that of the
checkpoints must be.
"""

from collections.abc import Iterator, Sequence
import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time

from esmm_jax.types import InputError
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
  """Connects this process with the others; before anything else uses JAX.

  Args:
    coordinator: host:port where the first process listens, or 'auto': what the
      cluster says (Slurm, Open MPI, Kubernetes, Cloud TPU).
    num_processes: How many there are; not with 'auto'.
    process_id: Which this is, from 0; not with 'auto'.

  Raises:
    InputError: They cannot be connected.
  """
  found = {}
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
    found = {
        'coordinator_address': coordinator,
        'num_processes': num_processes,
        'process_id': process_id,
    }
  _end_without_a_dump()
  # A pool of threads that is as small as the machine can be used up by
  # collectives that wait for each other.
  os.environ.setdefault('NPROC', '16')
  # It would swallow SIGTERM, which `stopping` notes.
  jax.config.update('jax_enable_preemption_service', False)
  try:
    # Who has died is found out by `watching`, which can say it.
    jax.distributed.initialize(**found, heartbeat_timeout_seconds=86_400)
  except (RuntimeError, ValueError) as e:
    raise InputError(
        f'--coordinator={coordinator}: the processes cannot be connected:'
        f' {str(e).splitlines()[0]}'
    ) from e


def _end_without_a_dump() -> None:
  """Makes SIGABRT the exit code 6, as of any process that lost another.

  JAX aborts, with a message, where the first process is lost, which has the
  service that connects them. The handler is `_exit` of the C library, which
  gets the number of the signal.
  """
  if os.name != 'posix':
    return
  libc = ctypes.CDLL(None)
  libc.signal.argtypes = [ctypes.c_int, ctypes.c_void_p]
  libc.signal.restype = ctypes.c_void_p
  libc.signal(signal.SIGABRT, ctypes.cast(libc._exit, ctypes.c_void_p))


def is_first() -> bool:
  """Whether this process writes what people read."""
  return jax.process_index() == 0


def own_folders(
    folders: Sequence[str], stack: contextlib.ExitStack
) -> list[str]:
  """Where this process writes what the first one writes into `folders`.

  Those that people do not read are removed when `stack` is closed.
  """
  folders = list(dict.fromkeys(folders))
  if is_first():
    return folders
  return [
      stack.enter_context(tempfile.TemporaryDirectory()) for _ in folders
  ]


def wait_for_all(name: str) -> None:
  """Returns when every process has come here."""
  if jax.process_count() > 1:
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices(name)


def any_of(mine: bool) -> bool:
  """Whether it holds in any process; all must ask at the same time."""
  if jax.process_count() == 1:
    return mine
  from jax.experimental import multihost_utils

  return bool(multihost_utils.process_allgather(np.int32(mine)).any())


@contextlib.contextmanager
def first_alone(name: str) -> Iterator[None]:
  """What is in here the first process does before the others do it."""
  if not is_first():
    wait_for_all(name)
  yield
  if is_first():
    wait_for_all(name)


@contextlib.contextmanager
def watching(workdir: str, timeout: float) -> Iterator[None]:
  """Ends this process if another one is not heard of for too long.

  Args:
    workdir: A folder that all of them see.
    timeout: Seconds.
  """
  if jax.process_count() == 1:
    yield
    return
  from jax.experimental import multihost_utils

  # A name that no earlier start had.
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
        shutil.rmtree(os.path.join(workdir, FOLDER))


def _watch(folder: str, timeout: float, over: threading.Event) -> None:
  """Shows that this process lives, and looks whether the others do."""
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


def is_of_connection(error: Exception) -> bool:
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
  print(
      f'error: {message} The same command in all processes goes on from the'
      ' last checkpoint.',
      file=sys.stderr,
      flush=True,
  )
  os._exit(EXIT_CODE)


def _show(folder: str, text: str) -> None:
  """Writes this process's file, whole."""
  path = os.path.join(folder, str(jax.process_index()))
  try:
    with open(path + '.tmp', 'w', encoding='utf-8') as f:
      f.write(text)
    os.replace(path + '.tmp', path)
  except OSError:
    pass  # The disk is full, or the folder is gone: training will say so.


def _read(folder: str, process: int) -> str:
  try:
    with open(os.path.join(folder, str(process)), encoding='utf-8') as f:
      return f.read()
  except OSError:
    return ''

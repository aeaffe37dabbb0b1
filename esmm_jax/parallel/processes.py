"""Several processes that train one run: joining and waiting for each other.

`jax.distributed` connects them. All run the same program on the same data; the
first one alone writes what people read. `heartbeats` ends those that another
one has left.
"""

from collections.abc import Iterator, Sequence
import contextlib
import ctypes
import os
import re
import signal
import socket
import tempfile

from esmm_jax import streams
from esmm_jax.engines.together import child
from esmm_jax.types import InputError
import jax
import numpy as np

EXIT_CODE = int(signal.SIGABRT)  # 6; see `_end_without_a_dump`.
AUTO = 'auto'
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
    if process_id == 0 and _is_here(host):
      # JAX would listen on all interfaces.
      address['coordinator_bind_address'] = coordinator
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


def _is_here(host: str) -> bool:
  """Returns whether an address is of an interface of this machine.

  It need not be: a name may stand for a service that forwards to this machine.
  """
  host = host.strip('[]')
  try:
    infos = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, address in infos:
      with socket.socket(family, kind, protocol) as s:
        s.bind(address)
  except OSError:
    return False
  return True


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
  if not child.command():  # Else who started it says what follows.
    message += (
        ' The same command in all processes goes on from the last checkpoint.'
    )
  streams.complain(f'error: {message}')
  os._exit(EXIT_CODE)

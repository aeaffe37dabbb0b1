"""The engine of parts: chosen for a block of code."""

from collections.abc import Callable, Iterator
import contextlib
import os
from typing import NamedTuple

from esmm_jax.cores import cores
from esmm_jax.engines.engine import Engine, InProcess
from esmm_jax.engines.local import Processes
from esmm_jax.options import check_choice, check_number, Range
from esmm_jax.types import InputError

# Name -> makes the engine of so many workers, at the address of a cluster.
ENGINES: dict[str, Callable[[int, str], Engine]] = {
    'local': lambda workers, address: Processes(workers),
    'ray': lambda workers, address: _on_ray(workers, address),
}
# Fewer bytes of files are done before another process has started.
BYTES_A_WORKER = 1 << 27
_WORKERS = Range(1, 1024)


class Choice(NamedTuple):
  """An engine, as it is asked for.

  Attributes:
    engine: One of `ENGINES`.
    workers: Parts in work at once; None: one for each core, of `local` fewer
      for files of less than `BYTES_A_WORKER` each.
    address: Of the cluster, for `ray`; '' starts one on this machine.
  """

  engine: str = 'local'
  workers: int | None = None
  address: str = ''


class _State:
  """State of the process: the choice of the innermost `using`."""

  choice = Choice()


@contextlib.contextmanager
def using(
    engine: str = 'local', workers: int | None = None, address: str = ''
) -> Iterator[None]:
  """Chooses the engine of what is prepared within the block.

  >>> from esmm_jax.engines import choice
  >>> with choice.using(workers=2):
  ...   pass  # builder.prepare(), or a training that prepares its data.

  Args:
    engine: See `Choice`.
    workers: See there.
    address: See there.

  Raises:
    InputError: There is no such engine, or the number is not possible.
  """
  check_choice('engine', engine, sorted(ENGINES))
  check_number('workers', workers, _WORKERS)
  if address and engine != 'ray':
    raise InputError(
        f'--ray_address={address} applies only to --engine=ray, but --engine is'
        f' {engine}; leave one out.'
    )
  before, _State.choice = _State.choice, Choice(engine, workers, address)
  try:
    yield
  finally:
    _State.choice = before


@contextlib.contextmanager
def opened(
    num_bytes: int, a_worker: int = BYTES_A_WORKER
) -> Iterator[Engine]:
  """Opens the chosen engine; its workers end with the block.

  Args:
    num_bytes: Of all files that are to be read, or another measure of the work.
    a_worker: So much of it for each worker, where no number was asked for.
  """
  name, workers, address = _State.choice
  if workers is None and name == 'ray':
    workers = 0 if address else cores()
  elif workers is None:
    workers = max(1, min(cores(), num_bytes // a_worker))
    workers = 1 if os.name == 'nt' else workers
  elif workers > 1 and os.name == 'nt':
    raise InputError(
        f'--workers={workers}: on Windows data is prepared by one process;'
        ' leave --workers out.'
    )
  is_here = workers == 1 and name == 'local'
  engine = InProcess() if is_here else ENGINES[name](workers, address)
  try:
    yield engine
  finally:
    engine.close()


def _on_ray(workers: int, address: str) -> Engine:
  from esmm_jax.engines.on_ray import OnRay

  return OnRay(workers, address)

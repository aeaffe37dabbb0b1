"""Prepares the start of the processes of a run: their command, and Ray."""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import sys
from typing import Any, NamedTuple

from esmm_jax.cores import cores
from esmm_jax.engines import ray_start
from esmm_jax.engines.together import ray_group, ray_train
from esmm_jax.engines.together import resources as all_resources
from esmm_jax.engines.together.attempts import Group
from esmm_jax.engines.together.local import LocalGroup
from esmm_jax.engines.together.process import Program
from esmm_jax.types import InputError

# Flags of the program that starts processes, not of theirs.
FLAGS = (
    'engine',
    'max_failures',
    'num_processes',
    'ray_address',
    'resources',
    'workers',
)
# Variables of these names go from the program to processes elsewhere.
_VARIABLES = ('JAX_', 'NCCL_', 'OMP_', 'XLA_')


class Request(NamedTuple):
  """Processes that are asked for.

  Attributes:
    engine: 'local' or 'ray'.
    num: Number of processes.
    resources: Text of --resources.
    address: Of the cluster; '' starts a Ray on this machine.
    workers: Of the preparation of data, for which a Ray of its own must do.
    folder: For files of ray.train, which all machines see.
  """

  engine: str
  num: int
  resources: str = ''
  address: str = ''
  workers: int | None = None
  folder: str = ''


def program(module: str, typed: Sequence[str], num: int) -> Program:
  """Returns what the processes run.

  Args:
    module: The main module of this program.
    typed: Its arguments, the program first.
    num: Number of processes.
  """
  return Program(
      module,
      without(typed, FLAGS),
      list(typed),
      num,
      os.getcwd(),
      list(sys.path),
      {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)},
  )


def without(argv: Sequence[str], names: Sequence[str]) -> list[str]:
  """Returns arguments without some flags, `--name=value` or `--name value`."""
  words, rest = [], list(argv)
  while rest:
    word = rest.pop(0)
    name, equals, _ = word.partition('=')
    if word.startswith('-') and name.lstrip('-') in names:
      rest = rest if equals else rest[1:]
    else:
      words.append(word)
  return words


@contextlib.contextmanager
def opened(request: Request) -> Iterator[Callable[[Program], Group]]:
  """Gets ready to start processes; a Ray that it starts ends with the block.

  Args:
    request: What is asked for.

  Yields:
    Starts the processes once.

  Raises:
    InputError: --resources is wrong, or more than there is; or Ray is not
      installed, or cannot be joined.
  """
  if request.engine != 'ray':
    if request.resources:
      raise InputError(
          f'--resources={request.resources} applies only to --engine=ray;'
          ' leave it out.'
      )
    yield LocalGroup
    return
  resources = all_resources.parse(request.resources)
  safe = {} if request.address else ray_start.safe()
  with ray_start.silent(), ray_start.environment(safe):
    ray = ray_start.load()
    is_ours = not ray.is_initialized()
    if is_ours:
      cpus = max(cores(), request.workers or 0)
      if 'CPU' not in resources:
        cpus = max(cpus, request.num)
      ray_start.join(ray, cpus, request.address)
  try:
    yield _starter(ray, request, resources, is_ours and not request.address)
  finally:
    if is_ours:
      ray.shutdown()


def _starter(
    ray: Any, request: Request, resources: dict[str, Any], is_alone: bool
) -> Callable[[Program], Group]:
  """Returns what starts processes in a Ray.

  Args:
    ray: The package.
    request: What is asked for.
    resources: Of it.
    is_alone: Whether it is a Ray of this program, which grows no machines.
  """
  machines = [n['Resources'] for n in ray.nodes() if n['Alive']]
  if 'CPU' not in resources:
    cpus = [machine.get('CPU', 0) for machine in machines]
    resources['CPU'] = all_resources.share(cpus, request.num)
  if is_alone:
    _refuse_too_much(machines[0], resources, request)
  if any(name in resources for name in ray_train.ACCELERATORS):
    ray_train.check()
    start = lambda one: ray_train.Trained(one, resources, request.folder)
  else:
    start = lambda one: ray_group.Actors(one, resources)
  # Elsewhere this package is where that machine has it.
  return lambda one: start(one if is_alone else one._replace(path=()))


def _refuse_too_much(
    machine: dict[str, float], resources: dict[str, Any], request: Request
) -> None:
  """Refuses more than this machine has, for which Ray would wait for ever."""
  for name, need in resources.items():
    total = machine.get(name, 0)
    if name not in ray_train.TEXTS and need * request.num > total:
      raise InputError(
          f'--num_processes={request.num} and {name}={need} of --resources need'
          f' {name}={need * request.num}, and this machine has {total:g}. Set'
          ' less, or name a cluster by --ray_address.'
      )

"""Processes of a run in workers of Ray.

The workers meet at a board, an actor beside the program: there they say on
which machine they are, read the address of the first process and whether to
stop, and leave what their processes say.
"""

import abc
from collections.abc import Iterable
import importlib
import time
from typing import Any

from esmm_jax import streams
from esmm_jax.engines.together.attempts import Group
from esmm_jax.engines.together.process import END, ERR, Event, free_port, GONE
from esmm_jax.engines.together.process import Process, Program
from esmm_jax.types import InputError

_SILENCE = 20.0  # Seconds without all workers before a line says so.
_PAUSE = 0.3  # Seconds between two looks at the board.
_END = 10.0  # Seconds in which workers end their processes by themselves.


class Board:
  """State that the program and its workers share; an actor of Ray."""

  def __init__(self, num: int):
    self._num = num
    self._machines: dict[int, str] = {}
    self._address = ''
    self._events: list[Event] = []
    self._wish = ''

  def join(self, k: int, machine: str) -> bool | None:
    """Notes the machine of process k.

    Returns:
      None until all are there; then whether all are on one machine.
    """
    self._machines[k] = machine
    if len(self._machines) < self._num:
      return None
    return len({*self._machines.values()}) == 1

  def num_joined(self) -> int:
    """Returns the number of workers that are there."""
    return len(self._machines)

  def publish(self, address: str) -> None:
    """Notes the address of the first process."""
    self._address = address

  def address(self) -> str:
    """Returns it, '' before it is there."""
    return self._address

  def tell(self, events: Iterable[Event]) -> str:
    """Takes events; returns 'stop', 'end' or '', for the process."""
    self._events += events
    return self._wish

  def take(self) -> list[Event]:
    """Returns the events since the last call."""
    events, self._events = self._events, []
    return events

  def wish(self, what: str) -> None:
    """Notes what `tell` returns."""
    self._wish = what


def work(board: Any, k: int, program: Program) -> None:
  """Runs process k, in a worker of Ray.

  Args:
    board: The handle of a `Board`.
    k: Number of the process.
    program: What it runs.
  """
  import ray

  ask = lambda method, *args: ray.get(getattr(board, method).remote(*args))
  machine = ray.get_runtime_context().get_node_id()
  while (alone := ask('join', k, machine)) is None:
    if ask('tell', []):
      return
    time.sleep(_PAUSE)
  if k == 0:
    host = '127.0.0.1' if alone else ray.util.get_node_ip_address()
    port = free_port(host)
    ask('publish', f'[{host}]:{port}' if ':' in host else f'{host}:{port}')
  while not (address := ask('address')):
    if ask('tell', []):
      return
    time.sleep(_PAUSE)
  try:
    process = Process(program, k, address)
  except InputError as e:
    ask('tell', [Event(k, ERR, f'error: {e}'), Event(k, END, 1)])
    return
  told = False
  try:
    while True:
      events = process.events(_PAUSE)
      wish = ask('tell', events)
      if wish == 'end' or any(event.kind == END for event in events):
        return
      if wish and not told:
        told = True
        process.stop()
  finally:
    process.end()


class RayGroup(Group):
  """Processes in workers of Ray, which a subclass starts."""

  def __init__(
      self, program: Program, resources: dict[str, Any]
  ):
    """Starts the workers.

    Args:
      program: What the processes run.
      resources: Of each, as Ray names them.
    """
    self._ray = ray = importlib.import_module('ray')
    self._num, self._resources = program.num, resources
    self._board = self.here(Board, program.num)
    self._all_joined = self._warned = self._stops = False
    self._began = time.monotonic()
    # A call that ends with workers -> their numbers.
    self._calls: dict[Any, Iterable[int]] = {}
    try:
      self._calls = self.begin(ray, self._board, program)
    except BaseException as e:
      self.close()
      if isinstance(e, ValueError):
        raise InputError(f'Ray refuses --resources: {e}') from e
      raise

  @abc.abstractmethod
  def begin(self, ray: Any, board: Any, program: Program) -> dict[Any, Any]:
    """Starts the workers.

    Returns:
      Calls that end with workers -> their numbers. They may return the numbers
      of those that were lost first.
    """

  @abc.abstractmethod
  def release(self) -> None:
    """Ends the workers and gives their resources back."""

  def here(self, cls: Any, *args: Any) -> Any:
    """Starts an actor on the machine of this program."""
    from ray.util import scheduling_strategies

    strategy = scheduling_strategies.NodeAffinitySchedulingStrategy(
        self._ray.get_runtime_context().get_node_id(), soft=False
    )
    options = {'num_cpus': 0, 'scheduling_strategy': strategy}
    return self._ray.remote(cls).options(**options).remote(*args)

  def events(self) -> list[Event]:
    """See the base class."""
    ray, calls = self._ray, list(self._calls)
    ready, _ = ray.wait(calls, num_returns=len(calls), timeout=_PAUSE)
    events = ray.get(self._board.take.remote())
    for call in ready:
      numbers, cause, first = self._calls.pop(call), '', []
      try:
        first = ray.get(call) or []
      except ray.exceptions.RayTaskError as e:
        text = str(e.cause).strip().partition('\n')[0].rstrip('.')
        if isinstance(e.cause, ValueError):
          raise InputError(f'Ray refuses --resources: {text}.') from e
        cause = f' ({type(e.cause).__name__}: {text})'
      except ray.exceptions.RayError as e:
        cause = f' ({type(e).__name__})'
      reason = f'with its worker of Ray{cause}'
      # Those that have told of their end ended before.
      numbers = sorted(numbers, key=lambda k: k not in first)
      events += [Event(k, GONE, reason) for k in numbers]
    if not self._all_joined:
      events += self._wait_for_workers()
    return events

  def _wait_for_workers(self) -> list[Event]:
    """Says, once, that the cluster gives no workers, which Ray does not."""
    joined = self._ray.get(self._board.num_joined.remote())
    self._all_joined = joined == self._num
    if self._stops and not self._all_joined:
      return [Event(k, GONE, 'before it began') for k in range(self._num)]
    waited = time.monotonic() - self._began
    silent = waited > _SILENCE and not self._all_joined and not self._warned
    if silent and self._is_pending():
      self._warned = True
      need = ', '.join(f'{k}={v:g}' for k, v in self._resources.items())
      free = self._ray.available_resources()
      free = ', '.join(f'{k}={free.get(k, 0):g}' for k in self._resources)
      streams.warn(
          f'{self._num - joined} of {self._num} processes wait for {need} each:'
          f' the cluster has {free} free. Another job may hold the rest. All'
          ' begin when all can.'
      )
    return []

  def _is_pending(self) -> bool:
    """Returns whether some group of workers waits for its resources."""
    groups = self._ray.util.placement_group_table().values()
    return any(group['state'] == 'PENDING' for group in groups)

  def stop(self) -> None:
    """See the base class."""
    self._stops = True
    self._ray.get(self._board.wish.remote('stop'))

  def close(self) -> None:
    """See the base class."""
    ray = self._ray
    ray.get(self._board.wish.remote('end'))
    calls = list(self._calls)
    if calls and self._all_joined:
      ray.wait(calls, num_returns=len(calls), timeout=_END)
    self.release()
    ray.kill(self._board)


class Worker:
  """An actor of Ray with one process."""

  def work(self, board: Any, k: int, program: Program) -> None:
    """See `work`."""
    work(board, k, program)


class Actors(RayGroup):
  """Processes in actors; all get their resources, or none."""

  _placed = None

  def begin(self, ray: Any, board: Any, program: Program) -> dict[Any, Any]:
    """See the base class."""
    from ray.util import scheduling_strategies

    self._workers: list[Any] = []
    self._placed = ray.util.placement_group(
        [self._resources] * program.num, strategy='PACK'
    )
    others = dict(self._resources)
    options = {'num_cpus': others.pop('CPU', 0)}
    if 'memory' in others:
      options['memory'] = others.pop('memory')
    calls = {}
    for k in range(program.num):
      actor = ray.remote(Worker).options(
          **options,
          resources=others,
          max_restarts=0,
          scheduling_strategy=(
              scheduling_strategies.PlacementGroupSchedulingStrategy(
                  self._placed, placement_group_bundle_index=k
              )
          ),
      ).remote()
      self._workers.append(actor)
      calls[actor.work.remote(board, k, program)] = [k]
    return calls

  def release(self) -> None:
    """See the base class."""
    for actor in self._workers:
      self._ray.kill(actor)
    if self._placed is not None:
      self._ray.util.remove_placement_group(self._placed)

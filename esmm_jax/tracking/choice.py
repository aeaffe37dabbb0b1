"""The trackers of what is trained: chosen for a block of code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextlib
import os
from typing import Any, NamedTuple

from esmm_jax.plugins import loading
from esmm_jax.plugins.registry import function_of, Registry
from esmm_jax.tracking.on_mlflow import MLflow
from esmm_jax.tracking.on_wandb import WandB
from esmm_jax.tracking.recorder import Recorder, Worker
from esmm_jax.tracking.tracker import TrackedRun, Tracker
from esmm_jax.types import InputError

# Name -> what makes a tracker, for each run.
TRACKERS: Registry[Callable[[], Tracker]] = Registry(
    'TRACKERS', {'mlflow': MLflow, 'wandb': WandB}, function_of()
)


class Choice(NamedTuple):
  """The trackers that follow runs.

  Attributes:
    names: Of `TRACKERS`, or MODULE:NAME, where the module adds the name.
    group: Of the runs, a sweep's name; '' for none.
    gradient_norm: Whether each step computes the norm of its gradient.
  """

  names: tuple[str, ...] = ()
  group: str = ''
  gradient_norm: bool = False


class _State:
  """State of the process: what the innermost `using` asks for."""

  choice = Choice()
  workers: dict[str, Worker] = {}


def in_use() -> Choice:
  """Returns what the innermost `using` asks for."""
  return _State.choice


@contextlib.contextmanager
def using(
    names: Sequence[str] | str,
    group: str = '',
    gradient_norm: bool = False,
    check: bool = True,
) -> Iterator[None]:
  """Has the runs that are trained within the block followed by trackers.

  >>> from esmm_jax.tracking import using
  >>> with using('mlflow', check=False):
  ...   pass  # train_and_evaluate(config, 'runs/esmm')

  Args:
    names: Of `TRACKERS`, or MODULE:NAME; several, or a text with commas.
    group: Name for all of them, as of a sweep.
    gradient_norm: Whether `train/gradient_norm` is written too. A sum may then
      be rounded otherwise.
    check: Whether a package that is not installed is an error; else a warning
      says so of each run.

  Raises:
    InputError: A tracker is not known, or not installed.
  """
  if isinstance(names, str):
    names = [n.strip() for n in names.split(',') if n.strip()]
  for name in dict.fromkeys(names):
    _check(name, check)
  before = _State.choice, _State.workers
  several = tuple(dict.fromkeys(names))
  _State.choice = Choice(several, group, gradient_norm)
  _State.workers = {n: Worker(n) for n in _State.choice.names}
  try:
    yield
  finally:
    for worker in _State.workers.values():
      worker.end()
    _State.choice, _State.workers = before


def _check(name: str, installed: bool) -> None:
  """Refuses a tracker that cannot be.

  Raises:
    InputError: See `using`.
  """
  module, colon, short = name.rpartition(':')
  if colon:
    loading.load((module,))
  if short not in TRACKERS:
    raise InputError(
        f'--track={name}: there is no tracker of that name; there are'
        f' {", ".join(TRACKERS)}. One of your own is MODULE:NAME, where the'
        " module has TRACKERS['NAME'] = ... (docs/tracking.md)."
    )
  check = getattr(TRACKERS[short], 'check', None)
  if installed and check:
    try:
      check()
    except InputError as e:
      raise InputError(f'--track={name}: {e}') from e


def recorders(
    config: Mapping[str, Any],
    workdir: str,
    facts: Mapping[str, str],
    warn: Callable[[str], None],
) -> list[Recorder]:
  """Returns what follows a run; [] where no tracker is chosen.

  Args:
    config: Flat key -> value.
    workdir: The run's folder.
    facts: Name -> text.
    warn: Gets a line of a tracker that fails.
  """
  path = os.path.abspath(workdir)
  run = TrackedRun(
      config, path, os.path.basename(path), _State.choice.group, facts
  )
  return [
      Recorder(name, TRACKERS[name.rpartition(':')[2]], run, worker, warn)
      for name, worker in _State.workers.items()
  ]

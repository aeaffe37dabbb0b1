"""Training of a sweep's groups in several processes, of one or more machines.

This process checks, prepares the data and keeps the books. Each group is
trained by a process of its own (`child`), which starts anew: JAX has threads,
and holds the memory of a GPU until its process ends.
"""

from collections import Counter
from collections.abc import Sequence
import contextlib
import json
import pickle
import time
import traceback
from typing import Any, NamedTuple

from esmm_jax import streams
from esmm_jax.engines.program import Call, End, Line
from esmm_jax.engines.slot_choice import Ask, opened
from esmm_jax.engines.slots import Slots
from esmm_jax.types import InputError
from esmm_jax.workdir import stopping

from esmm_jax.experiments.sweeping import runs, together
from esmm_jax.experiments.sweeping.child import Group

TRIES = 3  # Of a group whose process is lost.
_SAVING = 300.0  # Seconds for checkpoints, once all is to end.
_LOOK = 1.0  # Seconds between two looks at a group of another process.


class _Busy(NamedTuple):
  """A group whose process is at work.

  Attributes:
    names: Its runs.
    label: Stands before its lines.
  """

  names: list[str]
  label: str


def train(
    work: runs.Work, failed: dict[str, Exception], ask: Ask
) -> dict[str, Exception]:
  """Trains the runs that are not finished, several groups at once.

  Args:
    work: See `runs.begin`; the data is prepared (`prepare`).
    failed: Run -> its error, of those that cannot begin.
    ask: Where the processes run.

  Returns:
    Run -> its error, of those that failed.
  """
  from esmm_jax.sweeps import groups

  waiting = list(together.side_by_side(work.plan, work.to_do, work.workdir))
  with contextlib.closing(work.overall):
    if waiting:
      with contextlib.closing(opened(ask)) as slots:
        _Driver(work, failed, slots, waiting).run()
  groups.remove_finished(work.workdir)
  return failed


def prepare(work: runs.Work, failed: dict[str, Exception]) -> runs.Work:
  """Prepares the data of all runs, each data set once.

  Args:
    work: What there is to do.
    failed: Gets the runs whose data cannot be had.

  Returns:
    The work without them.
  """
  from esmm_jax.plugins import loading as plugins
  from esmm_jax.training import parts

  ends: dict[str, Exception | None] = {}
  wrong: dict[str, Exception] = {}
  for name in work.plan.names:
    if name not in work.to_do:
      continue
    config = work.plan.configs[name]
    key = json.dumps(config.dataset.to_dict(), sort_keys=True, default=str)
    if key not in ends:
      try:
        plugins.use(config)
        parts.dataset(config.dataset, work.data_dir)
        ends[key] = None
      except Exception as e:  # The other runs need not fail for it.
        stopping.check()
        if not isinstance(e, InputError):
          streams.progress(traceback.format_exc())
        ends[key] = e
    if error := ends[key]:
      wrong[name] = error
  runs.note(work, failed, wrong)
  if wrong:
    work.overall.end(wrong)
  return work._replace(to_do=set(work.to_do) - wrong.keys())


class _Driver:
  """Gives groups to slots, and takes what comes back."""

  def __init__(
      self,
      work: runs.Work,
      failed: dict[str, Exception],
      slots: Slots,
      waiting: list[list[str]],
  ):
    self._work, self._failed, self._slots = work, failed, slots
    self._waiting = waiting
    self._busy: dict[Any, _Busy] = {}
    self._losses: Counter[str] = Counter()  # By the group's first run.
    self._looked: dict[str, float] = {}

  def run(self) -> None:
    """Trains all groups."""
    try:
      while self._waiting or self._busy:
        stopping.check()
        self._fill()
        if self._busy:
          for task, heard in self._slots.hear():
            self._take(task, heard)
        elif self._waiting:  # Other processes are at all that is left.
          self._work.overall.wait(self._waiting)
    finally:
      self._stop()

  def _fill(self) -> None:
    """Starts processes for groups that are free, in order."""
    from esmm_jax.sweeps import replicas

    for names in list(self._waiting):
      if len(self._busy) >= self._slots.num:
        return
      now = time.monotonic()
      if now - self._looked.get(names[0], -_LOOK) < _LOOK:
        continue
      others = [g for g in self._waiting if g is not names]
      others += [busy.names for busy in self._busy.values()]
      if replicas.waits(names, self._work.plan.needs, others):
        continue
      self._looked[names[0]] = now
      looked = runs.look(self._work, names)
      runs.note(self._work, self._failed, looked.ends)
      if not looked.busy:
        self._waiting.remove(names)
      if looked.rest:
        self._begin(looked.rest)

  def _begin(self, names: list[str]) -> None:
    from esmm_jax.tracking import choice as tracking

    work = self._work
    work.overall.begin(names)
    configs = {name: work.plan.configs[name] for name in names}
    about = work.workdir, work.command, work.data_dir, work.overall.is_log
    group = Group(configs, *about, tuple(tracking.in_use()))
    module = Group.__module__
    task = self._slots.begin(Call(module, 'serve', {'group': group}))
    more = f' (+{len(names) - 1})' if len(names) > 1 else ''
    self._busy[task] = _Busy(names, f'{names[0]}{more}')

  def _take(self, task: Any, heard: Line | End) -> None:
    """Takes a line of a process, or its end."""
    busy = self._busy[task]
    if not isinstance(heard, End):
      _show(busy.label, *heard)
      return
    del self._busy[task]
    # By the signal itself, where it had not yet begun to note signals.
    if heard.code == stopping.EXIT_CODE or -heard.code in stopping.SIGNALS:
      raise stopping.Stopped(
          f'{busy.label}: its process was stopped, and so is the sweep; the'
          ' same command resumes it.'
      )
    if heard.code == 0 and heard.answer:
      self._ended(busy.names, pickle.loads(heard.answer))
    else:
      self._lost(busy, heard)

  def _ended(
      self, names: Sequence[str], ends: dict[str, Exception | None]
  ) -> None:
    from esmm_jax import locks

    in_use = [n for n in names if isinstance(ends[n], locks.InUse)]
    ends = {n: end for n, end in ends.items() if n not in in_use}
    self._work.overall.end(ends)
    runs.note(self._work, self._failed, ends)
    if in_use:
      self._waiting.append(in_use)

  def _lost(self, busy: _Busy, end: End) -> None:
    """Puts the group of a lost process back, some times."""
    self._losses[busy.names[0]] += 1
    lost = f'{busy.label}: its process was lost, by {end.cause}'
    if self._losses[busy.names[0]] < TRIES:
      streams.warn(f'{lost}; another one goes on from the last checkpoint.')
      self._waiting.insert(0, busy.names)
      return
    error = InputError(
        f'{lost}, {TRIES} times. Where memory runs out, the system ends'
        ' processes: train fewer groups at once, or set a smaller --replicas.'
    )
    ends = dict.fromkeys(busy.names, error)
    self._work.overall.end(ends)
    runs.note(self._work, self._failed, ends)

  def _stop(self) -> None:
    """Lets all processes save and end, and waits for that."""
    if not self._busy:
      return
    self._slots.stop()
    until = time.monotonic() + _SAVING
    while self._busy and time.monotonic() < until:
      for task, heard in self._slots.hear():
        if isinstance(heard, End):
          del self._busy[task]
        else:
          _show(self._busy[task].label, *heard)


def _show(label: str, stream: str, text: str) -> None:
  """Prints a line of a process behind the name of its group."""
  if text.startswith('warning: '):
    streams.warn(f'{label}: {text.removeprefix("warning: ")}')
  elif stream == 'stdout':
    streams.say(f'{label}: {text}')
  else:
    streams.progress(f'{label}: {text}')

"""Trials of a search: their training, and what they came to."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math
import os
from typing import Any

from esmm_jax.experiments import console, load
from esmm_jax.experiments.sweeping import checks, plans, runs
from esmm_jax.experiments.sweeping.searches import Design

_PRUNED = 'pruned.json'


@dataclasses.dataclass
class Trial:
  """A trial.

  Attributes:
    number: From 0.
    params: Key -> value.
    name: Of its run; trials with the same values share one.
    state: As `search` has it; '' before its end.
    values: The metric at its evaluations.
    why: The error of one that failed.
  """

  number: int
  params: dict[str, Any]
  name: str
  state: str = ''
  values: list[float] = dataclasses.field(default_factory=list)
  why: str = ''


class Trials:
  """The trials of a search, which are trained batch by batch.

  Attributes:
    all: In the order in which they were asked for.
  """

  def __init__(
      self,
      asked: Design,
      search: Any,
      workdir: str,
      command: str,
      data_dir: str | None,
  ):
    self.all: list[Trial] = []
    self._design, self._search = asked, search
    self._workdir, self._command, self._data = workdir, command, data_dir

  def train(self, num: int) -> None:
    """Asks for some trials and trains those that are not finished.

    Those that share shapes and data order are replicas of one program.

    Args:
      num: How many.
    """
    from esmm_jax.sweeps.points import run_name

    batch = []
    for _ in range(num):
      number, params = self._search.ask()
      name = run_name(self._design.point(params))
      batch.append(Trial(number, params, name))
    self.all += batch
    plan = self._plan(batch, num)
    refused = {
        **checks.check(plan, self._workdir, self._data), **plan.wrong
    }
    checks.check_data(plan, self._workdir, self._data)
    self._end(batch, plan.wrong, refused)
    for names in plan.groups:
      self._end(batch, names, {**refused, **self._train(plan, names, refused)})

  def _plan(self, batch: Sequence[Trial], limit: int) -> plans.Plan:
    """Makes the configs of trials and groups them."""
    from esmm_jax.sweeps.table import Column, Table

    metric, machine = self._design.metric, self._design.machine
    better = 'higher' if self._design.mode == 'max' else 'lower'
    points = [
        {**self._design.point(t.params), '@trial': t.number, '@seed': 0}
        for t in batch
    ]
    table = Table(
        title='Trials',
        points=points,
        columns=(Column(metric, metric, better=better),),
        rows=('@trial',),
        seed='@seed',
    )

    def change(configs: Mapping[str, Any]) -> None:
      for tree in configs.values():
        for key, value in machine.items():
          if load.has_key(tree, key):
            load.set_key(tree, key, value)

    return plans.make(table, self._workdir, limit, change)

  def _train(
      self, plan: plans.Plan, names: Sequence[str], refused: Mapping[str, Any]
  ) -> dict[str, Exception]:
    """Trains a group; returns run -> its error, of those that failed."""
    from esmm_jax.json_files import read_json
    from esmm_jax.sweeps.saved_runs import failure_file, find_run
    from esmm_jax.tuning import early_end

    saved = {name: find_run(self._workdir, name) for name in names}
    failed = {
        name: FloatingPointError(
            read_json(failure_file(self._workdir, name))['message']
        )
        for name, run in saved.items()
        if run.failure == 'FloatingPointError'  # As it would be again.
    }
    rest = [name for name in names if name not in failed]
    if all(saved[name].results is not None for name in rest):
      return failed
    one = dataclasses.replace(plan, groups=[rest], wrong={})
    mine = {name: refused[name] for name in rest if name in refused}
    about = self._workdir, self._command, self._data, mine
    with early_end.watching(self._watch):
      return {**failed, **runs.train(one, *about)}

  def _watch(
      self, folder: str, step: int, metrics: Mapping[str, float]
  ) -> bool:
    """Returns whether a run ends at an evaluation; notes that it does."""
    from esmm_jax.json_files import write_json

    name = os.path.basename(os.path.normpath(folder))
    trial = next(t for t in self.all if t.name == name)
    before = _evaluations(folder, self._design.metric, step)
    values = [*before, float(metrics[self._design.metric])]
    ends = self._search.ends(trial.number, values)
    if ends:  # Before the checkpoint: else it is evaluated, and ended, again.
      noted = {**self._pruned(), name: step}
      write_json(os.path.join(self._workdir, _PRUNED), noted)
    return ends

  def _pruned(self) -> dict[str, Any]:
    """Returns run -> step at which it was ended, of those that were."""
    from esmm_jax.json_files import read_json

    return read_json(os.path.join(self._workdir, _PRUNED)) or {}

  def _end(
      self,
      batch: Sequence[Trial],
      names: Iterable[str],
      failed: Mapping[str, Exception],
  ) -> None:
    """Ends the trials of some runs, in the order of their numbers."""
    from esmm_jax.sweeps.saved_runs import run_folder
    from esmm_jax.tuning import search

    names, pruned = set(names), self._pruned()
    for trial in batch:
      if trial.name in names and not trial.state:
        if trial.name in failed:
          state, trial.why = search.FAILED, str(failed[trial.name])
        else:
          folder = run_folder(self._workdir, trial.name)
          trial.values = _evaluations(folder, self._design.metric)
          state = search.PRUNED if trial.name in pruned else search.COMPLETE
        trial.state = self._search.end(trial.number, trial.values, state)
        self._tell(trial)

  def _tell(self, trial: Trial) -> None:
    """Prints what a trial came to."""
    from esmm_jax.reporting.grid import digits

    values = self._search.values
    if trial.number in values:
      text = f'{self._design.metric} {digits(values[trial.number])}'
      best = self._search.best
      text += (
          ' (best so far)' if best == trial.number
          else f' (best {digits(values[best])}, trial {best})'
      )
    else:
      num = len(trial.values)
      text = f'failed: {trial.why}' if trial.why else f'{trial.state}'
      text += f' after evaluation {num}' if num else ''
    params = ' '.join(f'{k}={v}' for k, v in trial.params.items())
    console.say(f'trial {trial.number}: {text}  {params}')


def _evaluations(folder: str, metric: str, before: float = math.inf) -> list:
  """Returns the metric at the evaluations of a run, those before a step."""
  from esmm_jax.json_files import read_jsonl

  lines = read_jsonl(os.path.join(folder, 'metrics.jsonl'), strict=False)
  values = [x[metric] for x in lines if metric in x and x['step'] < before]
  return [math.nan if v is None else float(v) for v in values]

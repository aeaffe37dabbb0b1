"""Trials of a search: their configs, their training, what they came to."""

from collections.abc import Iterable, Mapping, Sequence
import dataclasses
import math
import os
import shlex
from typing import Any

from esmm_jax.entry import commands
from esmm_jax.types import InputError

from esmm_jax.experiments import console, load
from esmm_jax.experiments.sweeping import checks, plans, runs

NAME = 'tune.json'
_PRUNED = 'pruned.json'
# Keys and sections that the search sets, or that name other runs.
_NOT_SEARCHED = {
    'dataset.valid_split': 'all trials are compared on the same rows',
    'dataset.test_split': 'no trial sees the test split',
    'selection.': 'all trials are compared by the same metric',
    'run.': 'it is of the machine, and changes no number',
    'common_ctr': 'it names a run whose test split was predicted',
}


@dataclasses.dataclass(frozen=True)
class Design:
  """The question of a search.

  Attributes:
    spec: File and variant of the config.
    keys: Flat keys that were set on the command line.
    machine: Flat keys of the machine, of the config.
    space: The dimensions.
    metric: Metric of the validation split that is searched for.
    mode: 'min' or 'max', which end of it is best.
  """

  spec: str
  keys: Mapping[str, Any]
  machine: Mapping[str, Any]
  space: Sequence[Any]
  metric: str
  mode: str

  def point(self, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the point of a trial, which has no test split."""
    keys = {k: v for k, v in self.keys.items() if k not in self.machine}
    return {
        'config': self.spec, **keys, **params, 'dataset.test_split': ''
    }

  def command(
      self, params: Mapping[str, Any], workdir: str, data_dir: str | None
  ) -> str:
    """Returns the command that trains a trial and tests it once."""
    settings = {**self.keys, **params}
    more = [f'--data_dir={data_dir}'] if data_dir else []
    return shlex.join([
        *commands.command('train').split(),
        f'--config={self.spec}',
        *(f'--config.{key}={value}' for key, value in settings.items()),
        f'--workdir={workdir}',
        *more,
    ])


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


def design(
    config: Any,
    spec: str,
    keys: Mapping[str, Any],
    texts: Sequence[str],
    data_dir: str | None,
) -> Design:
  """Makes the question of a search, and refuses one that cannot be asked.

  Args:
    config: The config with the keys that were set.
    spec: Its file and variant.
    keys: The flat keys that were set.
    texts: The search space, see `space.read`.
    data_dir: Folder of prepared data; None: the default one.

  Raises:
    InputError: A key is not in the config or is not to be searched, a value is
      of another type, or the config has no validation metric.
  """
  from esmm_jax.metrics import choosing
  from esmm_jax.protocols import use as protocols
  from esmm_jax.training import parts
  from esmm_jax.training.settings import Settings
  from esmm_jax.tuning import space as spaces
  from esmm_jax.workdir.folder import flatten
  from esmm_jax.experiments.sweeping.seesaws import machine_keys

  space = []
  for dimension in spaces.read(texts):
    _check_key(config, keys, dimension.key)
    dimension = spaces.typed(dimension, lambda key: _kind(config, key))
    for value in dimension.ends:
      _set(config.copy_and_resolve_references(), dimension.key, value)
    space.append(dimension)
  if 'dataset.test_split' in keys:
    raise InputError(
        'the search has no test split; leave --config.dataset.test_split for'
        ' the command of the best trial that it prints.'
    )
  settings = Settings.read(protocols.resolve(config))
  section = protocols.resolve(config).dataset.to_dict()
  builder = parts.data_builder(section, data_dir)
  schema = parts.schema(
      builder, settings.dataset.fields, settings.dataset.tasks
  )
  has_valid = 'valid' in parts.eval_splits(settings.dataset, builder)
  asked = settings.selection
  chosen = choosing.resolve(asked.metric, asked.mode, has_valid, schema.tasks)
  if not chosen.metric:
    raise InputError(
        'a search compares its trials by selection.metric on the validation'
        ' split, and the config has none. Make such a split'
        ' (dataset.valid_split, dataset.valid_share) and leave'
        ' selection.metric unset, or name one, as valid/ctcvr/auc.'
    )
  machine = machine_keys(config)
  machine['run.save_predictions'] = False  # There are no rows to predict.
  flat = flatten(config.to_dict())
  own = {k: flat.get(k, v) for k, v in keys.items()}
  return Design(spec, own, machine, space, chosen.metric, chosen.mode)


def settle(asked: Mapping[str, Any], workdir: str) -> None:
  """Writes what a search asks for, or compares it with what is there.

  Args:
    asked: As JSON.
    workdir: Folder of the search.

  Raises:
    InputError: The folder is of another search.
  """
  from esmm_jax.json_files import read_json, to_json, write_json

  path = os.path.join(workdir, NAME)
  before, now = read_json(path), to_json(asked)
  if before is None:
    write_json(path, now)
    return
  for key, value in now.items():
    if not isinstance(before, dict) or before.get(key) != value:
      old = before.get(key) if isinstance(before, dict) else before
      raise InputError(
          f'--workdir={workdir} is of a search with the {key} {old}, and this'
          f' one has {value}. Name another folder; --trials alone may grow.'
      )


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


def _check_key(config: Any, keys: Mapping[str, Any], key: str) -> None:
  """Refuses a key that cannot be searched."""
  full = load.full_key(key)
  for prefix, why in _NOT_SEARCHED.items():
    if full == prefix or prefix.endswith('.') and full.startswith(prefix):
      raise InputError(f'--space={key}: {why}.')
  if key in keys:
    raise InputError(
        f'--space={key}: --config.{key} sets it; leave one of them out.'
    )
  try:
    load.check_key(config, key)
  except InputError as e:
    raise InputError(f'--space={key}: {e}') from e


def _kind(config: Any, key: str) -> Any:
  """Returns the type of a key's value; float of a loss weight."""
  section, _, name = key.rpartition('.')
  node = config
  for part in section.split('.') if section else ():
    node = node[part]
  return node.get_type(name) if name in node else float


def _set(config: Any, key: str, value: Any) -> None:
  """Sets a key of a copy, to find out whether it can have the value."""
  try:
    load.set_key(config, key, value)
  except InputError as e:
    raise InputError(f'--space={e}') from e

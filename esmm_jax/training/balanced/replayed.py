"""The finished run whose mean weights another one replays.

`balancing.of` names it. Its results have the weights: w_i is the share of a
task in the sum of all weights, times that sum, both means over the steps whose
batch had rows of every task. Towers and parts are as in its config.
"""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Self

from esmm_jax.balancing import BALANCERS
from esmm_jax.balancing.options import BalancingOptions, REPLAY
from esmm_jax.json_files import with_tuples
from esmm_jax.metric_names import Balance, BALANCING
from esmm_jax.plugins import loading as plugins
from esmm_jax.training import objective, parts
from esmm_jax.training.program import Program
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import TrainState
from esmm_jax.types import InputError
from esmm_jax.warm_start.base import named_from
from esmm_jax.workdir import end_note, manifest, verify
from esmm_jax.workdir.folder import read_finished, read_schema
import jax.numpy as jnp

KEY = BalancingOptions.key('of')


class Replayed(NamedTuple):
  """The part of a finished run that is replayed.

  Attributes:
    named: The key and the folder, for messages.
    weights: Part -> term -> weight; the part '' is all that tasks share.
    losses: Term -> its weight in the loss of that run, which `weights` times.
    towers: What its parameters of a single task got.
    parts: Whether `all` parts had one weight of a task, or `each` its own.
    noted: What a run that replays it notes in its manifest: the stamp of its
      parameters, and what is replayed.
  """

  named: str
  weights: Mapping[str, Mapping[str, float]]
  losses: Mapping[str, float]
  towers: str
  parts: str
  noted: Mapping[str, Any]

  @classmethod
  def open(cls, name: str, workdir: str = '') -> Self:
    """Reads the folder of a run; its checkpoint is not read.

    Args:
      name: The folder, as the config names it: from `workdir`, if it is a
        relative path.
      workdir: Folder of the run whose config it is.

    Raises:
      InputError: There is no finished run, it is `workdir` itself, or it has no
        weights on record.
    """
    path, named = named_from(name, KEY, workdir), f'{KEY}={name}'
    config, results = (
        read_finished(path, file, KEY)
        for file in ('config.json', end_note.RESULTS)
    )
    began = verify.run(path, config)
    weights = _weights(named, results)
    with plugins.borrowed(config, path):
      settings = Settings.read(with_tuples(config))
      losses = _losses(named, path, settings)
      towers, of_parts = _kind(settings.balancing, began)
    noted = {
        **end_note.stamp(path).to_dict(),
        'weights': weights,
        'towers': towers,
        'parts': of_parts,
    }
    return cls(named, weights, losses, towers, of_parts, noted)

  def check_key(self, key: str, value: str) -> None:
    """Refuses a key of the replay that is otherwise in that run.

    Args:
      key: `towers` or `parts`.
      value: Of the replay; '' and 'all' may be unset.

    Raises:
      InputError: It is another one.
    """
    there = getattr(self, key)
    if value not in ('', 'all', there):
      raise InputError(
          f'{self.named}: balancing.{key} is {value!r} in this run and'
          f' {there!r} in that one. A replay uses the value of the run that it'
          f' replays: leave balancing.{key} unset.'
      )

  def check_terms(
      self, terms: Sequence[str], losses: Mapping[str, float]
  ) -> None:
    """Refuses a replay that balances other losses than that run.

    Args:
      terms: The terms that the replay balances.
      losses: Their weights in its loss.

    Raises:
      InputError: Terms or weights differ.
    """
    there = next(iter(self.weights.values()))
    if set(there) != set(terms):
      raise InputError(
          f'{self.named}: the balanced terms are {sorted(terms)} in this run'
          f' and {sorted(there)} in that one, and must be the same. Set'
          f' balancing.terms={tuple(there)}, or name a run with the terms of'
          ' this one.'
      )
    for term in terms:
      if losses[term] != self.losses.get(term):
        raise InputError(
            f'{self.named}: loss_weights.{term} is {losses[term]} in this run'
            f' and {self.losses.get(term)} in that one; it multiplies the'
            f' replayed weights and must be the same. Set loss_weights.{term}'
            ' as in that run.'
        )


def _weights(
    named: str, results: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
  """Returns part -> term -> mean weight, of the results of a run.

  Raises:
    InputError: They have none.
  """
  record = {
      Balance.of(key): value
      for key, value in results.items()
      if key.startswith(BALANCING)
  }
  if not record:
    raise InputError(
        f'{named} recorded no weights, because its tasks were not balanced.'
        ' Name a run with balancing.name, or train it again with'
        ' balancing.measure=True.'
    )
  weights: dict[str, dict[str, float]] = {}
  for (name, part, terms), share in record.items():
    if name == 'share':
      total = record[Balance('total', part, ())]
      weights.setdefault(part, {})[terms[0]] = share * total
  if not weights:
    raise InputError(
        f'{named}: no batch of that run had rows of all its tasks, so its'
        ' weights have no mean. Name a run with larger batches.'
    )
  return weights


def _losses(named: str, path: str, settings: Settings) -> dict[str, float]:
  """Returns the weight of each term in the loss of a run.

  Raises:
    InputError: It has no schema.
  """
  schema = read_schema(path)
  if schema is None:
    raise InputError(
        f'{named}: it does not say what its tasks are. Train that run again.'
    )
  bound = parts.estimator(settings.objective, schema.tasks)
  return objective.weights(settings, bound)


def _kind(
    options: BalancingOptions, began: Mapping[str, Any]
) -> tuple[str, str]:
  """Returns towers and parts of a run; those of a replay are another's."""
  if options.name == REPLAY:
    noted = began.get(manifest.REPLAYED) or {}
    return noted.get('towers', 'own'), noted.get('parts', 'all')
  method = parts.named(BALANCERS, options.name, BalancingOptions.key('name'))
  towers = options.towers or method.towers
  return 'own' if options.parts == 'each' else towers, options.parts


def resolve(
    settings: Sequence[Settings], workdirs: Sequence[str]
) -> tuple[list[Settings], list[Replayed | None]]:
  """Opens the runs that replicas replay.

  Args:
    settings: Of the replicas.
    workdirs: Their folders, from which relative paths lead.

  Returns:
    The settings, with the towers and parts of those runs, and for each the run
    that it replays, or None.

  Raises:
    InputError: One cannot be, or those of two replicas cannot be replayed by
      one program.
  """
  runs: list[Replayed | None] = []
  filled = []
  for s, workdir in zip(settings, workdirs, strict=True):
    run = None
    if s.balancing.name == REPLAY:
      run = Replayed.open(s.balancing.of, workdir)
      options = s.balancing
      for key in ('towers', 'parts'):
        run.check_key(key, getattr(options, key))
      options = dataclasses.replace(options, towers=run.towers, parts=run.parts)
      s = dataclasses.replace(s, balancing=options)
    runs.append(run)
    filled.append(s)
  first, *others = filled
  for other in others:
    for key in ('towers', 'parts'):
      one, two = (getattr(s.balancing, key) for s in (first, other))
      if one != two:
        raise InputError(
            f'{KEY}: replays that train side by side must be of runs with the'
            f' same balancing.{key}, but these have {one!r} and {two!r}. Train'
            ' them one by one (--replicas=1).'
        )
  return filled, runs


def check(program: Program, settings: Sequence[Settings]) -> None:
  """Refuses replays that balance other losses than the runs they replay.

  Args:
    program: With the runs that are replayed.
    settings: Of the replicas.

  Raises:
    InputError: Terms or their weights differ.
  """
  for s, run in zip(settings, program.replayed, strict=True):
    if run is not None:
      losses = objective.weights(s, program.estimator)
      run.check_terms(program.plan.balancer.terms, losses)


def taken(program: Program, number: int) -> dict[str, Mapping[str, Any]]:
  """Returns what the manifest of a replica notes of runs it takes something of.

  Args:
    program: With these runs.
    number: Of the replica.
  """
  noted = {manifest.FROZEN: program.frozen} if program.frozen else {}
  if (run := program.replayed[number]) is not None:
    noted[manifest.REPLAYED] = run.noted
  return noted


def with_weights(state: TrainState, program: Program) -> TrainState:
  """Puts the weights that are replayed into a state before its first step.

  Args:
    state: As `initial` makes it.
    program: With the runs that are replayed.
  """
  if not any(program.replayed):
    return state
  terms = program.plan.balancer.terms
  ones = dict.fromkeys(terms, 1.0)  # Of parts that the model does not have.
  balance = {}
  for part, old in state.balance.items():
    weights = [run.weights.get(part, ones) for run in program.replayed]
    rows = [[of_run[term] for term in terms] for of_run in weights]
    balance[part] = jnp.asarray(rows, old.dtype)
  return state.replace(balance=balance)

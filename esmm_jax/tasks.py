"""Tasks: what is predicted, of which event, and which event comes before it.

A log is a funnel: an impression may be clicked, a clicked one may convert. Each
task predicts its event given the event of its parent; a task without parent is
over all impressions. Everything that has to do with sample spaces follows from
that: what the models put out, the terms of the estimators, the metrics.

    ctr -> cvr                 click, conversion (the default)
    ctr -> atr -> ptr          click, cart, purchase
    ctr -> cvr, ctr -> play_time    a regression on the clicked impressions

Labels are of joint events: the label of a task is 1 only where that of its
parent is 1, and a regression's is 0 where its parent's is 0.
"""

from collections.abc import Iterable
import dataclasses
import graphlib
from typing import NamedTuple

from esmm_jax.types import InputError, suggest

KINDS = ('binary', 'regression')


@dataclasses.dataclass(frozen=True)
class Task:
  """One thing to predict.

  Attributes:
    name: Its name, `cvr` say; models have one output for each.
    label: Label column. The joint event: `conversion` is click AND conversion.
    parent: Task whose event comes before, or '' for all impressions.
    kind: `binary` (the output is a log-odds) or `regression` (the output is the
      expected value of the label, where the parent's event happened).
    joint: Name of the same over all impressions, `ctcvr` for `cvr`. Default:
      `ct` and the name. Not of a task without parent.
    past: Name of the space of rows whose label is 1; default: the label + `ed`.
  """

  name: str
  label: str
  parent: str = ''
  kind: str = 'binary'
  joint: str = ''
  past: str = ''

  def __post_init__(self):
    if self.kind not in KINDS:
      raise InputError(
          f'Task {self.name!r}: kind {self.kind!r} is none of {KINDS}.'
      )
    if not self.joint:
      joint = f'ct{self.name}' if self.parent else self.name
      object.__setattr__(self, 'joint', joint)
    if not self.past:
      object.__setattr__(self, 'past', f'{self.label}ed')


Tasks = tuple[Task, ...]

CLICK = Task('ctr', 'click')
CONVERSION = Task('cvr', 'conversion', 'ctr', past='converted')
FUNNEL: Tasks = (CLICK, CONVERSION)
# Impression -> click -> cart -> purchase, the chain of ESM2 (SIGIR 2020). `cvr`
# stays what it is: purchase given click, pATR x pPTR.
CART_FUNNEL: Tasks = (
    CLICK,
    Task('atr', 'cart', 'ctr', past='carted'),
    Task('ptr', 'conversion', 'atr', joint='ctcvr', past='converted'),
)


class Space(NamedTuple):
  """An output, its label and the rows that they are compared on.

  Attributes:
    key: Name of the term and of the metrics: `ctr`, `cvr_clicked`, `ctcvr`.
    output: Which output: a task's, or a product along the funnel.
    label: Label column.
    given: Label column that is 1 on the rows of the space, or '' for all rows.
    kind: `binary` or `regression`.
  """

  key: str
  output: str
  label: str
  given: str
  kind: str


def ordered(tasks: Iterable[Task]) -> Tasks:
  """The tasks, parents first, otherwise in the order given.

  Raises:
    InputError: A parent is not there or is a regression, tasks go round in a
      circle, or two have one name or one label.
  """
  tasks = tuple(tasks)
  by_name = {t.name: t for t in tasks}
  for attribute in ('name', 'label'):
    values = [getattr(t, attribute) for t in tasks]
    for value in values:
      if values.count(value) > 1:
        raise InputError(f'Two tasks have the {attribute} {value!r}.')
  for t in tasks:
    if t.parent and t.parent not in by_name:
      raise InputError(
          f'Task {t.name!r} comes after {t.parent!r}, which is no task.'
          f' {suggest(t.parent, by_name)}'
      )
    if t.parent and by_name[t.parent].kind != 'binary':
      raise InputError(
          f'Task {t.name!r} comes after {t.parent!r}, which is a'
          f' {by_name[t.parent].kind}; only an event can come before.'
      )
  order = topological({t.name: (t.parent,) if t.parent else () for t in tasks})
  return tuple(by_name[name] for name in order)


def topological(parents: dict[str, tuple[str, ...]]) -> list[str]:
  """Names, each after its parents, otherwise in the order of the dictionary.

  Raises:
    InputError: They go round in a circle.
  """
  try:
    graphlib.TopologicalSorter(parents).prepare()
  except graphlib.CycleError as e:
    raise InputError(
        f'Tasks go round in a circle: {" <- ".join(e.args[1])}.'
    ) from e
  order: list[str] = []
  while len(order) < len(parents):
    order.append(
        next(
            name
            for name, before in parents.items()
            if name not in order and all(p in order for p in before)
        )
    )
  return order


def chain(task: Task, tasks: Tasks) -> Tasks:
  """The tasks that lead to `task`, from the first one to itself."""
  by_name = {t.name: t for t in tasks}
  path = [task]
  while path[0].parent:
    path.insert(0, by_name[path[0].parent])
  return tuple(path)


def given_first(task: Task, tasks: Tasks) -> str:
  """Name of the product along the funnel after its first event, or ''.

  For purchase in click -> cart -> purchase it is `cvr`, purchase given click.
  Only of tasks with at least two tasks before them.
  """
  path = chain(task, tasks)
  if len(path) < 3:
    return ''
  name = task.joint.removeprefix('ct')
  return name if name != task.name else f'{name}_given_{path[0].label}'


def spaces(tasks: Tasks) -> list[Space]:
  """All outputs with the spaces they are compared on, funnel order."""
  found = []
  by_name = {t.name: t for t in tasks}
  for t in tasks:
    if not t.parent:
      found.append(Space(t.name, t.name, t.label, '', t.kind))
      continue
    parent, first = by_name[t.parent], chain(t, tasks)[0]
    found.append(
        Space(f'{t.name}_{parent.past}', t.name, t.label, parent.label, t.kind)
    )
    if rest := given_first(t, tasks):
      key = f'{rest}_{first.past}'
      found.append(Space(key, rest, t.label, first.label, t.kind))
    found.append(Space(t.joint, t.joint, t.label, '', t.kind))
  return found

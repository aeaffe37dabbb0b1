"""Tasks: the events of a funnel that are predicted, each given the one before.

A log is a funnel: an impression may be clicked, a clicked one may convert. Each
task predicts its event given the event of its parent; a task without parent is
over all impressions. All sample spaces follow from that: those of the models'
outputs, of the estimators' terms and of the metrics.

    ctr -> cvr                 click, conversion (the default)
    ctr -> atr -> ptr          click, cart, purchase
    ctr -> cvr, ctr -> play_time    a regression on the clicked impressions
    ctr -> cvr, ctr -> like, share  a tree; `share` needs no click
    cvr                             a log of clicks alone

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
  """A label to predict.

  >>> from esmm_jax.tasks import Task
  >>> Task('cvr', 'conversion', parent='ctr').joint
  'ctcvr'

  Attributes:
    name: For example `cvr`; models have one output for each task.
    label: Label column. The joint event: `conversion` is click AND conversion.
    parent: Task whose event comes before, or '' for all impressions.
    kind: `binary` (the output is a log-odds) or `regression` (the output is the
      expected value of the label, given the parent's event).
    joint: Name of the prediction over all impressions, `ctcvr` for `cvr`.
      Default: `ct` and the name; of a task without parent the name. There it
      is the key of the task's space only: `cvr_clicked` in a log of clicks.
    past: Name of the space of rows whose label is 1; default: the label + `ed`.
  """

  name: str
  label: str
  parent: str = ''
  kind: str = 'binary'
  joint: str = ''
  past: str = ''

  def __post_init__(self) -> None:
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
# Conversions of a log of clicks: all its rows are clicked.
CLICKED: Tasks = (
    Task('cvr', 'conversion', joint='cvr_clicked', past='converted'),
)
# Impression -> click -> cart -> purchase, the chain of ESM2 (SIGIR 2020). `cvr`
# stays what it is: purchase given click, pATR x pPTR.
CART_FUNNEL: Tasks = (
    CLICK,
    Task('atr', 'cart', 'ctr', past='carted'),
    Task('ptr', 'conversion', 'atr', joint='ctcvr', past='converted'),
)


class Head(NamedTuple):
  """One more output of a model, which an estimator asks for.

  A task has a label, sample spaces and metrics. A head is an output alone: the
  loss terms of its estimator train it, and nothing else reads it.

  >>> from esmm_jax.tasks import Head
  >>> Head('imputation', like='cvr').like
  'cvr'

  Attributes:
    name: Name of the output among the logits.
    like: Task whose input the head's tower has.
  """

  name: str
  like: str


class Space(NamedTuple):
  """An output, its label and the rows on which they are compared.

  Attributes:
    key: Name of the term and of the metrics: `ctr`, `cvr_clicked`, `ctcvr`.
    output: A task's output, or a product of outputs along the funnel.
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
  """Sorts tasks: parents first, otherwise the order is unchanged.

  Raises:
    InputError: A parent does not exist or is a regression, the parents form a
      circle, or two tasks have the same name or label.
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
  """Sorts names: each after its parents, otherwise in the dictionary's order.

  Raises:
    InputError: The parents form a circle.
  """
  # Only finds circles: its static_order goes level by level, while the order of
  # tasks, that of a model's outputs, should change no more than necessary.
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
  """Returns the tasks that lead to `task`, from the first one to itself."""
  by_name = {t.name: t for t in tasks}
  path = [task]
  while path[0].parent:
    path.insert(0, by_name[path[0].parent])
  return tuple(path)


def given_first(task: Task, tasks: Tasks) -> str:
  """Names the product along the funnel after its first event.

  For purchase in click -> cart -> purchase it is `cvr`, purchase given click.

  Returns:
    The name; '' for a task with fewer than two tasks before it.
  """
  path = chain(task, tasks)
  if len(path) < 3:
    return ''
  name = task.joint.removeprefix('ct')
  return name if name != task.name else f'{name}_given_{path[0].label}'


def spaces(tasks: Tasks) -> list[Space]:
  """Returns all outputs with their sample spaces, in funnel order.

  >>> from esmm_jax.tasks import FUNNEL, spaces
  >>> [s.key for s in spaces(FUNNEL)]
  ['ctr', 'cvr_clicked', 'ctcvr']
  """
  result = []
  by_name = {t.name: t for t in tasks}
  for t in tasks:
    if not t.parent:
      result.append(Space(t.joint, t.name, t.label, '', t.kind))
      continue
    parent, first = by_name[t.parent], chain(t, tasks)[0]
    result.append(
        Space(f'{t.name}_{parent.past}', t.name, t.label, parent.label, t.kind)
    )
    if rest := given_first(t, tasks):
      key = f'{rest}_{first.past}'
      result.append(Space(key, rest, t.label, first.label, t.kind))
    result.append(Space(t.joint, t.joint, t.label, '', t.kind))
  return result

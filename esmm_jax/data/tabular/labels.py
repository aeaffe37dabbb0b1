"""The labels of a user's own log: columns, comparisons, the order of events.

`joint` makes those of a row respect the order of the events.
"""

from collections.abc import Mapping
import dataclasses

from esmm_jax.data.csv_files.quoted_names import colon_hint, split, unquote
from esmm_jax.data.tabular.events import Event
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.options import check_choice
from esmm_jax.tasks import CART_FUNNEL, CLICKED, FUNNEL, KINDS, ordered, spaces
from esmm_jax.tasks import Task, Tasks
from esmm_jax.types import InputError, suggest
import numpy as np
import pyarrow as pa

# What becomes of a later event that is null or -1.
UNKNOWN = ('error', 'zero', 'drop')
# Names of other columns, outputs, terms and parts of models.
_TAKEN = (
    *('batch_hash', 'calibrator', 'file_number', 'group', 'group_key', 'loss'),
    *('row_number', 'row_weight', 'shared', 'skipped', 'uniform'),
)
_HIGHEST = float(np.finfo(np.float32).max)


def read_numbers(array: pa.Array, location: Location) -> np.ndarray:
  """Reads the label of a regression, float32 [n]; nan for null.

  Raises:
    InputError: A value is no number, or none of float32.
  """
  values = raw_values.floats(array, location)
  large = np.abs(values) > _HIGHEST
  raw_values.refuse(large, array, 'a number that float32 has', location)
  return values.astype(np.float32)


def read_weights(array: pa.Array, location: Location) -> np.ndarray:
  """Reads weights of rows, float32 [n].

  Raises:
    InputError: One is missing, negative, or too large or small to be summed.
  """
  values = raw_values.floats(array, location)
  good = (values == 0) | ((values >= 1e-12) & (values <= 1e12))
  must = '0 or a number from 1e-12 to 1e12, the weight of the row'
  raw_values.refuse(~good, array, must, location)
  return values.astype(np.float32)


def make_tasks(
    click: str, cart: str, conversion: str, labels: str
) -> tuple[Tasks, dict[str, Event]]:
  """Makes the tasks of the options of the dataset section.

  Args:
    click: Label, '' for none.
    cart: See there.
    conversion: See there.
    labels: More labels, `like:after=click,share`.

  Returns:
    The tasks, parents first, and label -> what it is read from.

  Raises:
    InputError: Labels or their options are not possible together.
  """
  if not click and cart:
    raise InputError(
        'dataset.cart is an event between dataset.click and dataset.conversion,'
        " but dataset.click is empty. In a log of clicks set dataset.cart=''"
        ' and name its column in dataset.labels.'
    )
  texts = {'click': click, 'cart': cart, 'conversion': conversion}
  events = {k: Event.parse(text, k) for k, text in texts.items() if text}
  tasks = CART_FUNNEL if cart else FUNNEL if click else CLICKED
  tasks = [t for t in tasks if t.label in events]
  parsed = [_parse_label(part) for part in _split(labels)]
  names = [t.label for t in tasks] + [task.label for task, _ in parsed]
  of_label = {t.label: t.name for t in tasks} | {
      task.label: task.name for task, _ in parsed
  }
  for task, event in parsed:
    if task.parent and task.parent not in names:
      raise InputError(
          f'dataset.labels: {task.name!r} comes after {task.parent!r}, which is'
          f' no label. {suggest(task.parent, names)}'
      )
    parent = of_label[task.parent] if task.parent else ''
    tasks.append(dataclasses.replace(task, parent=parent, joint=''))
    events.setdefault(task.label, event)
  return _checked(tasks, events), events


def _split(text: str, separator: str = ',') -> list[str]:
  try:
    return split(text, separator)
  except InputError as e:
    raise InputError(f'dataset.labels: {e}') from e


def _parse_label(text: str) -> tuple[Task, Event]:
  """Parses `COLUMN:after=LABEL:kind=regression:name=NAME`.

  Returns:
    The task, whose parent is a label, and what it is read from.
  """
  column, *parts = _split(text, ':') or ['']
  event, options = Event.parse(column, 'labels'), {}
  for part in parts:
    key, equals, value = part.partition('=')
    if key not in ('after', 'kind', 'name') or not equals:
      raise InputError(
          f'dataset.labels: {text!r}: {part!r} is no option of a label; write'
          f' KEY=VALUE{colon_hint(column, part)}.'
          f' {suggest(key, ("after", "kind", "name"))}'
      )
    options[key] = unquote(value)
  name = options.get('name', event.column if not event.operator else '')
  if not name.isidentifier() or name.startswith(('p_', 'predicted_')) or (
      name in _TAKEN
  ):
    raise InputError(
        f'dataset.labels: {text!r} needs a name of its own, made of letters,'
        f' digits and _, but {name!r} cannot be used. Add :name=NAME, for'
        f" example '{column}:name=good'."
    )
  kind = options.get('kind', 'binary')
  if kind == 'regression' and event.operator:
    raise InputError(
        f'dataset.labels: {text!r} is 0 or 1; kind=regression is for a column'
        ' of numbers.'
    )
  check_choice('dataset.labels: kind', kind, KINDS)
  past = f'{name}d' if name.endswith('e') else f'{name}ed'
  parent = options.get('after', '')
  return Task(name, name, parent, kind, past=past), event


def _checked(tasks: list[Task], events: Mapping[str, Event]) -> Tasks:
  """Returns the tasks in order; refuses what would have one name."""
  if not tasks:
    raise InputError(
        'dataset.click, dataset.conversion and dataset.labels name no label;'
        ' there is nothing to learn.'
    )
  try:
    in_order = ordered(tasks)
  except InputError as e:
    raise InputError(f'dataset.labels: {e}') from e
  # An output of one name would take the place of another.
  for names in (
      [s.key for s in spaces(in_order)],
      [s.output for s in spaces(in_order)],
  ):
    for name in names:
      if names.count(name) > 1:
        raise InputError(
            f'dataset.labels: two predictions would have the name {name!r};'
            ' add :name=NAME to a label.'
        )
  return in_order

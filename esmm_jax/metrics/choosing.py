"""Settles which metric of the validation split selects the parameters."""

from collections.abc import Collection
from typing import NamedTuple

from esmm_jax.metric_names import direction, DIRECTIONS
from esmm_jax.tasks import spaces, Tasks
from esmm_jax.types import InputError, suggest

DEFAULT = 'valid/ctcvr/logloss'
ADVICE = (
    'Make one (dataset.valid_split; of a log of your own with'
    ' dataset.valid_files, or with dataset.valid_share of the training rows),'
    " or ask for the last parameters: selection.metric='' and"
    " dataset.valid_split=''."
)


class Choice(NamedTuple):
  """The metric that selects, once the tasks and splits are known.

  Attributes:
    metric: A `valid/...` key; '' keeps the last parameters.
    mode: 'min' or 'max'.
    warnings: Texts for people: what was taken although it was not asked for.
  """

  metric: str
  mode: str = 'min'
  warnings: tuple[str, ...] = ()


def resolve(
    metric: str | None, mode: str | None, has_valid: bool, tasks: Tasks
) -> Choice:
  """Fills in what is unset: the metric, and the end at which it is best.

  Without a metric the log loss of `ctcvr` selects. Where the tasks have no
  `ctcvr` it is that of the last task's prediction over its widest space (the
  squared error of a regression), and without a validation split the last
  parameters count.

  Args:
    metric: `selection.metric`; None is unset.
    mode: `selection.mode`, likewise.
    has_valid: Whether there is a validation split.
    tasks: Tasks of the run.

  Raises:
    InputError: A metric is set without a validation split, or neither end of
      the metric is best.
  """
  if not has_valid:
    return _without_valid(metric)
  warnings = []
  if metric is None:
    metric = default_metric(tasks)
    if metric != DEFAULT:
      warnings.append(
          f'selection.metric is not set and the tasks have no ctcvr: {metric}'
          ' selects the parameters.'
      )
  best, name = direction(metric), metric.rpartition('/')[2]
  if not best and name in DIRECTIONS:
    raise InputError(
        f'selection.metric is {metric!r}, which is best neither at its highest'
        ' nor at its lowest value and cannot choose. Take one with a'
        f' direction, {metric.rpartition("/")[0]}/'
        f'{"mse" if _is_regression(metric, tasks) else "logloss"} say.'
    )
  # '' selects nothing, so it has no end.
  if metric and not best and mode is None and name not in DIRECTIONS:
    raise InputError(
        f'selection.metric is {metric!r}, and it is not known at which end it'
        " is best. Set selection.mode to 'min' or 'max', or let its plugin say"
        f" DIRECTIONS[{name!r}] = 'min'."
    )
  if best and mode not in (None, best):
    words = {'max': ('high', 'lowest'), 'min': ('low', 'highest')}
    good, taken = words[best]
    warnings.append(
        f'selection.mode is {mode!r}, but {metric} is better when it'
        f' is {good}: the parameters with the {taken} value are kept. Leave'
        ' selection.mode unset to keep the best.'
    )
  return Choice(metric, mode or best or 'min', tuple(warnings))


def default_metric(tasks: Tasks) -> str:
  """Returns the metric that selects where none is set."""
  if any(s.key == 'ctcvr' and s.kind == 'binary' for s in spaces(tasks)):
    return DEFAULT
  widest = spaces(tasks)[-1]
  loss = 'mse' if widest.kind == 'regression' else 'logloss'
  return f'valid/{widest.key}/{loss}'


def check_metric(metric: str | None, keys: Collection[str]) -> None:
  """Refuses a metric that no evaluation of the run will have.

  Args:
    metric: `selection.metric`; None is unset, '' selects none.
    keys: What evaluations compute, without the split: `ctcvr/auc`.

  Raises:
    InputError: The metric is none of them; names a similar one and all.
  """
  if not metric:
    return
  key = metric.removeprefix('valid/')
  if key in keys:
    return
  space, _, name = key.rpartition('/')
  why = ''
  if name.startswith('gauc') and f'{space}/auc' in keys:
    why = ' GAUC needs a group, which the data does not name (dataset.group).'
  elif space.endswith('_entire'):
    why = ' It needs the true probabilities, which only a simulated log has.'
  choices = [f'valid/{k}' for k in keys if direction(k)]
  raise InputError(
      f'selection.metric is {metric!r}, which is none of the metrics that can'
      f' select this run.{why} {suggest(metric, choices)}'
  )


def _without_valid(metric: str | None) -> Choice:
  """Takes the last parameters, unless a metric is set."""
  if metric:
    raise InputError(
        f'selection.metric is {metric!r}, but there is no validation split.'
        f' {ADVICE}'
    )
  if metric == '':
    return Choice('')
  text = 'there is no validation split, so the last parameters count.'
  return Choice('', warnings=(f'{text} {ADVICE}',))


def _is_regression(key: str, tasks: Tasks) -> bool:
  return any(
      s.kind == 'regression' and s.key == key.split('/')[1]
      for s in spaces(tasks)
  )

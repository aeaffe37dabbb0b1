"""The options of a log's history: `dataset.history` and those beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

from esmm_jax.data.history import language, reading
from esmm_jax.data.history.clock import Clock
from esmm_jax.data.history.encode import rates
from esmm_jax.data.history.fitted import declared_fields
from esmm_jax.data.history.log import CHUNK
from esmm_jax.data.history.reading import ListOptions, Reading
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import Counter, Entries, FORMS, Spec
from esmm_jax.data.tabular.inputs import Input
from esmm_jax.data.values.raw_values import Times
from esmm_jax.options import check_choice, check_number, POSITIVE
from esmm_jax.schema import Field
from esmm_jax.types import InputError, suggest

NAMES = (
    'history',
    'history_form',
    'history_strength',
    'history_zone',
    'history_request',
)
_SPLIT = (
    "dataset.history summarizes earlier rows, but dataset.split='random' puts"
    ' rows of all times into each split: training rows would see labels of the'
    " test split. Set dataset.split='time' (or 'files' or 'column', in order of"
    ' time).'
)


def parse(config: Any, chosen: Mapping[str, Any]) -> tuple[Spec, ...]:
  """Parses the history of a log; () without one.

  Args:
    config: A `TabularConfig`, with its inputs, tasks and events.
    chosen: Its options that differ from the default.

  Raises:
    InputError: An option is not possible, or goes without another one.
  """
  if 'history' not in chosen:
    for name in NAMES:
      if name in chosen:
        raise InputError(
            f'dataset.{name} is set, but dataset.history is empty; name what'
            f" the history is of, or leave dataset.{name} out."
        )
    return ()
  if not config.time:
    raise InputError(
        'dataset.history needs the time of each row; name its column with'
        ' dataset.time.'
    )
  if config.split == 'random':
    raise InputError(_SPLIT)
  check_choice('dataset.history_form', config.history_form, FORMS)
  check_number('dataset.history_strength', config.history_strength, POSITIVE)
  labels = [rate.label for rate in rates(config.tasks)]
  specs = language.parse(
      config.history, labels, config.history_form, config.history_strength
  )
  _check_request(config)
  for spec in specs:
    try:
      _check(spec, config)
    except InputError as e:
      raise InputError(f'dataset.history: {e}') from e
  return specs


def columns(config: Any) -> list[str]:
  """Lists the columns that the history of a log reads from its files."""
  if not config.specs:
    return []
  numbers = reading.number_columns(config.specs, config.tasks)
  return [*_reading(config, Clock('date')).columns, *numbers]


def fields(config: Any) -> tuple[Field, ...]:
  """Returns the fields of a history, vocabulary sizes 0."""
  return declared_fields(config.specs, config.tasks)


def make_reading(config: Any, times: Times, form: str) -> Reading:
  """Names the columns that the history of a log reads, and how.

  Args:
    config: A `TabularConfig`.
    times: All times of the log, or some with the kind and zone of all.
    form: Of numbers, '' for none.

  Raises:
    InputError: The times are none that a history can have.
  """
  where = f'dataset.time: column {config.time!r}'
  several = times.kind == 'moment' and not times.zone
  by_day = any(getattr(s, 'delay', None) and s.delay.days for s in config.specs)
  if several and by_day and not config.history_zone:
    raise InputError(
        f'{where} has several offsets, and dataset.history counts days; say'
        " with dataset.history_zone in which zone they begin: '+08:00' or"
        " 'Asia/Shanghai'."
    )
  clock = Clock.of(times, form, config.history_zone, where)
  if config.history_zone and clock.is_written:
    raise InputError(
        f'{where} holds dates as they are written, without a zone; leave'
        ' dataset.history_zone out.'
    )
  short = [span for s in config.specs for span in _spans(s) if not span.days]
  if short and _is_daily(clock, times, where):
    raise InputError(
        f'{where} holds days and no time of the day, and dataset.history asks'
        f' for {short[0]}; write whole days, {"1d"!r} say, or name a column'
        ' with the time.'
    )
  return _reading(config, clock)


def _is_daily(clock: Clock, times: Times, where: str) -> bool:
  """Returns whether all times are one time of the day."""
  if clock.is_daily:
    return True
  first = None
  for low in range(0, len(times.values), CHUNK):
    some = times._replace(values=times.values[low : low + CHUNK])
    try:
      ns = clock.ns(some)
    except InputError as e:
      raise InputError(f'{where}: {e}') from e
    first = ns[0] if first is None else first
    if ((ns - first) % DAY).any():
      return False
  return True


def _reading(config: Any, clock: Clock) -> Reading:
  lists = {
      c.name: ListOptions(c.max_len, c.separator, c.weights)
      for c in config.inputs
      if c.kind == 'ids' and any(c.name in s.key for s in config.specs)
  }
  return Reading(
      config.specs,
      config.tasks,
      config.time,
      clock,
      config.history_request,
      lists,
  )


def _spans(spec: Spec) -> list[Any]:
  """Lists the lengths of time of a spec."""
  names = ('delay', 'window', 'half_life', 'pause')
  return [s for n in names if (s := getattr(spec, n, None)) is not None]


def _check_request(config: Any) -> None:
  """Refuses a request that would tell the label of a row."""
  for label, event in config.events.items():
    if event.column == config.history_request:
      raise InputError(
          f'dataset.history_request names {config.history_request!r}, which is'
          f' the label {label}: what a row sees would tell its label. Name the'
          ' column of the request, or leave it out.'
      )


def _check(spec: Spec, config: Any) -> None:
  """Refuses a spec that the columns of a log do not allow."""
  inputs: Sequence[Input] = config.inputs
  kinds = {c.name: c.kind for c in inputs if not c.is_made}
  events = {event.column: label for label, event in config.events.items()}
  for name in spec.key:
    if name in events:
      raise InputError(
          f'the key {name!r} is the label {events[name]}, which is not known'
          ' before the impression; it may be one of the amounts.'
      )
    if name == config.time:
      raise InputError(f'the key {name!r} is the time of the rows.')
    if kinds.get(name) != 'ids':
      continue
    if len(spec.key) > 1:
      raise InputError(
          f'the key {"+".join(spec.key)!r} joins {name!r}, of which a row has'
          f' several; a list is a key by itself only: {name!r}.'
      )
    if not isinstance(spec, Counter) or spec.last:
      raise InputError(
          f'a row has several {name!r}, so they have rates and counts only;'
          ' leave out the session, the list or last= of them.'
      )
  if isinstance(spec, Entries) and kinds.get(spec.column) != 'id':
    ids = [name for name, kind in kinds.items() if kind == 'id']
    raise InputError(
        f'the list of {spec.column!r} shares the table of that column, which'
        f' dataset.id does not name. {suggest(spec.column, ids)}'
    )
  if isinstance(spec, Counter):
    _check_amounts(spec, config, events)


def _check_amounts(
    spec: Counter, config: Any, events: Mapping[str, str]
) -> None:
  for name in reading.number_columns([spec], config.tasks):
    if name in events:
      raise InputError(
          f'amounts names {name!r}, which is the column of the label'
          f' {events[name]}; write amounts={events[name]}.'
      )
    if name == config.time:
      raise InputError(f'amounts names {name!r}, the time of the rows.')

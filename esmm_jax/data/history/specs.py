"""Parts of a history: counters, sessions and lists of a key.

The text of `dataset.history` (`language`) is parsed to these.
"""

from collections.abc import Sequence
import dataclasses

from esmm_jax.data.history import spans
from esmm_jax.data.history.spans import Span

FORMS = ('float', 'bucket', 'both')
NIGHTLY = 'nightly'
IMPRESSIONS = 'impressions'
DAY = spans.parse('1d')


@dataclasses.dataclass(frozen=True)
class Counter:
  """Rates, counts and last labels of a key.

  Attributes:
    key: Columns; rows agree in all of them.
    delay: Age from which on a row is seen; whole days are days of the calendar.
    amounts: `impressions`, labels, and columns of numbers; () for none.
    window: The rows of so long before `delay` only; None: all.
    half_life: Age at which a row counts half; None: all count alike.
    last: Number of last labels, with their ages.
    form: `float`, `bucket` (ids of equal-mass buckets) or `both`.
    strength: Pseudo-counts of the smoothing.
  """

  key: tuple[str, ...]
  delay: Span = DAY
  amounts: tuple[str, ...] = ()
  window: Span | None = None
  half_life: Span | None = None
  last: int = 0
  form: str = 'both'
  strength: float = 20.0

  @property
  def suffix(self) -> str:
    """Ends the names of its columns: `user_10m_window_7d`."""
    parts = ['+'.join(self.key)]
    parts += [] if self.delay == DAY else [self.delay.text]
    parts += [f'window_{self.window}'] if self.window else []
    parts += [f'half_{self.half_life}'] if self.half_life else []
    return '_'.join(parts)


@dataclasses.dataclass(frozen=True)
class Session:
  """Position and times of a row in the session of its key; no labels.

  Attributes:
    key: Columns.
    pause: A longer pause begins a new session.
    form: See `Counter`.
  """

  key: tuple[str, ...]
  pause: Span
  form: str = 'both'

  @property
  def suffix(self) -> str:
    """Ends the names of its columns."""
    return f'{"+".join(self.key)}_{self.pause}'


@dataclasses.dataclass(frozen=True)
class Entries:
  """The last values of a column that came with a key, as a list.

  Attributes:
    column: Of which the values are; the list shares its table.
    key: Columns.
    delay: See `Counter`.
    last: Length of the list.
    only: Label that the rows have; '' for all rows, with labels and ages beside
      them.
  """

  column: str
  key: tuple[str, ...]
  delay: Span = DAY
  last: int = 20
  only: str = ''

  @property
  def suffix(self) -> str:
    """Ends the names of its columns."""
    parts = [self.column, '+'.join(self.key)]
    parts += [] if self.delay == DAY else [self.delay.text]
    return '_'.join(parts + ([self.only] if self.only else []))


Spec = Counter | Session | Entries


def protocol(specs: Sequence[Spec]) -> str:
  """Returns what scores may know: `nightly`, or `live, delay 10m`; '' if none.

  Nightly, nothing of a row's own day is seen. Live, labels are seen that are
  as old as the shortest delay, and sessions as they are.
  """
  if not specs:
    return ''
  live = [s.delay for s in specs if hasattr(s, 'delay') and not s.delay.days]
  sessions = any(isinstance(s, Session) for s in specs)
  if not live and not sessions:
    return NIGHTLY
  shortest = shortest_delay(specs)
  parts = ['live']
  parts += [f'delay {shortest}'] if shortest else []
  parts += ['sessions'] if sessions else []
  return ', '.join(parts)


def shortest_delay(specs: Sequence[Spec]) -> Span | None:
  """Returns the shortest delay, 24h before 1d; None if no spec has one."""
  delays = [s.delay for s in specs if hasattr(s, 'delay')]
  return min(delays, key=lambda d: (d.ns, d.days > 0), default=None)


def names(spec: Spec, sums: Sequence[str]) -> list[str]:
  """Lists the columns that a spec makes.

  Args:
    spec: The spec.
    sums: Names of a counter's sums: `ctr`, `count`, `mean_watched`.
  """
  if isinstance(spec, Entries):
    return list(list_names(spec))
  end = spec.suffix
  if isinstance(spec, Session):
    numbers = [f'session_{n}_{end}' for n in ('position', 'age', 'gap')]
    codes = []
  else:
    numbers = [f'past_{name}_{end}' for name in sums]
    numbers += [f'last_age_{k + 1}_{end}' for k in range(spec.last)]
    codes = [f'last_label_{k + 1}_{end}' for k in range(spec.last)]
  buckets = [f'{n}_bucket' for n in numbers] if spec.form != 'float' else []
  return [*(numbers if spec.form != 'bucket' else []), *buckets, *codes]


def list_names(spec: Entries) -> tuple[str, ...]:
  """Returns the names of a list, and of those beside it: ages and labels."""
  kinds = ('last', 'last_age') if spec.only else (
      'last', 'last_age', 'last_label')
  return tuple(f'{kind}_{spec.suffix}' for kind in kinds)


def columns(specs: Sequence[Spec]) -> list[str]:
  """Lists the columns that specs read besides labels, each once."""
  names = [name for spec in specs for name in spec.key]
  names += [s.column for s in specs if isinstance(s, Entries)]
  return list(dict.fromkeys(names))

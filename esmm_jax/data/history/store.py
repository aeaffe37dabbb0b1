"""The state of a history at the end of a log, which scoring looks up.

A `Store` holds for each key its sums up to the time `since`, the rows after it,
and the last rows before it: all that a question at `since` or later can ask
for. It answers with the functions that the columns of the log were made with,
on the same events, so that its answers are theirs to the bit. Rows that come
after the log are added by `observe`.
"""

from collections.abc import Mapping, Sequence
import hashlib
from typing import Any, NamedTuple

from esmm_jax.data.history import compute, encode, events, look_up, totals
from esmm_jax.data.history.compute import Past
from esmm_jax.data.history.events import Events
from esmm_jax.data.history.hashes import NO_KEY
from esmm_jax.data.history.layers import Layers, narrow
from esmm_jax.data.history.log import Log
from esmm_jax.data.history.parts import EVERY, held_events, Slab
from esmm_jax.data.history.plan import horizon, limits, State, states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.reading import Reading, Rows
from esmm_jax.data.history.seen import Seen
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.specs import Counter, IMPRESSIONS, Session, Spec
from esmm_jax.data.store.feature_columns import Values
from esmm_jax.types import InputError, Ragged
import numpy as np


class Facts(NamedTuple):
  """The times of a store, nanoseconds since 1970.

  Attributes:
    since: The earliest time that it answers.
    log_until: The last event of the run's own log; `totals.NEVER` without any.
    until: The last event that it has.
    firsts: Split -> the time that its first row asks for.
  """

  since: int
  log_until: int
  until: int
  firsts: Mapping[str, int] = {}


class Observed(NamedTuple):
  """Rows that `Store.observe` was given.

  Attributes:
    added: Rows that were added.
    in_log: Rows that are as old as the log, which has them.
    again: Rows that were observed before.
  """

  added: int
  in_log: int = 0
  again: int = 0


class _Now(NamedTuple):
  """What a store knows; replaced as a whole, so that readers see one."""

  layers: Mapping[State, Layers]
  priors: Priors
  totals: np.ndarray
  facts: Facts
  seen: Seen


class Keeper:
  """Collects the events of a log, part by part, for its `Store`."""

  def __init__(self, reading: Reading, since: int):
    """Prepares for the parts.

    Args:
      reading: Of the log.
      since: The earliest time, nanoseconds, that the store is to answer: the
        first that a test row asks for.
    """
    self._reading, self._since = reading, since
    self._states = states(reading.specs)
    self._parts: dict[State, list[Events]] = {}

  def add(self, state: State, some: Events) -> None:
    """Takes a part, as `compute.compute` hands it to `kept`."""
    _, specs = self._states[state]
    end = horizon(specs, self._reading.clock, self._since)
    trimmed = narrow(events.trim(some, end))
    self._parts.setdefault(state, []).append(trimmed)

  def store(
      self, priors: Priors, until: int, firsts: Mapping[str, int]
  ) -> 'Store':
    """Makes the store of the parts that were added.

    Args:
      priors: Of the log.
      until: Time of its last event.
      firsts: See `Facts`.
    """
    facts = Facts(self._since, until, until, dict(firsts))
    joined = {s: events.join(p) for s, p in self._parts.items()}
    self._parts.clear()
    return Store(self._reading, joined, priors, facts)


class Store:
  """The state of a history; see the module.

  Attributes:
    reading: The specs, and the columns of rows.
    names: The amounts, impressions first.
    tasks: Of the log.
  """

  def __init__(
      self,
      reading: Reading,
      base: Mapping[State, Events],
      priors: Priors,
      facts: Facts,
      seen: Seen | None = None,
  ):
    """Takes the parts of a store; `Keeper` and `store_files.load` make it."""
    self.reading = reading
    self.names = [IMPRESSIONS, *reading.amounts]
    self.tasks = reading.tasks
    self._states = states(reading.specs)
    self._now = _Now(
        {state: Layers([base[state]]) for state in self._states},
        priors,
        priors.totals(),
        facts,
        seen or Seen(),
    )

  @property
  def facts(self) -> Facts:
    """The times."""
    return self._now.facts

  @property
  def since(self) -> int:
    """The earliest time that is answered, nanoseconds since 1970."""
    return self.facts.since

  @property
  def until(self) -> int:
    """The time of the last event, nanoseconds since 1970."""
    return self.facts.until

  @property
  def priors(self) -> Priors:
    """Sums of the whole log by quarter of an hour."""
    return self._now.priors

  @property
  def seen(self) -> Seen:
    """The rows that were observed."""
    return self._now.seen

  @property
  def num_keys(self) -> int:
    """The number of keys, each state's by itself."""
    return sum(
        len(layer.keys)
        for layers in self._now.layers.values()
        for layer in layers.layers
    )

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays, those mapped from files too."""
    now = self._now
    arrays = (*now.priors, now.totals)
    return (
        sum(layers.nbytes for layers in now.layers.values())
        + sum(array.nbytes for array in arrays)
        + now.seen.nbytes
    )

  def fingerprint(self) -> str:
    """Hashes the times, the sums of the whole log and what was observed."""
    now = self._now
    whole = hashlib.sha256(repr(now.facts).encode())
    for array in (*now.priors, now.seen.whole()):
      whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()

  def events(self, since: int | None = None) -> dict[State, Events]:
    """Returns the events of each state.

    Args:
      since: The earliest time that they are to answer; None: as now.
    """
    whole = {s: layers.whole() for s, layers in self._now.layers.items()}
    if since is not None:
      for state, (_, specs) in self._states.items():
        end = horizon(specs, self.reading.clock, since)
        whole[state] = events.trim(whole[state], end)
    return {state: narrow(some) for state, some in whole.items()}

  def past(self, asked: np.ndarray, keys: Mapping[tuple[str, ...], Any]) -> Past:
    """Looks rows up; each by itself.

    Args:
      asked: int64 [n], the times that are asked for, nanoseconds.
      keys: Columns of a key -> hashes, uint64 [n], or a `Ragged` of them.

    Returns:
      The columns of the history, [n].

    Raises:
      InputError: A time is before `since`.
    """
    now = self._now
    early = np.flatnonzero(asked < now.facts.since)
    if len(early):
      raise InputError(self.too_early(asked[early[0]]))
    past = Past({}, {}, {})
    for state, (_, some) in self._states.items():
      question = _Question.of(asked, keys[state.key])
      for spec in some:
        if isinstance(spec, Session):
          self._session(now, past, spec, state, question)
        else:
          if getattr(spec, 'amounts', ()):
            self._sums(now, past, spec, state, question)
          if spec.last:
            self._last(now, past, spec, state, question)
    return past

  def observe(self, rows: Rows, identity: np.ndarray | None = None) -> Observed:
    """Adds rows with labels; later questions see them when their delay is over.

    Rows may come in any order and late. Those that are no newer than the log
    are left out, since the log has them; so are those that an earlier call has
    added.

    Args:
      rows: With amounts.
      identity: uint64 [n], hashes of all that tells rows apart; None: all rows
        are new.

    Returns:
      How many rows were added, and left out.
    """
    now = self._now
    num = len(rows.time)
    is_new = rows.time > now.facts.log_until
    again = np.zeros(num, bool)
    if identity is not None:
      again = is_new & now.seen.has(identity)
    adds = is_new & ~again
    report = Observed(int(adds.sum()), int((~is_new).sum()), int(again.sum()))
    if not report.added:
      return report
    log = Log(
        self.reading.clock,
        rows.time,
        rows.time,
        adds,
        {name: rows.amounts[name] for name in self.reading.amounts},
        rows.keys,
        rows.entries,
        self.tasks,
    )
    layers = {}
    for state, (kind, _) in self._states.items():
      new = held_events(state, kind, log, EVERY, Slab())
      layers[state] = now.layers[state].add(new)
    at = np.flatnonzero(adds)
    priors = now.priors.add(rows.time[at], log.sums(at))
    until = max(now.facts.until, int(rows.time[at].max()))
    seen = now.seen if identity is None else now.seen.add(identity[at])
    self._now = _Now(
        layers,
        priors,
        priors.totals(),
        now.facts._replace(until=until),
        seen,
    )
    return report

  def age_warning(self, asked: np.ndarray) -> str:
    """Says that the history ends long before questions; '' if it does not.

    Args:
      asked: int64 [n], nanoseconds.
    """
    clock, until = self.reading.clock, self.until
    if not len(asked) or until == totals.NEVER:
      return ''
    ends = np.array([until, int(asked.max())])
    first, last = clock.days(ends)
    if last - first < 2 and ends[1] - ends[0] < DAY:
      return ''
    days = int(last - first)
    return (
        f'the history ends at {clock.words(until)}, {days}'
        f' {"day" if days == 1 else "days"} before these rows'
    )

  def too_early(self, time: int) -> str:
    """Says that the history cannot answer at a time, nanoseconds."""
    words = self.reading.clock.words
    return (
        f'a row asks for the history at {words(int(time))}, and the earliest'
        f' time that this run can answer is {words(self.since)}. Older rows are'
        ' those of its own log: score its splits (--split).'
    )

  def _sums(
      self,
      now: _Now,
      past: Past,
      spec: Counter,
      state: State,
      question: '_Question',
  ) -> None:
    limit, since = limits(spec, self.reading.clock, question.asked)
    dtype = np.float64 if spec.half_life else np.int64
    sums = np.zeros((len(question.keys), len(self.names)), dtype)
    for held, at, index in now.layers[state].find(question.keys):
      rows = question.rows[at]
      sums[at] = look_up.sums(
          held, index, limit[rows], None if since is None else since[rows]
      )
    total = question.added(sums)
    prior = now.priors.before(limit, now.totals)
    columns = encode.counter(
        spec,
        dict(zip(self.names, total.T)),
        dict(zip(self.names, prior.T)),
        self.tasks,
    )
    past.numbers.update(columns)

  def _session(
      self,
      now: _Now,
      past: Past,
      spec: Session,
      state: State,
      question: '_Question',
  ) -> None:
    parts = []
    for held, at, index in now.layers[state].find(question.keys):
      visit = look_up.session(held, index, question.asked[question.rows[at]])
      parts.append((at, encode.session(spec, visit)))
    past.numbers.update(_numbers(parts, question))

  def _last(
      self,
      now: _Now,
      past: Past,
      spec: Spec,
      state: State,
      question: '_Question',
  ) -> None:
    limit, _ = limits(spec, self.reading.clock, question.asked)
    lists, numbers, codes = [], [], []
    for held, at, index in now.layers[state].find(question.keys):
      rows = question.rows[at]
      last = look_up.last(held, index, limit[rows], spec.last)
      some = compute.last_columns(spec, held, last, question.asked[rows], self)
      for to, columns in zip((lists, numbers, codes), some):
        to.append((at, columns))
    past.lists.update(_arrays(lists, question))
    past.codes.update(_arrays(codes, question))
    past.numbers.update(_numbers(numbers, question))


class _Question(NamedTuple):
  """The keys that rows ask for; those without a key ask for none.

  Attributes:
    asked: int64 [n], the times of the rows.
    rows: int64 [q], the row of each key; a list of keys is there with each, in
      ascending order, as in a part of the log.
    keys: uint64 [q].
    is_list: Whether a row may have several.
  """

  asked: np.ndarray
  rows: np.ndarray
  keys: np.ndarray
  is_list: bool

  @classmethod
  def of(cls, asked: np.ndarray, keys: np.ndarray | Ragged) -> '_Question':
    """Takes the keys of n rows."""
    is_list = isinstance(keys, Ragged)
    rows = np.arange(len(asked))
    if is_list:
      rows, keys = np.repeat(rows, np.diff(keys.offsets)), keys.values
    at = np.flatnonzero(keys != NO_KEY)
    if is_list:
      at = at[np.argsort(keys[at], kind='stable')]
    return cls(asked, rows[at], keys[at], is_list)

  def added(self, sums: np.ndarray) -> np.ndarray:
    """Adds what is of one row up: [q, A] -> [n, A]."""
    total = np.zeros((len(self.asked), sums.shape[1]), sums.dtype)
    if self.is_list:
      np.add.at(total, self.rows, sums)
    else:
      total[self.rows] += sums
    return total

  def spread(self, values: np.ndarray, empty: Any = 0) -> np.ndarray:
    """Returns what is of each row: [q, ...] -> [n, ...]."""
    out = np.full((len(self.asked), *values.shape[1:]), empty, values.dtype)
    out[self.rows] = values
    return out


_Parts = Sequence[tuple[np.ndarray, Mapping[str, Any]]]


def _arrays(parts: _Parts, question: _Question) -> dict[str, np.ndarray]:
  """Puts the answers of several layers together, (positions, name -> [p])."""
  joined = {}
  for name in parts[0][1]:
    first = parts[0][1][name]
    whole = np.zeros((len(question.keys), *first.shape[1:]), first.dtype)
    for at, columns in parts:
      whole[at] = columns[name]
    joined[name] = question.spread(whole)
  return joined


def _numbers(parts: _Parts, question: _Question) -> dict[str, Values]:
  """Does the same with numbers; those of rows without a key are missing."""
  joined = {}
  for name in parts[0][1]:
    values = np.zeros(len(question.keys))
    missing = np.ones(len(question.keys), bool)
    for at, columns in parts:
      values[at], missing[at] = columns[name]
    joined[name] = Values(
        question.spread(values), question.spread(missing, True)
    )
  return joined

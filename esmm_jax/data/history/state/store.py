"""The state of a history at the end of a log, which scoring looks up.

A `Store` holds for each key its sums up to the time `since`, the rows after it,
and the last rows before it: all that a question at `since` or later can ask
for. It answers with the functions that the columns of the log were made with,
on the same events, so that its answers are theirs to the bit. Rows that come
after the log are added by `observe`.
"""

from collections.abc import Mapping
import hashlib
from typing import Any, NamedTuple

from esmm_jax.data.history import events, totals
from esmm_jax.data.history.compute import Past
from esmm_jax.data.history.events import Events
from esmm_jax.data.history.log import Log
from esmm_jax.data.history.parts import EVERY, held_events, Slab
from esmm_jax.data.history.plan import horizon, State, states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.reading import Reading, Rows
from esmm_jax.data.history.spans import DAY
from esmm_jax.data.history.state.answers import Known
from esmm_jax.data.history.state.layers import Layers, narrow
from esmm_jax.data.history.state.seen import Seen
from esmm_jax.types import InputError
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
  """All that a store knows; replaced as a whole, so that readers see one."""

  known: Known
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
    self._states = states(reading.specs)
    layers = {state: Layers([base[state]]) for state in self._states}
    known = Known(reading, layers, priors, priors.totals())
    self._now = _Now(known, facts, seen or Seen())

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
    return self._now.known.priors

  @property
  def seen(self) -> Seen:
    """The rows that were observed."""
    return self._now.seen

  @property
  def num_keys(self) -> int:
    """The number of keys, each state's by itself."""
    return sum(
        len(layer.keys)
        for layers in self._now.known.layers.values()
        for layer in layers.layers
    )

  @property
  def nbytes(self) -> int:
    """Bytes of all arrays, those mapped from files too."""
    now = self._now
    arrays = (*now.known.priors, now.known.totals)
    return (
        sum(layers.nbytes for layers in now.known.layers.values())
        + sum(array.nbytes for array in arrays)
        + now.seen.nbytes
    )

  def fingerprint(self) -> str:
    """Hashes the times, the sums of the whole log and what was observed."""
    now = self._now
    whole = hashlib.sha256(repr(now.facts).encode())
    for array in (*now.known.priors, now.seen.whole()):
      whole.update(np.ascontiguousarray(array).tobytes())
    return whole.hexdigest()

  def events(self, since: int | None = None) -> dict[State, Events]:
    """Returns the events of each state.

    Args:
      since: The earliest time that they are to answer; None: as now.
    """
    whole = {s: layers.whole() for s, layers in self._now.known.layers.items()}
    if since is not None:
      for state, (_, specs) in self._states.items():
        end = horizon(specs, self.reading.clock, since)
        whole[state] = events.trim(whole[state], end)
    return {state: narrow(some) for state, some in whole.items()}

  def past(
      self, asked: np.ndarray, keys: Mapping[tuple[str, ...], Any]
  ) -> Past:
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
    return now.known.past(asked, keys)

  def observe(
      self,
      rows: Rows,
      identity: np.ndarray | None = None,
      seen: Seen | None = None,
  ) -> Observed:
    """Adds rows with labels; later questions see them when their delay is over.

    Rows may come in any order and late. Those that are no newer than the log
    are left out, since the log has them; so are those that an earlier call has
    added.

    Args:
      rows: With amounts.
      identity: uint64 [n], hashes of all that tells rows apart; None: all rows
        are new.
      seen: The rows that earlier calls have added, for one that takes its rows
        in pieces; None: all that were observed.

    Returns:
      How many rows were added, and left out.
    """
    now = self._now
    seen = now.seen if seen is None else seen
    num = len(rows.time)
    is_new = rows.time > now.facts.log_until
    again = np.zeros(num, bool)
    if identity is not None:
      again = is_new & seen.has(identity)
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
        self.reading.tasks,
    )
    layers = {}
    for state, (kind, _) in self._states.items():
      new = held_events(state, kind, log, EVERY, Slab())
      layers[state] = now.known.layers[state].add(new)
    at = np.flatnonzero(adds)
    priors = now.known.priors.add(rows.time[at], log.sums(at))
    until = max(now.facts.until, int(rows.time[at].max()))
    held = now.seen if identity is None else now.seen.add(identity[at])
    known = Known(self.reading, layers, priors, priors.totals())
    self._now = _Now(known, now.facts._replace(until=until), held)
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

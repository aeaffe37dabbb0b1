"""Writes the shards of a simulated log, by part: a part is a shard.

Any rows of the log are a function of the dials and their numbers, so parts need
nothing of each other but one thing: an id of a validation or test row is rare
where no training row has it. So the training shards come first, each with the
values that it has, and the next splits get those of all of them. The world is
drawn once, and every worker gets it.
"""

from collections.abc import Iterator
import contextlib
import os
import shutil
from typing import Any, NamedTuple

from esmm_jax.data.simulator.log import Seen, SimulatedLog
from esmm_jax.data.store.shards import write_shard, Written
from esmm_jax.engines.engine import Engine, Tell
from esmm_jax.schema import RARE, Schema
from esmm_jax.types import Columns

# Name of a count in the report -> the column that it is the sum of.
_SUMS = {'clicks': 'click', 'conversions': 'conversion'}
_MORE_SUMS = {'carts': 'cart', 'conversions_eventually': 'conversion_eventually'}


class _Part(NamedTuple):
  """Rows of one split.

  Attributes:
    number: Of the shard, from 0.
    start: The first row.
    stop: One past the last row.
  """

  number: int
  start: int
  stop: int


class _Shared(NamedTuple):
  """The things that all parts share.

  Attributes:
    log: With the values of all training rows, for other splits.
    split: The split.
    schema: Of the data set.
    folder: Of the data set.
  """

  log: SimulatedLog
  split: str
  schema: Schema
  folder: str


class _Simulated(NamedTuple):
  """A part that is written.

  Attributes:
    shard: The rows.
    num: Name -> a count of them.
    seen: Their values, of training rows.
  """

  shard: Written
  num: dict[str, int]
  seen: Seen


def shards(
    engine: Engine,
    log: SimulatedLog,
    split: str,
    schema: Schema,
    shard_rows: int,
    folder: str,
    report: dict[str, Any],
    tell: Tell,
) -> Iterator[Written]:
  """Yields the shards of a split; that of the training rows is the first one.

  Args:
    engine: Does the parts.
    log: The log, which gets the values of the training rows.
    split: The split.
    schema: Of the data set.
    shard_rows: Rows of all shards but the last one.
    folder: Of the data set.
    report: Gets the counts.
    tell: Gets rows as they are done.
  """
  low, high = log.config.splits[split]
  begins = range(low, high, shard_rows)
  parts = [
      _Part(k, start, min(start + shard_rows, high))
      for k, start in enumerate(begins)
  ]
  shared, seen = _Shared(log, split, schema, folder), Seen(log.process.world)
  with contextlib.closing(
      engine.map(_simulate, shared, parts, folder, tell)
  ) as results:
    for simulated in results:
      for name, number in simulated.num.items():
        report[name] = report.get(name, 0) + number
      seen.merge(simulated.seen)
      yield simulated.shard
  if split == 'train':
    log.seen = seen


def _simulate(shared: _Shared, part: _Part, tell: Tell) -> _Simulated:
  """Writes a shard."""
  log = shared.log
  folder = os.path.join(shared.folder, f'shard-{shared.split}-{part.number}')
  shutil.rmtree(folder, ignore_errors=True)  # Of a worker that was lost.
  if shared.split == 'train':
    log.seen = Seen(log.process.world, part.start)
  columns = log.columns(part.start, part.stop)
  num = _counts(columns)
  num_bytes = write_shard(folder, shared.schema, columns)
  tell(num['rows'])
  return _Simulated(Written(folder, num['rows'], num_bytes), num, log.seen)


def _counts(columns: Columns) -> dict[str, int]:
  """Counts rows, as the report has them."""
  num = {'rows': len(columns['click'])}
  num |= {n: int(columns[c].sum()) for n, c in _SUMS.items()}
  for name in ('user', 'item'):
    num[f'unseen_{name}s'] = int((columns[name] == RARE).sum())
  more = _MORE_SUMS.items()
  return num | {n: int(columns[c].sum()) for n, c in more if c in columns}

"""Times the history of rows at scoring time: one row, new rows, the store.

  python -m benchmarks.history --keys=1e4,1e7

Prints one JSON object a line. `keys` are users with three rows each, in a
store that is mapped from files: with rates and counts of a delay of ten
minutes, the last three rows, and sessions. `history_row` looks one row up,
`predict_row` is a whole `Predictor.predict` of a raw row; `ms` is the median,
`ms_99` the 99th percentile, of rows of random users in turn, and `cpu_ms` the
mean of the processor time, which other programs lengthen less. `history_batch`
looks 4,096 rows up. `observe` adds rows with labels, 10,000 at a time. `store`
has the bytes on disk and in memory: `bytes` of all arrays, `resident` what the
process has more of after all look-ups.
"""

from collections.abc import Callable
import os
import tempfile
import time
from typing import Any

from absl import flags
from configs import esmm
import esmm_jax
from esmm_jax.data.history import events, hashes
from esmm_jax.data.history.state import store_files
from esmm_jax.data.history.plan import states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.spans import DAY, SECOND
from esmm_jax.data.history.state.store import Keeper, Store
from esmm_jax.serving.predictor import Predictor
from esmm_jax.training.loop import train_and_evaluate
import numpy as np
from pyarrow import parquet
import pyarrow as pa

from benchmarks import common
from experiments import cli

HISTORY = 'user:delay=10m:last=3,item,session=user'
ITEMS = 1000
BEGIN = 1_650_000_000  # Seconds.
CALLS = 2000
NEW_ROWS = 200_000
_PART = 1 << 19  # Keys made at once.

_KEYS = flags.DEFINE_list('keys', ['1e4', '1e7'], 'Users in the store.')


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    predictor = make_run(folder)
    for num in common.counts(_KEYS.value):
      measure(predictor, num, os.path.join(folder, f'store-{num}'))


def make_run(folder: str) -> Predictor:
  """Trains a small run with the history, on a log of three days."""
  rows = 20_000
  r = np.random.default_rng(0)
  log = raw_rows(r, 1000, rows, BEGIN, 3 * 86_400)
  path = os.path.join(folder, 'log.parquet')
  parquet.write_table(log, path)
  tree = esmm.get_config('tabular')
  tree.dataset.update(
      files=path, id='user,item,hour', click='click', conversion='buy',
      split='time', time='time', history=HISTORY)
  tree.update(num_epochs=1)
  workdir = os.path.join(folder, 'run')
  train_and_evaluate(tree, workdir, os.path.join(folder, 'data'))
  return esmm_jax.load(workdir)


def raw_rows(
    r: np.random.Generator, users: int, rows: int, begin: int, seconds: int
) -> pa.Table:
  """Makes rows of random users within some seconds, in order of time."""
  click = r.integers(0, 2, rows)
  return pa.table({
      'user': r.integers(0, users, rows),
      'item': r.integers(0, ITEMS, rows),
      'hour': r.integers(0, 24, rows),
      'time': begin + np.sort(r.integers(0, seconds, rows)),
      'click': click,
      'buy': click * r.integers(0, 2, rows),
  })


def make_store(predictor: Predictor, num: int) -> Store:
  """Makes the store of `num` users with three rows each, part by part."""
  reading = predictor.history.reading
  since = (BEGIN + 10 * 86_400) * SECOND
  keeper = Keeper(reading, since)
  r = np.random.default_rng(1)
  for state, (kind, _) in states(reading.specs).items():
    some = num if state.key == ('user',) else ITEMS
    keys = hashes.of_texts(pa.array(np.arange(some)).cast(pa.string()))
    keys.sort()
    for low in range(0, some, _PART):
      part = np.repeat(keys[low : low + _PART], 3)
      moments = since - r.integers(1, 10 * DAY, len(part))
      click = r.integers(0, 2, len(part))
      buy = click * r.integers(0, 2, len(part))
      amounts = np.stack([np.ones_like(click), click, buy], axis=1)
      amounts = amounts[:, :0] if state.pause else amounts
      keeper.add(state, events.build(kind, part, moments, amounts))
  quarters = (since - np.arange(1, 960) * 900 * SECOND) // (900 * SECOND)
  sums = np.tile([3 * num // 960, num // 960, num // 1920], (959, 1))
  priors = Priors(quarters[::-1].copy(), sums)
  return keeper.store(priors, since - 1, {})


def measure(predictor: Predictor, num: int, folder: str) -> None:
  """Times a store of `num` users and prints the lines."""
  start = time.perf_counter()
  store_files.save(make_store(predictor, num), folder)
  made = time.perf_counter() - start
  before = resident()
  start = time.perf_counter()
  held = store_files.load(folder)
  loaded = time.perf_counter() - start
  predictor = predictor.with_history(predictor.history.copied(store=held))
  r = np.random.default_rng(2)
  begin = BEGIN + 10 * 86_400
  rows = raw_rows(r, num, CALLS, begin, 43_200)
  keys = {
      ('user',): hashes.of_texts(rows['user'].combine_chunks().cast('string')),
      ('item',): hashes.of_texts(rows['item'].combine_chunks().cast('string')),
  }
  asked = rows['time'].to_numpy() * SECOND
  dicts = [{n: [v] for n, v in row.items()} for row in rows.to_pylist()]

  def look_up(k: int) -> Any:
    some = slice(k, k + 1)
    return held.past(asked[some], {n: key[some] for n, key in keys.items()})

  report('history_row', num, look_up, 1)
  report('predict_row', num, lambda k: predictor.predict(dicts[k]), 1)
  many = np.arange(4096) % CALLS
  batch = {n: key[many] for n, key in keys.items()}
  report(
      'history_batch', num, lambda _: held.past(asked[many], batch), 4096, 20
  )
  grown = resident() - before
  on_disk = sum(e.stat().st_size for e in os.scandir(folder))
  common.print_line({
      'name': 'store',
      'keys': num,
      'states_keys': held.num_keys,
      'bytes_on_disk': on_disk,
      'bytes': held.nbytes,
      'resident': grown,
      'load_seconds': round(loaded, 2),
      'make_seconds': round(made, 2),
  })
  new = raw_rows(r, num, NEW_ROWS, begin, 86_400)
  pieces = [new.slice(k, 10_000) for k in range(0, NEW_ROWS, 10_000)]
  predictor.observe(new.slice(0, 10))
  start = time.perf_counter()
  for piece in pieces[1:]:
    predictor.observe(piece)
  ms = (time.perf_counter() - start) / (len(pieces) - 1) * 1e3
  common.emit('observe', NEW_ROWS, 10_000, ms, keys=num)
  report('history_row_observed', num, look_up, 1)


def report(
    name: str,
    num: int,
    call: Callable[[int], Any],
    rows: int,
    calls: int = CALLS,
) -> None:
  """Times calls one after the other, and prints their line."""
  call(0)
  times, begin = [], time.process_time()
  for k in range(calls):
    start = time.perf_counter()
    call(k)
    times.append((time.perf_counter() - start) * 1e3)
  busy = (time.process_time() - begin) / calls * 1e3
  common.emit(
      name,
      rows,
      rows,
      float(np.median(times)),
      keys=num,
      cpu_ms=round(busy, 3),
      ms_99=round(float(np.quantile(times, 0.99)), 3),
      ms_first=round(times[0], 3),
  )


def resident() -> int:
  """Returns the bytes of memory that the process has now."""
  with open('/proc/self/statm', encoding='utf-8') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


if __name__ == '__main__':
  cli.run(main)

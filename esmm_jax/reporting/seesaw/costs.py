"""Examples/s of each arm beside static weights."""

from collections.abc import Mapping, Sequence
import math
from typing import Any

from esmm_jax.metrics.significance import summarize, Summary
from esmm_jax.reporting.grid import counted, Grid, NONE, number, spread
from esmm_jax.reporting.seesaw.stops import named
from esmm_jax.sweeps.results import Row
from esmm_jax.sweeps.seesaw import RATE

_RATIO_DECIMALS = 2


def relative(row: Row, static: Row) -> Summary:
  """Summarizes how many times the time of static weights an arm takes.

  Args:
    row: The arm.
    static: The config as it is.

  Returns:
    Of the seeds at which both were trained side by side with as many others;
    n is 0 without one.
  """
  times = []
  for seed, run in row.runs.items():
    other = static.runs.get(seed)
    if other is None or run.results is None or other.results is None:
      continue
    if run.value('replicas') == other.value('replicas'):
      times.append(other.value(RATE) / run.value(RATE))
  return summarize(times)


def costs_grid(rows: Sequence[Row], static: Row) -> Grid:
  """Shows rate, and time per example beside static weights.

  Args:
    rows: All arms.
    static: The config as it is.
  """
  lines = []
  for row in rows:
    done = [run for run in row.runs.values() if run.results is not None]
    rate = summarize(run.value(RATE) for run in done)
    beside = sorted({int(run.value('replicas')) for run in done})
    times = relative(row, static)
    lines.append([
        *named(row.values),
        counted(len(done), len(row.runs)),
        spread(rate, 0),
        ', '.join(map(str, beside)) or NONE,
        number(times.mean, _RATIO_DECIMALS) if times.n else NONE,
    ])
  notes = [
      'Examples of a batch a second, as the run had it, compilation and'
      ' evaluation left out; runs side by side share a batch. Time: that of an'
      ' example over that of the config as it is at the same seed, where'
      ' both were trained beside as many others. On a machine that does other'
      ' work at the same time it is a guess.'
  ]
  headers = ['arm', 'ratio', 'n', 'examples/s', 'side by side', '× static time']
  return Grid('', headers, lines, 2, notes)


def numbers(rows: Sequence[Row], static: Row) -> list[Mapping[str, Any]]:
  """Returns the same as plain data, nan as None."""
  made = []
  for row in rows:
    done = [run for run in row.runs.values() if run.results is not None]
    rate, times = summarize(r.value(RATE) for r in done), relative(row, static)
    values = {'examples_per_second': rate.mean, 'static_times': times.mean}
    made.append(
        {'arm': row.values[0], 'ratio': row.values[1], 'n': len(done)}
        | {k: None if math.isnan(v) else v for k, v in values.items()}
    )
  return made

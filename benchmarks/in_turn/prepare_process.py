"""One process of `benchmarks.in_turn.prepare`.

  python -m benchmarks.in_turn.prepare_process REQUEST

REQUEST is a JSON object: `options` of a log, `data_dir`, `engine`, `workers`.
Prints what preparing it took as one JSON object.
"""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import glob
import json
import os
import sys
import time
from typing import Any, NamedTuple

from esmm_jax.data.tabular.passes import count, encode
from esmm_jax.engines import choice
from esmm_jax.training import parts

PASSES = ('count', 'encode')
_PROGRAM, _WORKERS, _RAY = 'program', 'workers', 'ray'
_TICKS = os.sysconf('SC_CLK_TCK')


class Usage(NamedTuple):
  """Time and memory of a process.

  Attributes:
    kind: `_PROGRAM`, `_WORKERS` or `_RAY`.
    cpu: Processor seconds.
    peak: The most memory that it has had, in bytes.
  """

  kind: str
  cpu: float
  peak: int


def usages() -> dict[int, Usage]:
  """Returns what this process and those below it have taken, by number."""
  every, todo = {}, [os.getpid()]
  while todo:
    number = todo.pop()
    with contextlib.suppress(OSError):  # It has ended.
      every[number] = _usage(number)
      for path in glob.glob(f'/proc/{number}/task/*/children'):
        todo += map(int, _read(path).split())
  return every


def _usage(number: int) -> Usage:
  """Reads what a process has taken."""
  fields = _read(f'/proc/{number}/stat').rpartition(')')[2].split()
  status = dict(
      line.split(':', 1)
      for line in _read(f'/proc/{number}/status').splitlines()
  )
  peak = int(status.get('VmHWM', '0').split()[0]) * 1024
  command = _read(f'/proc/{number}/cmdline')
  kind = _RAY
  if number == os.getpid():
    kind = _PROGRAM
  elif 'esmm_jax.engines.worker' in command or '_Actor' in command:
    kind = _WORKERS
  return Usage(kind, (int(fields[11]) + int(fields[12])) / _TICKS, peak)


def _read(path: str) -> str:
  with open(path, encoding='utf-8', errors='replace') as f:
    return f.read()


def seconds(
    before: Mapping[int, Usage], after: Mapping[int, Usage]
) -> dict[str, Any]:
  """Returns processor seconds of each process; those of Ray are added up."""
  def of(kind: str) -> Iterator[float]:
    for number, usage in sorted(after.items()):
      if usage.kind == kind:
        yield usage.cpu - (before[number].cpu if number in before else 0.0)

  return {
      _PROGRAM: round(sum(of(_PROGRAM)), 2),
      _WORKERS: [round(cpu, 2) for cpu in of(_WORKERS)],
      _RAY: round(sum(of(_RAY)), 2),
  }


class Watched:
  """Time and memory of the passes.

  Attributes:
    passes: Pass -> `ms` and `cpu_seconds`.
    last: Process -> its last usage that was seen.
  """

  def __init__(self):
    self.passes: dict[str, dict[str, Any]] = {}
    self.last: dict[int, Usage] = {}

  def watch(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a pass that notes what it takes."""

    def watched(*arguments: Any) -> Any:
      before, start = usages(), time.perf_counter()
      result = do(*arguments)
      ms = (time.perf_counter() - start) * 1e3
      after = usages()
      self.last |= after
      self.passes[name] = {
          'ms': round(ms, 3), 'cpu_seconds': seconds(before, after)
      }
      return result

    return watched


def main(request: Mapping[str, Any]) -> None:
  """Prepares a log and prints what that took."""
  watched = Watched()
  # Workers end with the data set's own block, so the passes are watched.
  count.count = watched.watch('count', count.count)
  encode.encode = watched.watch('encode', encode.encode)
  builder = parts.data_builder(request['options'], request['data_dir'])
  before, start = usages(), time.perf_counter()
  with choice.using(request['engine'], request['workers']):
    builder.prepare()
  ms = (time.perf_counter() - start) * 1e3
  watched.last |= usages()
  peaks: dict[str, list[int]] = {_PROGRAM: [], _WORKERS: [], _RAY: []}
  for _, usage in sorted(watched.last.items()):
    peaks[usage.kind].append(usage.peak)
  print(json.dumps({
      'ms': round(ms, 3),
      'cpu_seconds': seconds(before, watched.last),
      'peak_rss_bytes': {
          _PROGRAM: sum(peaks[_PROGRAM]),
          _WORKERS: peaks[_WORKERS],
          _RAY: sum(peaks[_RAY]),
      },
      **watched.passes,
  }))


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))

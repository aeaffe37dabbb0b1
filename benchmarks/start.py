"""Says where each second of a run goes, from its start to its last number.

  python -m benchmarks.start --spec=configs/esmm.py:smoke

Trains the config twice, each time in a new process: `cold` begins without data
and compiled programs, `warm` with those of the first. Prints one JSON object a
line: seconds by the clock and of the processors, in parts that do not overlap,
and of compilation, which is in them.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any

from absl import flags

from benchmarks import common
from experiments import cli, load

_SPEC = flags.DEFINE_string(
    'spec', 'configs/esmm.py:smoke', 'File and variant of the config.'
)
_HOME = flags.DEFINE_string('home', None, 'Folder of a single run, made here.')
_BEGUN = flags.DEFINE_float('begun', None, 'When its process was started.')
flags.adopt_module_key_flags(common)


class Sections:
  """Seconds of parts of a program, of which one is at work at a time."""

  def __init__(self, begun: float):
    """Begins with the part `imports`.

    Args:
      begun: When the process was started, as `time.time` has it.
    """
    self.seconds: dict[str, list[float]] = {}  # By the clock, of processors.
    self._names = ['imports']
    self._since = begun, 0.0

  def _read(self) -> None:
    """Adds the time since the last reading to the part that is at work."""
    now = time.time(), time.process_time()
    total = self.seconds.setdefault(self._names[-1], [0.0, 0.0])
    for k in range(2):
      total[k] += now[k] - self._since[k]
    self._since = now

  def end(self) -> None:
    """Ends the part that is at work; the one around it goes on."""
    self._read()
    self._names.pop()

  @contextlib.contextmanager
  def of(self, name: str) -> Iterator[None]:
    """Counts the block as a part, and not in the part around it."""
    self._read()
    self._names.append(name)
    try:
      yield
    finally:
      self.end()

  def counted(self, name: str, owner: Any, *functions: str) -> None:
    """Counts each call of functions of a module or class as a part."""

    def counting(function: Callable[..., Any]) -> Callable[..., Any]:
      @functools.wraps(function)
      def call(*args, **kwargs):
        with self.of(name):
          return function(*args, **kwargs)

      return call

    for function in functions:
      setattr(owner, function, counting(getattr(owner, function)))


def measure(spec: str, home: str, begun: float) -> dict[str, Any]:
  """Trains in this process; returns the seconds of each part.

  Args:
    spec: File and variant of the config.
    home: Folder of the run and of its data.
    begun: See `Sections`.
  """
  sections = Sections(begun)
  from esmm_jax.doctor import compiled
  from esmm_jax.training import job, loop, parts, phases, predict
  import jax

  compiling = [0.0]

  def add(name: str, seconds: float, **_: Any) -> None:
    if name.startswith('/jax/core/compile/'):
      compiling[0] += seconds

  jax.monitoring.register_event_duration_secs_listener(add)
  sections.counted('data', parts, 'dataset')
  sections.counted('building', job, 'build')
  sections.counted('initialising', job, 'open_job', 'initialise_or_restore')
  sections.counted('training', loop, 'train')
  sections.counted('predicting', predict.SplitPredictor, 'run')
  sections.counted('metrics', predict, 'split_metrics')
  sections.counted('saving', job.Job, 'save')
  sections.counted('writing', phases, 'keep_checkpoints', 'write_results')
  with sections.of('other'):
    data = os.path.join(home, 'data')
    run = os.path.join(home, f'run{len(os.listdir(home))}')
    with compiled.kept(os.path.join(data, 'compiled')):
      config = load.config(spec)
      config.evals_per_epoch = 1  # As in the numbers of docs/scale.md.
      results = loop.train_and_evaluate(config, run, data)
  sections.end()
  wall, cpu = map(sum, zip(*sections.seconds.values()))
  return {
      'config': spec,
      'steps': results['steps'],
      'seconds': round(wall, 2),
      'cpu_seconds': round(cpu, 2),
      'compilation_seconds': round(compiling[0], 2),
      'parts': {
          name: [round(x, 2) for x in both]
          for name, both in sections.seconds.items()
      },
  }


def main() -> None:
  if _HOME.value:
    common.print_line(measure(_SPEC.value, _HOME.value, _BEGUN.value))
    return
  variables = dict(os.environ)
  variables.pop('JAX_COMPILATION_CACHE_DIR', None)  # It may hold programs.
  with tempfile.TemporaryDirectory() as home:
    for name in ('cold', 'warm'):
      done = subprocess.run(
          [
              sys.executable, '-m', 'benchmarks.start',
              f'--spec={_SPEC.value}', f'--home={home}',
              f'--begun={time.time()!r}',
          ],
          stdout=subprocess.PIPE, text=True, env=variables, check=False,
      )
      if done.returncode:  # Its own line on stderr says why.
        sys.exit(done.returncode)
      measured = json.loads(done.stdout.splitlines()[-1])
      common.print_line({'name': 'start', 'run': name} | measured)


if __name__ == '__main__':
  cli.run(main)

"""A training run that kills itself at a chosen place.

  python -m tests.training.killing [PLACE NUMBER] ...flags of experiments.train

At the NUMBER-th time that it comes to PLACE the process gets SIGKILL, which
nothing can catch: no buffer is written, no handler runs. PLACE is a key of
`PLACES`.
"""

import os
import signal
import threading
import time

from experiments import cli, train


def die(*unused, **unused_too):
  os.kill(os.getpid(), signal.SIGKILL)


class Countdown:
  """True at the NUMBER-th call."""

  def __init__(self, number):
    self._left = number

  def __call__(self):
    self._left -= 1
    return self._left == 0


def claimed(now):
  """The folder is claimed, nothing else is there."""
  from esmm_jax.workdir import manifest

  write = manifest.write
  manifest.write = lambda *a: die() if now() else write(*a)


def stepping(now):
  """Between two steps."""
  from esmm_jax.training.feeding import Streamed

  advance = Streamed.advance

  def change(self, state, start, stop, hyper):
    if now():
      advance(self, state, start, stop, hyper)
      die()
    return advance(self, state, start, stop, hyper)

  Streamed.advance = change


def half_line(now):
  """In the middle of a line of metrics.jsonl."""
  from esmm_jax.workdir.writer import Writer

  write = Writer.write

  def change(self, step, metrics):
    if now():
      self._file.write('{"step": 123, "time": 1.5, "tra')
      self._file.flush()
      die()
    write(self, step, metrics)

  Writer.write = change


def evaluating(now):
  """In the middle of an evaluation."""
  from esmm_jax.training.predict import SplitPredictor

  metrics = SplitPredictor.metrics

  def change(self, *arguments):
    found = metrics(self, *arguments)
    if now():
      die()
    return found

  SplitPredictor.metrics = change


def saving(now):
  """While Orbax writes a checkpoint."""
  from esmm_jax.workdir.checkpoint import Checkpoints

  save = Checkpoints.save

  def change(self, *arguments):
    if now():
      threading.Thread(target=_die_when_seen, args=(self._folder,)).start()
    save(self, *arguments)

  Checkpoints.save = change


def _die_when_seen(folder):
  while not any('tmp' in name for name in os.listdir(folder)):
    time.sleep(0.0002)
  die()


def unsealed(now):
  """A checkpoint has its name, its checksums are not written."""
  from esmm_jax import checksums

  seal = checksums.seal
  checksums.seal = lambda folder: die() if now() else seal(folder)


def results(now):
  """results.json is written under another name."""
  replace = os.replace

  def change(source, target, **more):
    if os.path.basename(target) == 'results.json' and now():
      die()
    replace(source, target, **more)

  os.replace = change


PLACES = {
    f.__name__: f
    for f in (
        claimed, stepping, half_line, evaluating, saving, unsealed, results)
}


def main(argv):
  if len(argv) > 1:
    PLACES[argv[1]](Countdown(int(argv[2])))
  train.main()


if __name__ == '__main__':
  cli.run(main, positional=True)

"""Writes the metrics of a run to metrics.jsonl, TensorBoard and the console."""

from collections.abc import Callable, Mapping, Sequence
import contextlib
import hashlib
import json
import math
import os
import time
from typing import Any, Protocol

from esmm_jax import streams, system_errors
from esmm_jax.json_files import read_jsonl, to_json
from esmm_jax.whole_files import write_text
from esmm_jax.workdir.events import Events
from tqdm import tqdm


def _is_before(line: Mapping[str, Any], start_step: int) -> bool:
  """Returns whether a run that resumes at a step will not write a line again.

  It tests again in any case: the test split follows the last checkpoint.
  """
  tested = any(key.startswith('test/') for key in line)
  return line['step'] <= start_step and not tested


_EVERY = 30.0  # Seconds between lines of progress where there is no bar.


class Follower(Protocol):
  """Gets what a `Writer` writes; `tracking.recorder` is one."""

  def start(self, lines: Sequence[Mapping[str, Any]]) -> None:
    ...

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    ...

  def end(self, results: Mapping[str, Any]) -> None:
    ...

  def close(self) -> None:
    ...


class Writer:
  """Writes the metrics of a run and shows its progress.

  metrics.jsonl holds one line a report, with `step`, `time` (seconds since
  1970) and the metrics. When a run resumes from a checkpoint, the lines after
  it are removed first, so no line is repeated. That file is a part of the run;
  the console and the TensorBoard events are by-products, which may fail.
  """

  def __init__(
      self,
      workdir: str,
      start_step: int,
      total_steps: int,
      shows: bool = True,
      speaks: bool = True,
  ):
    """Opens the files of a run that starts or resumes at `start_step`.

    Args:
      workdir: The run's folder.
      start_step: Steps done.
      total_steps: Steps of the whole run.
      shows: Shows a progress bar; true for one of several replicas.
      speaks: Lets `say` print; true for one of several processes.
    """
    self._path = os.path.join(workdir, 'metrics.jsonl')
    lines = read_jsonl(self._path, strict=False)
    text = ''.join(
        json.dumps(r) + '\n' for r in lines if _is_before(r, start_step)
    )
    self._sha256 = hashlib.sha256(text.encode())
    write_text(self._path, text)
    self._file = open(self._path, 'a', encoding='utf-8')
    self._speaks = speaks
    self._before = [json.loads(line) for line in text.splitlines()]
    self._followers: list[Follower] = []
    self._ended = False
    folder = os.path.join(workdir, 'tensorboard')
    self._events = Events(folder, start_step, self.warn)
    # `disable=None`: no bar where the output is a file; lines, now and then.
    self._lines = shows and not streams.terminal()
    self._total, self._start = total_steps, start_step
    self._begun = self._last = time.monotonic()
    self._bar = streams.bar(
        total=total_steps,
        initial=start_step,
        unit='step',
        disable=None if shows else True,
        dynamic_ncols=True,
    )

  def begin(
      self, config: Mapping[str, Any], followers: Sequence[Follower] = ()
  ) -> None:
    """Notes the config for TensorBoard; lets others follow what is written.

    Args:
      config: Flat key -> value.
      followers: Get what metrics.jsonl has so far, and all that it will get.
    """
    self._events.begin(config)
    self._followers = list(followers)
    for follower in self._followers:
      follower.start(self._before)
    self._before = []

  @property
  def digest(self) -> str:
    """sha256 of the text written to metrics.jsonl."""
    return self._sha256.hexdigest()

  @property
  def path(self) -> str:
    """Path of metrics.jsonl."""
    return self._path

  @property
  def is_gone(self) -> bool:
    """True if metrics.jsonl was removed, renamed or replaced."""
    opened = os.fstat(self._file.fileno())
    try:
      now = os.stat(self._path)
    except (FileNotFoundError, NotADirectoryError):
      return True
    # Some file systems number a file anew: the size tells then.
    return not os.path.samestat(opened, now) and opened.st_size != now.st_size

  def progress(self, step: int, loss: float, rate: float) -> None:
    """Moves the bar; `rate` is in examples a second, and goes to TensorBoard.

    It is no line of metrics.jsonl, whose numbers are the same on any machine.
    Where stderr is no terminal there is no bar and no carriage return, but a
    line every half minute.
    """
    if math.isfinite(rate):
      self._events.add('examples_per_second', rate, step)
    now = time.monotonic()
    if self._lines and now - self._last >= _EVERY and step < self._total:
      self._last = now
      done = max(step - self._start, 1)
      left = (now - self._begun) / done * (self._total - step)
      streams.progress(
          f'step {step:,} of {self._total:,} ({100 * step // self._total} %)'
          f' loss {loss:.4f}, {rate:,.0f} examples/s, about'
          f' {tqdm.format_interval(left)} left'
      )
    self._bar.set_postfix_str(f'loss {loss:.4f}, {rate:,.0f} examples/s')
    self._bar.update(step - self._bar.n)

  def evaluating(self, split: str) -> Callable[[int, int], None]:
    """Returns what shows the rows of a split that are evaluated, of how many.

    Args:
      split: Its name.
    """

    def tell(done: int, rows: int) -> None:
      now = time.monotonic()
      text = f'evaluating {split}: {done:,} of {rows:,} rows'
      if self._lines and now - self._last >= _EVERY and done < rows:
        self._last = now
        streams.progress(text)
      self._bar.set_postfix_str(text)

    return tell

  def write(self, step: int, metrics: Mapping[str, float]) -> None:
    """Appends a line to metrics.jsonl and to the TensorBoard events.

    Args:
      step: Steps done.
      metrics: Name -> number.

    Raises:
      OSError: metrics.jsonl cannot be written.
    """
    line = to_json({'step': step, 'time': time.time(), **metrics})
    text = json.dumps(line) + '\n'
    self._sha256.update(text.encode())
    with system_errors.naming(self._path):
      self._file.write(text)
      self._file.flush()
      os.fsync(self._file.fileno())
    for key, value in metrics.items():
      if math.isfinite(value) and not key.endswith('_hash'):
        self._events.add(key, value, step)
    for follower in self._followers:
      follower.write(step, metrics)

  def end(self, results: Mapping[str, Any]) -> None:
    """Ends a run that has finished, before `close`; takes results.json."""
    self._ended = True
    for follower in self._followers:
      follower.end(results)

  def say(self, text: str) -> None:
    """Prints a line without breaking the bar."""
    if self._speaks:
      streams.say(text)

  def warn(self, text: str) -> None:
    """Prints a line on stderr that begins with `warning: `."""
    if self._speaks:
      streams.warn(text)

  def close(self) -> None:
    """Closes the bar and the files."""
    self._bar.close()
    # Each line was written to the disk, or raised an error, which must not be
    # replaced by this one.
    with contextlib.suppress(OSError):
      self._file.close()
    self._events.end(self._ended)
    self._events.close()
    for follower in self._followers:
      follower.close()

"""The progress of a whole sweep: a bar, or a line a run in a log file."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import time

from esmm_jax import streams
from esmm_jax.printable import in_one_line

_POLL_SECONDS = 1.0  # Between two looks at runs of other processes.


class Progress:
  """Shows the whole sweep's progress: a bar, or a line a run in a log file.

  Attributes:
    since: Seconds since 1970 at which it began.
    is_log: True without a terminal, where the lines of runs are not shown.
  """

  def __init__(self, total: int, finished: int):
    self._terminal = streams.terminal()
    self.is_log = not self._terminal
    self._bar = streams.bar(
        total=total,
        initial=finished,
        desc='sweep',
        unit='run',
        # The rest is estimated from all runs so far.
        smoothing=0,
        disable=not self._terminal,
        dynamic_ncols=True,
    )
    self._total, self._finished, self._done = total, finished, 0
    self._start = time.monotonic()
    self._begun: dict[str, float] = {}  # First run of a group -> its begin.
    self.since = time.time()
    self._waits = False

  def count(self, num: int) -> None:
    """Counts runs that another process has ended."""
    self._finished += num
    self._bar.update(num)

  def wait(self, names: Sequence[Sequence[str]]) -> None:
    """Waits some time for runs of another process; says so once."""
    if not self._waits:
      num = sum(map(len, names))
      runs = f'{num} runs' if num > 1 else 'a run'
      streams.say(f'Waiting for {runs} that another process trains.')
    self._waits = True
    time.sleep(_POLL_SECONDS)

  def begin(self, names: Sequence[str]) -> None:
    """Takes a group that begins; several may be at work at once."""
    self._begun[names[0]] = time.monotonic()
    more = f' and {len(names) - 1} beside it' if len(names) > 1 else ''
    self._bar.set_postfix_str(names[0] + more)

  @contextlib.contextmanager
  def quiet(self) -> Iterator[None]:
    """Without a terminal, suppresses the lines of a run but its warnings."""
    with streams.quiet(self.is_log):
      yield

  def end(self, ends: Mapping[str, Exception | None]) -> None:
    """Counts the runs of a group and prints their lines."""
    if not ends:  # Another process was at all of them.
      return
    from tqdm import tqdm

    now = time.monotonic()
    begun = self._begun.get(next(iter(ends)), self._start)
    took = tqdm.format_interval(now - begun)
    first = self._finished + self._done + 1
    self._done += len(ends)
    elapsed = now - self._start
    rest = self._total - self._finished - self._done
    left = tqdm.format_interval(elapsed / self._done * rest)
    elapsed = tqdm.format_interval(elapsed)
    beside = f' ({len(ends)} side by side)' if len(ends) > 1 else ''
    for number, (name, error) in enumerate(ends.items(), first):
      end = f'failed after {took}: {error}' if error else took
      line = in_one_line(f'[{number}/{self._total}] {name}: {end}{beside}')
      if self._terminal:
        self._bar.update()
        streams.say(line)
      else:
        streams.say(f'{line} (sweep {elapsed}, about {left} left)')

  def close(self) -> None:
    self._bar.close()

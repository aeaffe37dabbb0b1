"""Standard streams whose failure stops nothing.

What a program prints is a by-product. The reader of a pipe may be gone
(`| head`), or the terminal, the disk behind `> FILE` may be full, a stream may
be closed from the start (`2>&-`, daemons): the work is done all the same, and
one line on the other stream says what is lost. A warning is lost only where
neither stream can be written.
"""

from collections.abc import Iterator
import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

from esmm_jax import system_errors
from esmm_jax.printable import in_one_line, printable

# Stream -> the one that says what it has lost.
_OTHER = {'stdout': 'stderr', 'stderr': 'stdout'}


class _Nowhere(io.TextIOBase):
  """Stands for a stream that was closed when the process began."""

  def write(self, text: str) -> int:
    return len(text)


class Unfailing:
  """A text stream that swallows what it cannot write.

  Attributes:
    error: Why it failed, since when it writes nothing; None while it works.
  """

  def __init__(self, stream: TextIO | None, name: str):
    """Wraps a stream.

    Args:
      stream: The stream; None: it was closed from the start.
      name: `stdout` or `stderr`, for the line on the other one.
    """
    self.stream = _Nowhere() if stream is None else stream
    self.error = OSError(errno.EBADF, 'closed') if stream is None else None
    self._name = name

  def __getattr__(self, name: str) -> Any:
    return getattr(self.stream, name)

  def __eq__(self, other: Any) -> bool:
    """Compares what is wrapped: tqdm looks so for its bar's stream."""
    return self.stream is getattr(other, 'stream', other)

  def __hash__(self) -> int:
    return hash(self.stream)

  def write(self, text: str) -> int:
    """Writes a text, or nothing; returns its length."""
    try:
      if self.error is None:
        self.stream.write(text)
    except UnicodeEncodeError as e:
      self.write(text.encode(e.encoding, 'backslashreplace').decode(e.encoding))
    except (OSError, ValueError) as e:  # ValueError: somebody closed it.
      self._fail(e)
    return len(text)

  def flush(self) -> None:
    """Writes what waits in memory, or drops it."""
    try:
      if self.error is None:
        self.stream.flush()
    except (OSError, ValueError) as e:
      self._fail(e)

  def isatty(self) -> bool:
    """Returns True for a terminal that is there."""
    try:
      return self.error is None and self.stream.isatty()
    except (OSError, ValueError):
      return False

  def _fail(self, error: Exception) -> None:
    self.error = error
    with contextlib.suppress(OSError, ValueError):
      number = self.stream.fileno()
      if number in (1, 2):  # What waits in memory is written at exit.
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, number)
        os.close(nothing)
        self.stream.flush()
    if not (_mode.only_prints and _is_broken_pipe(error)):
      _put(
          _standard(_OTHER[self._name]),
          f'warning: {self._name}: {system_errors.told(error)} What would be'
          ' printed there is lost; the work is done all the same.',
      )


class _Mode:
  """State of the whole process.

  Attributes:
    only_prints: The program does nothing but print.
    quiet: `say` prints nothing.
    wrapped: Name -> the stream last wrapped, where `guard` was not called.
    guarded: Name -> the stream that `guard` wrapped.
  """

  only_prints = False
  quiet = False
  guarded: dict[str, Unfailing] = {}
  wrapped: dict[str, Unfailing] = {}


_mode = _Mode()


def guard() -> None:
  """Lets the standard streams of this process fail without an effect."""
  for number in range(3):
    try:
      os.fstat(number)
    except OSError:  # The next file to be opened would get this number.
      os.open(os.devnull, os.O_RDWR)
  for name in _OTHER:
    _mode.guarded[name] = _standard(name)
    setattr(sys, name, _mode.guarded[name])


def only_prints() -> None:
  """Notes that the program does nothing but print: `lost` matters then."""
  _mode.only_prints = True


def lost() -> Exception | None:
  """Returns why a program that only prints has not printed everything.

  A reader that has seen enough, and a stream that was closed from the start,
  are no reasons.
  """
  out = _standard('stdout')
  out.flush()
  error = out.error if _mode.only_prints else None
  closed = isinstance(out.stream, _Nowhere)
  return None if closed or error and _is_broken_pipe(error) else error


def say(text: str) -> None:
  """Prints lines on stdout without breaking a progress bar."""
  if not _mode.quiet:
    _put(_standard('stdout'), printable(text))


@contextlib.contextmanager
def quiet(silent: bool = True) -> Iterator[None]:
  """Lets `say` print nothing within the block; warnings are printed."""
  before, _mode.quiet = _mode.quiet, silent
  try:
    yield
  finally:
    _mode.quiet = before


def warn(text: str) -> None:
  """Prints a line that begins with `warning: ` where people see it."""
  complain(f'warning: {text}')


def complain(text: str) -> None:
  """Prints one line on stderr; where that cannot be written, on stdout."""
  errors, line = _standard('stderr'), in_one_line(text)
  _put(errors, line)
  if errors.error is not None:  # stdout as it began: it may be redirected.
    _put(_mode.guarded.get('stdout') or _standard('stdout'), line)


def progress(text: str) -> None:
  """Prints a line on stderr of no lasting interest."""
  _put(_standard('stderr'), printable(text))


def bar(**options: Any) -> Any:
  """Makes a progress bar on stderr; `options` are those of `tqdm.tqdm`."""
  from tqdm import tqdm  # Not where there is none.

  return tqdm(file=_standard('stderr'), **options)


def terminal() -> bool:
  """Returns True if stderr is a terminal."""
  return _standard('stderr').isatty()


def _standard(name: str) -> Unfailing:
  """Returns stdout or stderr as it is now, wrapped."""
  stream = getattr(sys, name)
  if isinstance(stream, Unfailing):
    return stream
  last = _mode.wrapped.get(name)
  if last is None or last.stream is not stream:
    last = _mode.wrapped[name] = Unfailing(stream, name)
  return last


def _put(stream: Unfailing, text: str) -> None:
  tqdm = getattr(sys.modules.get('tqdm'), 'tqdm', None)
  mode = tqdm.external_write_mode(stream) if tqdm else contextlib.nullcontext()
  with mode:
    stream.write(text + '\n')
    stream.flush()


def _is_broken_pipe(error: Exception) -> bool:
  return isinstance(error, OSError) and error.errno == errno.EPIPE

"""Standard streams that fail: nothing is raised, one line is said."""

import errno
import io
import os
import subprocess
import sys

from esmm_jax import streams
import pytest
from tqdm import tqdm

from tests import ROOT

BROKEN = OSError(errno.EPIPE, os.strerror(errno.EPIPE))
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Failing(io.StringIO):
  """A stream of which a part can be written."""

  def __init__(self, error, length=0):
    super().__init__()
    self.failure, self.length = error, length

  def write(self, text):
    if self.tell() + len(text) > self.length:
      raise self.failure
    return super().write(text)


@pytest.fixture(name='pair')
def _pair(monkeypatch):
  """Sets stdout and stderr."""

  def take(out, errors):
    monkeypatch.setattr(sys, 'stdout', out)
    monkeypatch.setattr(sys, 'stderr', errors)
    monkeypatch.setattr(streams, '_mode', streams._Mode())
    # Other tests of this process may have guarded its streams.
    monkeypatch.setattr(streams._Mode, 'guarded', {})
    monkeypatch.setattr(streams._Mode, 'wrapped', {})

  return take


@pytest.mark.parametrize('error, words', [
    (BROKEN, 'Broken pipe (errno 32, EPIPE).'),
    (FULL, 'No space left on device (errno 28, ENOSPC). Make room.'),
    (ValueError('I/O operation on closed file'), 'I/O operation on closed'),
])
def test_stdout_fails(pair, error, words):
  """The line on stderr comes once."""
  errors = io.StringIO()
  pair(Failing(error, 6), errors)
  for text in ('first', 'second', 'third'):
    streams.say(text)
  assert sys.stdout.getvalue() == 'first\n'
  (line,) = errors.getvalue().splitlines()
  assert line.startswith(f'warning: stdout: {words}')
  assert 'the work is done all the same' in line


@pytest.mark.parametrize('errors', [None, Failing(BROKEN), Failing(FULL)])
def test_a_warning_is_not_swallowed(pair, errors):
  out = io.StringIO()
  pair(out, errors)
  streams.warn('look here')
  assert out.getvalue().splitlines()[-1] == 'warning: look here'


@pytest.mark.parametrize('out', [None, Failing(BROKEN)])
def test_both_fail(pair, out):
  pair(out, Failing(FULL))
  streams.say('a')
  streams.warn('b')
  bar = streams.bar(total=3)
  bar.update()
  bar.close()
  assert not streams.terminal()


def test_warnings_pass_where_a_run_is_quiet(pair):
  out, errors = io.StringIO(), io.StringIO()
  pair(out, errors)
  with streams.quiet():
    streams.say('of a run')
    streams.warn('damage')
  streams.say('after it')
  assert out.getvalue() == 'after it\n'
  assert errors.getvalue() == 'warning: damage\n'


def test_what_an_encoding_lacks_is_escaped(pair):
  raw = io.BytesIO()
  pair(io.TextIOWrapper(raw, 'ascii'), io.StringIO())
  streams.say('häuser')
  assert raw.getvalue() == b'h\\xe4user\n'
  assert sys.stderr.getvalue() == ''


class Terminal(io.StringIO):

  def isatty(self):
    return True


def test_a_line_does_not_break_the_bar(pair):
  """The bar is cleared before the line and drawn again after it."""
  both = Terminal()
  pair(both, both)
  bar = streams.bar(total=2, ncols=40)
  streams.say('line')
  text = both.getvalue()
  bar.close()
  assert streams.terminal() and isinstance(bar, tqdm)
  before, after = text.split('line\n')
  assert before.endswith('\r') and '0/2' in after


def test_an_unwritable_line_is_no_bar(pair):
  pair(io.StringIO(), Failing(OSError(errno.EIO, 'gone')))
  bar = streams.bar(total=5)
  for _ in range(5):
    bar.update()
  bar.close()
  assert bar.n == 5


@pytest.mark.parametrize('only_prints', [True, False])
@pytest.mark.parametrize('error', [BROKEN, FULL])
def test_a_program_that_only_prints(pair, only_prints, error):
  errors = io.StringIO()
  pair(Failing(error), errors)
  if only_prints:
    streams.only_prints()
  streams.say('result')
  silent = only_prints and error is BROKEN
  assert (errors.getvalue() == '') == silent
  assert streams.lost() == (error if only_prints and error is FULL else None)


@pytest.mark.parametrize('redirection', ['>&- 2>&-', '>/dev/full 2>&-', '<&-'])
def test_the_streams_of_a_process(redirection):
  """Files opened later do not get the numbers of streams that are closed."""
  program = (
      'import os\n'
      'from esmm_jax import streams\n'
      'streams.guard()\n'
      'print("x" * 100_000)\n'
      'streams.warn("a")\n'
      'raise SystemExit(100 + os.open(os.devnull, os.O_RDONLY))\n')
  done = subprocess.run(
      f'{sys.executable} -c \'{program}\' {redirection}', shell=True, cwd=ROOT,
      capture_output=True, check=False)
  assert done.returncode >= 103

"""Signals that ask a process to end."""

import contextlib
import os
import signal
import subprocess
import sys
import time

from esmm_jax.workdir import stopping
import pytest

from tests import ROOT

NAMES = ('SIGTERM', 'SIGHUP', 'SIGXCPU')


def send(name):
  os.kill(os.getpid(), getattr(signal, name))


@pytest.fixture(name='handlers', autouse=True)
def _handlers():
  """As a program in a terminal begins; CI may be one that ignores some."""
  names = (*NAMES, 'SIGINT')
  started = {n: signal.getsignal(getattr(signal, n)) for n in names}
  for name in NAMES:
    signal.signal(getattr(signal, name), signal.SIG_DFL)
  signal.signal(signal.SIGINT, signal.default_int_handler)
  before = {n: signal.getsignal(getattr(signal, n)) for n in started}
  yield before
  after = {n: signal.getsignal(getattr(signal, n)) for n in started}
  for name, handler in started.items():  # None: one that is not Python's.
    signal.signal(getattr(signal, name), handler or signal.SIG_DFL)
  assert after == before


@pytest.mark.parametrize('name', NAMES)
def test_the_first_signal_is_noted(name):
  with pytest.raises(stopping.Stopped), stopping.ending():
    with stopping.asked() as asked:
      assert not asked
      send(name)
      assert asked and asked.name == name
      raise stopping.Stopped('saved')


@pytest.mark.parametrize('name', NAMES)
def test_the_first_signal_ends_a_block(name):
  with pytest.raises(stopping.Stopped, match=f'stopped by {name}; ') as e:
    with stopping.ending():
      send(name)
      pytest.fail('it goes on')
  assert e.value.code == 75


@pytest.mark.parametrize('name', NAMES)
def test_a_signal_that_came_too_late_is_handed_on(name):
  """A sweep does not train its next run after it."""
  done = []
  with pytest.raises(stopping.Stopped, match=name), stopping.ending():
    with stopping.asked():
      send(name)
      done.append('results')
    done.append('the next run')
  assert done == ['results']


def dropping():
  """Does as a library that imports what it may do without."""
  with contextlib.suppress(BaseException):
    send('SIGTERM')


def test_a_signal_that_a_library_drops():
  """It ends the block at the next look, or at its end, whatever it raises."""
  for end in (stopping.check, lambda: None, lambda: [][0]):
    with pytest.raises(stopping.Stopped, match='stopped by SIGTERM; ') as e:
      with stopping.ending():
        stopping.check()
        assert not stopping.is_asked()
        dropping()
        assert stopping.is_asked()
        end()
    assert e.value.code == 75
  assert not stopping.is_asked()
  stopping.check()


def test_training_sees_a_signal_that_was_dropped():
  with pytest.raises(stopping.Stopped, match='saved'), stopping.ending():
    dropping()
    with stopping.asked() as asked:
      assert asked and asked.name == 'SIGTERM'
      raise stopping.Stopped('saved')
  with pytest.raises(stopping.Stopped, match='SIGTERM'), stopping.ending():
    dropping()
    with stopping.asked():
      pass
    pytest.fail('it goes on')


def test_nohup_stays():
  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with stopping.ending(), stopping.asked() as asked:
      send('SIGHUP')
      assert not asked
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_the_limit_of_processor_time_comes_again():
  with pytest.raises(stopping.Stopped), stopping.ending():
    with stopping.asked() as asked:
      for _ in range(3):
        send('SIGXCPU')
      assert asked
      raise stopping.Stopped('saved')


def test_a_shell_repeats_the_signal_of_its_terminal():
  with pytest.raises(stopping.Stopped), stopping.ending():
    with stopping.asked() as asked:
      send('SIGHUP')
      send('SIGHUP')
      assert asked
      raise stopping.Stopped('saved')


PROGRAM = '''
import os, signal, time
from esmm_jax.workdir import stopping
stopping._SAME = 0.0
with stopping.asked():
  os.kill(os.getpid(), signal.{})
  os.kill(os.getpid(), signal.{})
  time.sleep(60)
'''


@pytest.mark.parametrize('first, second', [
    ('SIGTERM', 'SIGTERM'), ('SIGHUP', 'SIGHUP'), ('SIGHUP', 'SIGTERM'),
    ('SIGXCPU', 'SIGTERM')])
def test_a_second_signal_ends_at_once(first, second):
  done = subprocess.run(
      [sys.executable, '-c', PROGRAM.format(first, second)], cwd=ROOT,
      check=False, timeout=50)  # Less than the program sleeps.
  assert done.returncode == -getattr(signal, second)


def test_an_interrupt_that_a_library_drops():
  """It is raised at the next look, and at the end of the block at last."""
  before = signal.getsignal(signal.SIGINT)
  with pytest.raises(KeyboardInterrupt), stopping.asked() as noted:
    noted.check()
    with pytest.raises(KeyboardInterrupt):
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(5)
    with pytest.raises(KeyboardInterrupt):
      noted.check()
  assert not noted and signal.getsignal(signal.SIGINT) == before

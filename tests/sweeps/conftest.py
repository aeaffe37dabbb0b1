"""The programs of sweeps, started once."""

import contextlib
import functools

import pytest

from tests.parallel import forking


@pytest.fixture(scope='session')
def programs():
  """Name of a program -> one that takes command lines."""
  with contextlib.ExitStack() as stack:

    @functools.cache
    def started(name):
      return stack.enter_context(forking.Program(
          f'experiments.{name}', JAX_DISABLE_MOST_OPTIMIZATIONS='1'))

    yield started


@pytest.fixture(scope='session')
def run(programs):
  """Runs a program on the file of a results table and a folder."""
  return lambda program, table, workdir, *more: programs(program).run(
      f'--sweep={table}', f'--workdir={workdir}', *more)

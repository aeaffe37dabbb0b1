"""Simulated logs that several files of tests read."""

import pytest

from tests.data.simulator.logs import make_log, SIZES, STRANGE

# Package, not session: together they are a few hundred MB.


@pytest.fixture(scope='package')
def plain():
  """Columns of a log without a hidden cause."""
  return make_log(**SIZES).columns(0, SIZES['num_train'])


@pytest.fixture(scope='package')
def hidden():
  return make_log(**SIZES, hidden=1.0).columns(0, SIZES['num_train'])


@pytest.fixture(scope='package')
def carts():
  """The log of `plain` with a cart between click and conversion."""
  return make_log(**SIZES, stages=3).columns(0, SIZES['num_train'])


@pytest.fixture(scope='package')
def hidden_carts():
  log = make_log(**SIZES, hidden=1.0, stages=3)
  return log.columns(0, SIZES['num_train'])


@pytest.fixture(scope='package')
def strange():
  """A log whose validation and test rows hold many unseen values."""
  return make_log(**STRANGE)

"""Runs that the tests of this folder share; their files stay as they are."""

import pytest

from tests import optimization
from tests.serving.history import logs

RUNS = {
    'nightly': (logs.NIGHTLY, {}),
    'live': (logs.LIVE, {'dataset__history_request': 'request'}),
}


@pytest.fixture(scope='session')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('history'))


@pytest.fixture(scope='module', autouse=True)
def quick(same_compilation):
  """Scores are those of the runs."""
  with optimization.set_to(False):
    yield


@pytest.fixture(scope='session')
def runs(root):
  """Protocol -> a run."""
  with optimization.set_to(False):
    return {
        name: logs.train(root, name, history, **changes)
        for name, (history, changes) in RUNS.items()
    }

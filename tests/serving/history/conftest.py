"""Runs that the tests of this folder share; their files stay as they are."""

import pytest

from tests.serving.history import logs

RUNS = {
    'nightly': (logs.NIGHTLY, {}),
    'live': (logs.LIVE, {'dataset__history_request': 'request'}),
}


@pytest.fixture(scope='session')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('history'))


@pytest.fixture(scope='session')
def runs(root):
  """Protocol -> a run."""
  import jax

  before = jax.config.values['jax_disable_most_optimizations']
  jax.config.update('jax_disable_most_optimizations', True)
  made = {
      name: logs.train(root, name, history, **changes)
      for name, (history, changes) in RUNS.items()
  }
  yield made
  jax.config.update('jax_disable_most_optimizations', before)

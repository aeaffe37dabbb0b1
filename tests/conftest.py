"""What all tests share: the CPU, no deadlines, and the toy data set."""

import gc
import os
import pathlib
import stat
import sys
import time

from tests import optimization, ROOT

# Before jax is imported. The golden values are those of float32 products, which
# an accelerator may round further; name another platform to try one.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

# Programs of tests take longer to compile than to run. Set it to 0 to try those
# that users have, as `make test-long` does.
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
if not optimization.is_on():
  os.environ.setdefault('XLA_FLAGS', optimization.flags_of_jaxlib())

# Many tests compile the same programs. A folder for each worker: two that write
# the same entry at once could read half of it.
os.environ['JAX_COMPILATION_CACHE_DIR'] = os.path.join(
    ROOT,
    '.pytest_cache',
    'compiled',
    os.environ.get('PYTEST_XDIST_WORKER', 'main'),
)
os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.05'
os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'

from hypothesis import settings
import pytest

from tests.toy import Toy

_SUITE_OPTIMIZES = optimization.is_on()

# No test may fail because the machine is busy, or in one run of many.
settings.register_profile('esmm_jax', deadline=None, derandomize=True)
settings.load_profile('esmm_jax')

_fsync = os.fsync


def _ask_for_no_disk(number: int) -> None:
  """Takes what `os.fsync` takes, and leaves when to write to the kernel.

  A fifth of the suite's time was that of waiting for the disk. The programs
  that tests start do wait.
  """
  mode = os.fstat(number).st_mode
  if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
    _fsync(number)


os.fsync = _ask_for_no_disk


@pytest.hookimpl(wrapper=True)
def pytest_collection():
  """Collects without the garbage collector, which would look at all tests."""
  # Not `gc.freeze` after it: hypothesis 6.100 then calls tests flaky.
  gc.disable()
  try:
    return (yield)
  finally:
    gc.enable()


@pytest.fixture(scope='session')
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
  """The toy data set, prepared once. Its files are not to be changed."""
  return Toy(data_dir=tmp_path_factory.mktemp('data')).prepare()


@pytest.fixture
def root() -> pathlib.Path:
  """The repository."""
  return ROOT


@pytest.fixture(scope='module', autouse=True)
def same_compilation():
  """No module may leave programs to be compiled in another way.

  The tests after it would pass or fail by the order in which they come.
  """
  before = optimization.is_on()
  yield
  assert optimization.is_on() == before


@pytest.fixture(scope='module')
def quick_compilation(request, same_compilation):
  """For modules whose programs are to be compiled alike, however it is run.

  A single test asks for `quick_test`: this holds to the end of the module.
  """
  asked = [m.args for m in request.node.iter_markers('usefixtures')]
  assert ('quick_compilation',) in asked, 'Ask for it in pytestmark.'
  with optimization.set_to(False):
    yield


@pytest.fixture
def quick_test():
  """For tests that compile more than their module does."""
  with optimization.set_to(False):
    yield


# Linux gives a process 65,530 of them, each compiled program takes at least
# three, and without one LLVM crashes.
_MANY_MAPPINGS = 10_000
# To count them takes as long as a test. In this many seconds of processor time
# fewer than a thousand programs are compiled.
_SECONDS_BETWEEN_COUNTS = 4
_counted_at = 0.0


@pytest.fixture(autouse=True)
def few_programs():
  """Drops compiled programs before the process has too many of them."""
  global _counted_at
  yield
  jax, now = sys.modules.get('jax'), time.process_time()
  if not jax or now - _counted_at < _SECONDS_BETWEEN_COUNTS:
    return
  _counted_at = now
  if num_mappings() > _MANY_MAPPINGS:
    jax.clear_caches()
    gc.collect()


def num_mappings() -> int:
  """Counts the memory mappings of this process; 0 where that is not known."""
  try:
    with open('/proc/self/maps', 'rb') as f:
      return f.read().count(b'\n')
  except OSError:
    return 0


@pytest.fixture(scope='session')
def finished(tmp_path_factory: pytest.TempPathFactory):
  """A finished run with predictions. Its files are not to be changed.

  The parameters that it selects are not the last ones: the metric that chooses
  is turned round.
  """
  from esmm_jax.training.loop import train_and_evaluate

  from tests.serving.served import Finished, small_config

  root = tmp_path_factory.mktemp('finished')
  run = Finished(root / 'run', root / 'data')
  with optimization.set_to(_SUITE_OPTIMIZES):  # Whichever test comes first.
    results = train_and_evaluate(small_config(), str(run.folder), str(run.data))
  assert results['selected_step'] < results['steps']
  return run

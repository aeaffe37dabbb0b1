"""A checkpoint that cannot be written prints no traceback of a library."""

import gc
import resource
import signal
import sys

from esmm_jax import late_callbacks
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
import jax.numpy as jnp
import numpy as np
import pytest


def test_others_are_printed_as_before():
  seen, saved = [], sys.unraisablehook
  try:
    sys.unraisablehook = seen.append
    late_callbacks.silence()
    late_callbacks.silence()  # Once is enough.

    class Raises:

      def __init__(self, error):
        self.error = error

      def __del__(self):
        raise self.error

    for error in (ValueError('x'), RuntimeError('Event loop is closed')):
      Raises(error)  # Of Python's own: it begins elsewhere.
    assert [str(one.exc_value) for one in seen] == ['x', 'Event loop is closed']
  finally:
    sys.unraisablehook = saved


def test_a_loop_that_is_closed_is_no_news(tmp_path, capfd):
  """Many files of a checkpoint fail at once, at the limit of their size."""
  handler = signal.getsignal(signal.SIGXFSZ)
  limits = resource.getrlimit(resource.RLIMIT_FSIZE)
  random = np.random.default_rng(0)
  net = {
      f'{n}': jnp.asarray(random.random(20_000, np.float32)) for n in range(24)
  }
  checkpoints = Checkpoints(str(tmp_path))
  try:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, limits[1]))
    for step in range(1, 6):
      with pytest.raises(InputError, match='errno 27, EFBIG'):
        checkpoints.save(step, {'state': {'table': {}, 'net': net}}, {})
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)
  checkpoints.close()
  gc.collect()
  assert 'Traceback' not in capfd.readouterr().err

"""A checkpoint that cannot be written prints no traceback of a library."""

import gc
import logging
import resource
import signal
import sys
import warnings

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


async def _serialize():
  pass


async def _another():
  pass


def test_a_coroutine_that_had_not_begun():
  """Of Orbax's names it is no news; of others it is, as an error too."""
  seen, saved = [], sys.unraisablehook
  try:
    sys.unraisablehook = seen.append
    late_callbacks.silence()
    with warnings.catch_warnings():
      warnings.simplefilter('error')
      for begin in (_serialize, _another):
        begin()  # Ends at once: nobody holds it.
  finally:
    sys.unraisablehook = saved
  assert [str(one.exc_value) for one in seen] == [
      "coroutine '_another' was never awaited"
  ]


def test_a_failure_that_nobody_asks_for(caplog):
  """The words of asyncio: with TensorStore's error, and with another."""
  late_callbacks.silence()
  for text in ('Error writing "x" in OCDBT database at local file "y"', 'else'):
    error = ValueError(text)
    logging.getLogger('asyncio').error(
        'Future exception was never retrieved', exc_info=(None, error, None)
    )
  logging.getLogger('asyncio').error('Another: in OCDBT database')
  assert [
      str(one.exc_info[1]) if one.exc_info else one.message
      for one in caplog.records
  ] == ['else', 'Another: in OCDBT database']


def test_many_files_that_fail_at_once(tmp_path, capfd, caplog):
  """Each at the limit of its size; `InputError` is all that is said."""
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
  assert not caplog.records

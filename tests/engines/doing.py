"""Functions that workers call, by their names."""

import os
import signal
import time

from esmm_jax.engines.engine import Engine
from esmm_jax.types import InputError
import numpy as np


def times(shared, part, tell):
  """The product; later parts are done first."""
  time.sleep(0.02 * max(0, 4 - part))
  tell(part)
  return shared * part


def endless(shared, part, tell):
  """Tells of a row, and is never done."""
  tell(1)
  time.sleep(10**4)


def process(shared, part, tell):
  """The number of the process, and what JAX it has."""
  import sys
  return os.getpid(), 'jax' in sys.modules


def refused(shared, part, tell):
  """Parts 2 and 4 are wrong, and 4 says so first."""
  if part == 2:
    time.sleep(0.2)
  if part in (2, 4):
    raise InputError(f'part {part} is wrong.')
  return part


def odd(shared, part, tell):
  """Raises what no other process can read."""
  error = type('Local', (Exception,), {})
  raise error('of this process alone')


def killed(shared, part, tell):
  """Part 1 is killed in its middle, as often as `shared` says."""
  folder, times_killed = shared
  tell(10)
  path = os.path.join(folder, f'tried-{part}')
  with open(path, 'a', encoding='utf-8') as f:
    f.write('x')
  if part == 1 and os.path.getsize(path) <= times_killed:
    os.kill(os.getpid(), signal.SIGKILL)
  return part


def mapped(shared, part, tell):
  """The name of the file that a mapped array comes from, and its sum."""
  return shared['array'].filename, int(shared['array'].sum())


class Backwards(Engine):
  """Does all parts in this process, the last one first, through pickles."""

  def __init__(self, workers, address=''):
    self.workers = workers

  def map(self, function, shared, parts, folder, tell):
    """See the base class."""
    import pickle
    path = f'{folder}/shared.pickle'
    with open(path, 'wb') as f:
      f.write(pickle.dumps(shared))
    results = {}
    for k in reversed(range(len(parts))):
      with open(path, 'rb') as f:
        copy = pickle.load(f)
      try:
        results[k] = True, function(copy, parts[k], tell)
      except Exception as e:  # pylint: disable=broad-exception-caught
        results[k] = False, e
    os.remove(path)
    for k in range(len(parts)):
      is_done, value = pickle.loads(pickle.dumps(results.pop(k)))
      if not is_done:
        raise value
      yield value

  def close(self):
    """See the base class."""


def array_in(folder):
  """An array of 0 to 9 that is mapped from a file."""
  path = os.path.join(folder, 'array.npy')
  np.save(path, np.arange(10))
  return np.load(path, mmap_mode='r')

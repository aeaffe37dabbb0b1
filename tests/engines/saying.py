"""Programs that tests run in slots."""

import os
import pickle
import signal
import sys
import time


def answers(number):
  """Says what it was asked, on both streams, and where it may run."""
  request = pickle.load(sys.stdin.buffer)
  print(f'asked {request["word"]}')
  print('warning: no', file=sys.stderr, flush=True)
  environment = {
      k: os.environ.get(k) for k in ('CUDA_VISIBLE_DEVICES', 'NPROC')}
  with open(number, 'wb') as answer:
    pickle.dump((request['cores'], environment), answer)


def dies(number):
  """Is lost, in the middle of its work."""
  del number
  print('begun', flush=True)
  os.kill(os.getpid(), signal.SIGKILL)


def waits(number):
  """Ends with the exit code of a program that was stopped, when it is."""
  del number
  signal.signal(signal.SIGTERM, lambda *_: os._exit(75))
  print('ready', flush=True)
  time.sleep(100)


def orphaned(number):
  """Starts another one, and is lost; that one sees the end of its stdin."""
  del number
  from esmm_jax.engines.program import Call, Program

  path = pickle.load(sys.stdin.buffer)['word']
  call = Call(__name__, 'until_alone', {'word': path})
  ready = []
  Program(call, ready.append, sys.path, {})
  while not ready:
    time.sleep(.01)
  os.kill(os.getpid(), signal.SIGKILL)


def until_alone(number):
  """Notes that whoever started it is gone."""
  del number
  path = pickle.load(sys.stdin.buffer)['word']
  print('ready', flush=True)
  sys.stdin.buffer.read(1)
  with open(path, 'w', encoding='utf-8') as f:
    f.write('alone')

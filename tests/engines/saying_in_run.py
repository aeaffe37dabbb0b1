"""A program that processes of a run are in tests; it needs no JAX.

  saying WORD FOLDER --coordinator=HOST:PORT --num_processes=N --process_id=K

It says its number and its devices. WORD says what it does then: `end`; `wait`
until SIGTERM and end with 75; `die` of SIGKILL in process 1, the first time;
`always` each time; `fail` in process 1, with exit code 3.
"""

import os
import pathlib
import signal
import sys
import time

from esmm_jax.engines.together import child


def main(word, folder, coordinator, num, k):
  host, _, port = coordinator.partition('=')[2].rpartition(':')
  assert port.isdigit() and num == '--num_processes=2'
  k = int(k.partition('=')[2])
  devices = os.environ.get('CUDA_VISIBLE_DEVICES')
  print(f'{k} of 2 at {host}, GPU {devices}, typed {child.command()}')
  print('and on stderr', file=sys.stderr, flush=True)
  marker = pathlib.Path(folder) / f'{k}'
  times = marker.read_text('utf-8') if marker.exists() else ''
  marker.write_text(times + 'x', 'utf-8')
  if word == 'wait' or (word in ('die', 'always') and k == 0 and (
      word == 'always' or not times)):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
    sys.stdout.flush()
    time.sleep(60)
  if k == 1 and (word == 'always' or (word == 'die' and not times)):
    os.kill(os.getpid(), signal.SIGKILL)
  if k == 1 and word == 'fail':
    print('error: it is wrong.', file=sys.stderr)
    sys.exit(3)


if __name__ == '__main__':
  main(*sys.argv[1:])

"""Power cuts at every moment of a run, and the same command after each.

  python -m tests.workdir.power_cuts [--every=N] [--data]

records the file operations of a run, with `strace`. It replays them up to every
point, loses what was not synchronised, and runs the same command on what is
left. --every tries every N-th of the states; --data lets the run prepare its
data, else it finds that prepared. Prints the number of states, and those after
which the run does not end with the numbers and bits of the uninterrupted one.
"""

import collections
import os
import sys
import tempfile

from tests.workdir.power_cuts.cuts import cuts, Runs


def main(arguments):
  every = [a.partition('=')[2] for a in arguments if a.startswith('--every=')]
  with tempfile.TemporaryDirectory(dir=os.environ.get('TMPDIR')) as home:
    runs = Runs(home, '--data' in arguments)
    states = list(cuts(runs.operations))
    tried = states[:: int(every[0]) if every else 1]
    print(f'{len(runs.operations)} operations, {len(states)} states,'
          f' {len(tried)} tried', flush=True)
    wrong, of_loss = 0, collections.Counter()
    for k, cut in enumerate(tried, start=1):
      of_loss[cut.loss] += 1
      if said := runs.resumed(cut):
        wrong += 1
        print(f'NOT THE SAME {cut}\n  {said}', flush=True)
      print(f'{k} tried, {wrong} not the same', end='\r', file=sys.stderr)
    runs.close()
  for loss, number in of_loss.items():
    print(f'{number:5d}  {loss}')
  print(f'{len(tried)} states, {wrong} not the same')
  return wrong


if __name__ == '__main__':
  sys.exit(bool(main(sys.argv[1:])))

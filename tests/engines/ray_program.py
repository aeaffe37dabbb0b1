"""What tests ask of Ray, in a process of its own; prints answers as JSON."""

import collections
import glob
import json
import os
import re
import sys
import tempfile

from esmm_jax.engines import choice
from esmm_jax.types import InputError

from tests.engines import doing


def listening(pids):
  """(address in hexadecimal, port) at which processes listen for TCP."""
  of_inode = {}
  for kind in ('tcp', 'tcp6'):
    with open(f'/proc/net/{kind}', encoding='ascii') as f:
      for line in f.readlines()[1:]:
        fields = line.split()
        if fields[3] == '0A':
          address, port = fields[1].split(':')
          of_inode[fields[9]] = address, int(port, 16)
  found = set()
  for pid in pids:
    for path in glob.glob(f'/proc/{pid}/fd/*'):
      try:
        inode = re.fullmatch(r'socket:\[(\d+)\]', os.readlink(path))
      except OSError:
        continue
      if inode and inode[1] in of_inode:
        found.add(of_inode[inode[1]])
  return found


def descendants(root):
  """Processes that a process has started, and they."""
  parents = {}
  for path in glob.glob('/proc/[0-9]*/stat'):
    try:
      with open(path, encoding='utf-8', errors='replace') as f:
        text = f.read()
    except OSError:
      continue
    pid, rest = int(text.split()[0]), text.rpartition(')')[2].split()
    parents[pid] = int(rest[1])
  family = {root}
  while more := {p for p, parent in parents.items() if parent in family
                 } - family:
    family |= more
  return family


def environments(pids, begin='RAY_USAGE'):
  """Variables of a kind in the environments of processes."""
  found = set()
  for pid in pids:
    try:
      with open(f'/proc/{pid}/environ', 'rb') as f:
        values = f.read().split(b'\0')
    except OSError:  # It has just ended.
      continue
    found |= {v.decode() for v in values if v.startswith(begin.encode())}
  return sorted(found)


def mapped(engine, folder, function, shared, parts):
  """The results, and rows that were told of; or the error."""
  told, results = [], []
  try:
    for value in engine.map(function, shared, parts, folder, told.append):
      results.append(value)
  except InputError as e:
    return [results, str(e)]
  return [results, sum(told)]


def main():
  before = dict(os.environ)
  with choice.using('ray', 2), choice.opened(0) as engine:
    with tempfile.TemporaryDirectory() as folder:
      do = lambda *args: mapped(engine, folder, *args)
      answers = {
          'environment': dict(os.environ) == before,
          'order': do(doing.times, 3, range(9)),
          'none': do(doing.times, 3, []),
          'processes': do(doing.process, None, range(6))[0],
          'first': do(doing.refused, None, range(6)),
          'killed': do(doing.killed, (folder, 1), range(4)),
      }
      os.remove(f'{folder}/tried-1')
      answers['always'] = do(doing.killed, (folder, 9), range(4))
      family = descendants(os.getpid())
      answers['listening'] = collections.Counter(
          address for address, _ in listening(family))
      answers['usage'] = environments(family - {os.getpid()})
  answers['left'] = len(descendants(os.getpid()))
  print(json.dumps(answers))


if __name__ == '__main__':
  sys.exit(main())

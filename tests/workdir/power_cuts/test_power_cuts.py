"""The power fails while a run is trained; the same command finishes it."""

import shutil
import sys

import pytest

from tests.workdir.power_cuts import recorded
from tests.workdir.power_cuts.cuts import cuts, Runs

needs_strace = pytest.mark.skipif(
    not shutil.which('strace'), reason='strace is not installed')

# A file that is written, renamed, and whose data and name reach the disk.
OPERATIONS = [
    ('mkdir', 'a'), ('sync', ''), ('open', 'a/x', True),
    ('write', 'a/x', 0, b'0123'), ('sync', 'a/x'), ('write', 'a/x', 4, b'4567'),
    ('rename', 'a/x', 'a/y'), ('sync', 'a'), ('sync', 'a/y'),
    ('remove', 'a/y')]
ALL, NEW, TORN, DATA, NOTHING = recorded.LOSSES
LEFT = [
    # Operations -> what is left after each loss.
    (1, ALL, {}), (1, NEW, {'a': None}), (2, ALL, {'a': None}),
    (4, NEW, {'a': None, 'a/x': b''}), (4, TORN, {'a': None, 'a/x': b'01'}),
    (4, DATA, {'a': None}), (5, NEW, {'a': None, 'a/x': b'0123'}),
    (5, ALL, {'a': None}), (6, NEW, {'a': None, 'a/x': b'0123'}),
    (6, NOTHING, {'a': None, 'a/x': b'01234567'}),
    (8, ALL, {'a': None, 'a/y': b'0123'}),
    (8, DATA, {'a': None, 'a/y': b'01234567'}),
    (9, ALL, {'a': None, 'a/y': b'01234567'}),
    (10, ALL, {'a': None, 'a/y': b'01234567'}), (10, NEW, {'a': None})]


@pytest.mark.parametrize('number, loss, left', LEFT)
def test_what_a_power_cut_leaves(number, loss, left):
  disk = recorded.Disk()
  for operation in OPERATIONS[:number]:
    disk.apply(*operation)
  assert disk.after(loss) == left


@needs_strace
def test_what_is_recorded(tmp_path):
  """Positions, appending, copies, threads; nothing outside the folder."""
  (tmp_path / 'in').mkdir()
  code = """
import os, shutil, sys, threading
import numpy as np
root, out = sys.argv[1:]
def first():
  os.mkdir(root + '/a')
  with open(root + '/a/x', 'wb') as f:
    f.write(b'0123456789'); f.seek(2); f.write(b'ab')
    np.arange(3, dtype=np.uint8).tofile(f)
    os.pwrite(f.fileno(), b'P', 9)
  with open(out, 'wb') as f: f.write(b'out')
thread = threading.Thread(target=first); thread.start(); thread.join()
with open(root + '/a/x', 'ab') as f: f.write(b'end'); f.flush(); f.truncate(12)
shutil.copyfile(root + '/a/x', root + '/y')
os.rename(root + '/a', root + '/b')
n = os.open(root + '/b/x', os.O_RDONLY); os.fsync(n); os.close(n)
os.mkdir(root + '/gone'); shutil.rmtree(root + '/gone')
"""
  operations = recorded.record(
      [sys.executable, '-c', code, str(tmp_path / 'in'), str(tmp_path / 'out')],
      tmp_path / 'in', str(tmp_path / 'trace'))
  disk = recorded.Disk()
  for operation in operations:
    disk.apply(*operation)
  text = b'01ab' + bytes([0, 1, 2]) + b'78Pen'
  left = disk.after(NOTHING)
  assert left == {'b': None, 'b/x': text, 'y': text}
  assert left['b/x'] == (tmp_path / 'in' / 'b' / 'x').read_bytes()
  assert disk.after('the data is there, without new names') == {}
  assert ('sync', 'b/x') in operations


@needs_strace
@pytest.mark.long
def test_some_power_cuts(tmp_path):
  """`tests.workdir.power_cuts` tries all of them."""
  runs = Runs(tmp_path)
  try:
    states = list(cuts(runs.operations))
    assert len(states) > 150
    for cut in states[3::15]:
      assert not runs.resumed(cut), cut
  finally:
    runs.close()

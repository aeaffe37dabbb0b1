"""TensorBoard events: those of tensorboardX; they stop nothing."""

import contextlib
import os
import resource
import shutil
import struct

from esmm_jax.json_files import read_jsonl
from esmm_jax.workdir.events import Events
from esmm_jax.workdir.writer import Writer
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event


def read(folder):
  """The events of a folder's only file, without their times."""
  (name,) = os.listdir(folder)
  assert name.startswith('events.out.tfevents.')
  data = (folder / name).read_bytes()
  events, at = [], 0
  while at < len(data):
    (size,) = struct.unpack('Q', data[at : at + 8])
    event = Event.FromString(data[at + 12 : at + 12 + size])
    assert event.wall_time > 1e9
    event.wall_time = 0
    events.append(event)
    at += size + 16
  return events


@pytest.mark.parametrize('start', [0, 7])
def test_the_events_are_those_of_tensorboardx(start, tmp_path):
  theirs = SummaryWriter(
      str(tmp_path / 'theirs'), purge_step=start + 1 if start else None)
  said = []
  ours = Events(str(tmp_path / 'ours'), start, said.append)
  for step in range(start + 1, start + 40):
    for writer in (theirs.add_scalar, ours.add):
      writer('train/loss', 0.1 * step, step)
      writer('valid/ctr/auc', 1 / step, step)
  theirs.close()
  ours.close()
  events = read(tmp_path / 'ours')
  assert events == read(tmp_path / 'theirs') and said == []
  assert len(events) == (81 if start else 79)


def test_names_are_those_of_metrics(tmp_path):
  """Also of a pair of terms; it failed before: | had become _."""
  names = ['balancing/cosine/all/ctr|ctcvr', 'train/balancing/share/my term']
  events = Events(str(tmp_path / 'events'), 0, lambda text: None)
  for name in names:
    events.add(name, 0.25, 3)
  events.close()
  scalars = [v for e in read(tmp_path / 'events') for v in e.summary.value]
  assert [(v.tag, v.simple_value) for v in scalars] == [
      (name, 0.25) for name in names]


def test_speed(tmp_path):
  """Of the program, at each report; not where no step was timed yet."""
  writer = Writer(str(tmp_path), 0, 100, shows=False)
  for step, rate in ((10, float('nan')), (20, 12_288.0)):
    writer.progress(step, 0.5, rate)
    writer.write(step, {'train/loss': 0.5})
  writer.close()
  scalars = [
      (v.tag, v.simple_value, e.step)
      for e in read(tmp_path / 'tensorboard') for v in e.summary.value]
  assert scalars == [
      ('train/loss', 0.5, 10), ('examples_per_second', 12_288.0, 20),
      ('train/loss', 0.5, 20)]
  assert 'examples' not in (tmp_path / 'metrics.jsonl').read_text('utf-8')


@contextlib.contextmanager
def small_files(size):
  """No file can grow above a size in bytes, as on a full disk."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('size', [0, 20, 100, 5000])
def test_no_room(size, tmp_path):
  """However many events follow; the line comes once."""
  said = []
  with small_files(size):
    events = Events(str(tmp_path / 'events'), 0, said.append)
    for step in range(300):
      events.add('train/loss', 0.5, step)
    events.close()
    events.close()
  (line,) = said
  assert 'no more TensorBoard events' in line and '(errno 27, EFBIG)' in line
  assert str(tmp_path / 'events') in line


def test_a_folder_that_cannot_be(tmp_path):
  (tmp_path / 'events').write_text('mine')
  said = []
  events = Events(str(tmp_path / 'events'), 0, said.append)
  events.add('train/loss', 0.5, 1)
  events.close()
  assert 'File exists (errno 17, EEXIST)' in said[0] and len(said) == 1
  assert (tmp_path / 'events').read_text() == 'mine'


def test_a_folder_that_goes_away(tmp_path):
  events = Events(str(tmp_path / 'events'), 0, pytest.fail)
  shutil.rmtree(tmp_path / 'events')
  for step in range(300):
    events.add('train/loss', 0.5, step)
  events.close()


def test_a_run_without_room_for_events(tmp_path, capsys):
  """metrics.jsonl is whole, and the run is warned in one line."""
  (tmp_path / 'tensorboard').write_text('')
  writer = Writer(os.fspath(tmp_path), 0, 100)
  for step in range(50):
    writer.write(step, {'train/loss': 0.5})
  writer.close()
  assert [line['step'] for line in read_jsonl(
      os.fspath(tmp_path / 'metrics.jsonl'))] == list(range(50))
  err = capsys.readouterr().err
  assert err.count('warning: ') == 1 and 'metrics.jsonl has them all' in err


def test_metrics_that_cannot_be_written_are_an_error(tmp_path):
  """It names the file, and closing the writer does not replace it."""
  writer = Writer(os.fspath(tmp_path), 0, 100)
  with small_files(200), pytest.raises(OSError, match='metrics.jsonl') as e:
    with contextlib.closing(writer):
      for step in range(50):
        writer.write(step, {'train/loss': 0.5})
  assert e.value.filename == os.fspath(tmp_path / 'metrics.jsonl')

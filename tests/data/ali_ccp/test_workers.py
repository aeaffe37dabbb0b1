"""Raw files of Ali-CCP that several workers prepare: the bytes of one."""

import io
import json

from esmm_jax.data.ali_ccp import chunks, stored
from esmm_jax.data.ali_ccp.chunks import Span
from esmm_jax.data.ali_ccp.dataset import AliCcp
from esmm_jax.engines import choice
from esmm_jax.types import InputError
import numpy as np
import pytest

from benchmarks.ali_ccp_files import write_random
from tests.data.ali_ccp.test_files import archive, COMMON, NAMES, SKELETON
from tests.data.tabular.test_workers import contents, Killing
from tests.engines import doing

pytestmark = pytest.mark.slow

TRAIN = [n for n in NAMES if 'train' in n]
OPTIONS = dict(valid_share=0.25, min_count=3)
DROPPED = dict(bad_lines='drop', without_common='drop')
# Name -> options beside `OPTIONS`, and whether files are damaged.
CASES = {
    'whole': ({}, False),
    'dropped': (DROPPED | dict(sample=0.7, weight_dtype='float32'), True),
    'others': (
        DROPPED | dict(
            without_common='keep', valid_share=0.0,
            conversion_without_click='keep'),
        True,
    ),
    'aitm18': (DROPPED | dict(preset='aitm18'), True),
}


def lines_of(path):
  return path.read_bytes().splitlines(keepends=True)


def damage(folder):
  """Cuts lines, names unknown fields, repeats and removes common lines."""
  rng = np.random.default_rng(0)
  for name in NAMES:
    lines = lines_of(folder / name)
    for k in rng.permutation(len(lines))[: len(lines) // 6]:
      kind = rng.integers(4)
      if kind == 0:
        lines[k] = lines[k][: rng.integers(len(lines[k]))] + b'\n'
      elif kind == 1:
        field = b'%d\2' % rng.integers(600, 700)
        lines[k] = lines[k].replace(b'121\2', field).replace(b'301\2', field)
      elif kind == 2 and 'common' in name:
        lines[k] = lines[k - 1]
      else:
        lines[k] = b'\n'
    lines[-1] = lines[-1][:-1]
    (folder / name).write_bytes(b''.join(lines))


@pytest.fixture(scope='module')
def folders(tmp_path_factory):
  """A folder of whole files, and one of damaged ones."""
  paths = []
  for is_damaged in (False, True):
    paths.append(tmp_path_factory.mktemp('raw'))
    for split, num in (('train', 40), ('test', 10)):
      write_random(str(paths[-1]), split, num)
    if is_damaged:
      damage(paths[-1])
  return paths


@pytest.fixture(autouse=True)
def small(monkeypatch):
  """Chunks, and shards, of which there are several."""
  monkeypatch.setattr(chunks, 'CHUNK_BYTES', 20_000)
  monkeypatch.setattr(stored, 'SHARD_ROWS', 600)
  monkeypatch.setitem(choice.ENGINES, 'backwards', doing.Backwards)
  monkeypatch.setitem(choice.ENGINES, 'killing', Killing)


def prepared(data_dir, raw, engine, workers, **options):
  """The prepared data: path -> bytes."""
  data = AliCcp.from_options(
      data_dir=str(data_dir), raw_dir=str(raw), **OPTIONS | options)
  with choice.using(engine, workers):
    data.prepare()
  return contents(data.data_path)


@pytest.mark.parametrize('case', [
    pytest.param('whole', marks=pytest.mark.long), 'dropped',
    pytest.param('others', marks=pytest.mark.long),
    pytest.param('aitm18', marks=pytest.mark.long)])
def test_the_same_bytes(case, folders, tmp_path):
  options, is_damaged = CASES[case]
  one, three = (
      prepared(tmp_path / engine, folders[is_damaged], engine, k, **options)
      for engine, k in (('local', 1), ('backwards', 3)))
  assert one == three
  shards = {path.split('/')[0] for path in one if 'train.columns' in path}
  assert len(shards) > 1
  text = json.loads(one['report.json'])['text']
  assert (len(text[TRAIN[1]]['unknown_fields']) > 5) == is_damaged


@pytest.mark.long
def test_lines_of_many_chunks(folders, tmp_path, monkeypatch):
  """Most parts have no end of a line."""
  monkeypatch.setattr(chunks, 'CHUNK_BYTES', 2000)
  for split, num in (('train', 9), ('test', 4)):
    write_random(str(tmp_path / 'raw'), split, num)
  options = dict(valid_share=0.0, min_count=1)
  one, many = (
      prepared(tmp_path / engine, tmp_path / 'raw', engine, k, **options)
      for engine, k in (('local', 1), ('backwards', 20)))
  assert one == many


@pytest.mark.long
def test_archives(folders, tmp_path):
  """They are read by one worker, and encoded by all."""
  for split in ('train', 'test'):
    members = [n.format(split) for n in (SKELETON, COMMON)]
    data = archive([(n, (folders[1] / n).read_bytes()) for n in members])
    (tmp_path / f'sample_{split}.tar.gz').write_bytes(data)
  one, three = (
      prepared(tmp_path / engine, tmp_path, engine, k, **DROPPED)
      for engine, k in (('local', 1), ('backwards', 3)))
  assert one == three


def parts(text, size, ends):
  """The chunks of consecutive spans of a text."""
  spans = map(Span, ends, [*ends[1:], None])
  return [
      (piece.tobytes(), is_whole)
      for span in spans
      for piece, is_whole in chunks.read(io.BytesIO(text), '', size, span=span)]


@pytest.mark.parametrize('size', [1, 3, 7, 64, 5000, 10_000])
def test_spans_have_the_chunks_of_the_whole(size):
  rng = np.random.default_rng(size)
  for end in (b'', b'\n', b'\n\n', b'x'):
    lengths = rng.integers(0, 9, 40).tolist() + [0, 0, 5000, 3]
    text = b'\n'.join(b'x' * n for n in rng.permutation(lengths)) + end
    whole = parts(text, size, [0])
    assert b''.join(piece for piece, _ in whole) == (
        text if text.endswith(b'\n') else text + b'\n')
    assert [is_whole for _, is_whole in whole[-1:]] == [text.endswith(b'\n')]
    for step in (1, 2, 5):
      assert parts(text, size, [*range(0, len(text), step * size)]) == whole
  assert parts(b'', size, [0]) == []


def bad(folder, tmp_path, lines):
  """A copy of files with wrong lines: file -> the numbers of these."""
  for name in NAMES:
    text = lines_of(folder / name)
    for number in lines.get(name, ()):
      text[number - 1] = b'x' * number + b'\n'
    (tmp_path / name).write_bytes(b''.join(text))
  return tmp_path


@pytest.mark.parametrize('lines, name, first', [
    ({TRAIN[0]: [31, 39], TRAIN[1]: [2]}, TRAIN[0], 31),
    ({TRAIN[1]: [1500, 2100]}, TRAIN[1], 1500),
    pytest.param({NAMES[3]: [300, 400]}, NAMES[3], 300, marks=pytest.mark.long),
])
def test_the_first_bad_line(lines, name, first, folders, tmp_path):
  raw = bad(folders[0], tmp_path, lines)
  words = []
  for engine, workers in (('local', 1), ('backwards', 4)):
    with pytest.raises(InputError) as error:
      prepared(tmp_path / engine, raw, engine, workers)
    words.append(str(error.value))
    assert not list((tmp_path / engine).rglob('*.partial'))
  assert words[0] == words[1]
  assert words[0].startswith(f'{name}, line {first}, byte 1: ')


@pytest.mark.parametrize('kind', [
    'too long', pytest.param('not common', marks=pytest.mark.long), 'twice'])
def test_the_first_of_other_errors(kind, folders, tmp_path, monkeypatch):
  raw, words = bad(folders[0], tmp_path, {}), []
  if kind == 'too long':
    monkeypatch.setattr(chunks, 'LONGEST_LINE', 90_000)
    text = lines_of(raw / TRAIN[1])
    text[700] = b'7' * 200_000
    text[1000:1002] = [b'8' * 200_000, b'y\n']
    (raw / TRAIN[1]).write_bytes(b''.join(text))
  else:
    lines = lines_of(raw / TRAIN[0])
    lines[20:22] = [lines[25]] * 2 if kind == 'twice' else []
    (raw / TRAIN[0]).write_bytes(b''.join(lines))
  for engine, workers in (('local', 1), ('backwards', 4)):
    with pytest.raises(InputError) as error:
      prepared(tmp_path / engine, raw, engine, workers)
    words.append(str(error.value))
  assert words[0] == words[1]
  assert {
      'too long': 'begin with \'7777',
      'not common': f'{TRAIN[1]}, line ',
      'twice': f'{TRAIN[0]}, line 22: ',
  }[kind] in words[0]


def test_a_bad_line_before_one_that_is_too_long(folders, tmp_path, monkeypatch):
  """It is read ahead of it, and told of first."""
  monkeypatch.setattr(chunks, 'LONGEST_LINE', 90_000)
  raw = bad(folders[0], tmp_path, {TRAIN[1]: [695]})
  text = lines_of(raw / TRAIN[1])
  text[699] = b'7' * 150_000
  (raw / TRAIN[1]).write_bytes(b''.join(text))
  for engine, workers in (('local', 1), ('backwards', 4)):
    with pytest.raises(InputError, match=f'{TRAIN[1]}, line 695, byte 1'):
      prepared(tmp_path / engine, raw, engine, workers)


@pytest.mark.long
def test_the_same_bytes_of_processes(folders, tmp_path, capsys):
  options = dict(DROPPED, without_common='keep')
  one, two, four, killed = (
      prepared(tmp_path / f'{engine}-{k}', folders[1], engine, k, **options)
      for engine, k in (
          ('local', 1), ('local', 2), ('local', 4), ('killing', 2)))
  assert one == two == four == killed
  # One in reading train and test, in encoding them, and in counting.
  lost = capsys.readouterr().err.count('another one does part ')
  assert lost == 5
  assert not list(tmp_path.rglob('temporary'))

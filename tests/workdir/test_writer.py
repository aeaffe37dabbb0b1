"""What a run leaves to read, and that no step stands there twice."""

import json
import math
import os

from esmm_jax.json_files import read_json, read_jsonl, to_json
from esmm_jax.json_files import write_json
from esmm_jax.types import InputError
from esmm_jax.workdir.writer import Writer
import pytest

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    'value, expected',
    [
        (1.5, 1.5), (3, 3), ('nan', 'nan'), (None, None), (True, True),
        (NAN, None), (INF, None), (-INF, None),
        ({'a': NAN, 'b': [1.0, INF, {'c': NAN}]},
         {'a': None, 'b': [1.0, None, {'c': None}]}),
        ((1.0, NAN), [1.0, None]),
    ],
)
def test_to_json(value, expected):
  got = to_json(value)
  assert got == expected
  json.loads(json.dumps(got, allow_nan=False))


def test_write_json(tmp_path):
  path = tmp_path / 'results.json'
  write_json(os.fspath(path), {'a': NAN, 'ä': [1, 2.5]})
  assert json.loads(path.read_text('utf-8')) == {'a': None, 'ä': [1, 2.5]}
  assert os.listdir(tmp_path) == ['results.json']


def test_write_json_whole_or_not_at_all(tmp_path, monkeypatch):
  """Whether a value cannot be written or the machine fails."""
  path = tmp_path / 'results.json'
  write_json(os.fspath(path), {'a': 1})
  with pytest.raises(TypeError):
    write_json(os.fspath(path), {'a': 2, 'b': object()})
  assert json.loads(path.read_text()) == {'a': 1}

  def fail(descriptor):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(os, 'fsync', fail)
  with pytest.raises(OSError, match='No space'):
    write_json(os.fspath(path), {'a': 2})
  assert json.loads(path.read_text()) == {'a': 1}
  assert os.listdir(tmp_path) == ['results.json']


def test_read_json(tmp_path):
  path = tmp_path / 'results.json'
  assert read_json(os.fspath(path)) is None
  assert read_json(os.fspath(path / 'below')) is None
  path.write_text('[1, null]')
  assert read_json(os.fspath(path)) == [1, None]
  assert read_json(os.fspath(path / 'below')) is None
  path.write_text('{')
  with pytest.raises(InputError, match='results.json is not JSON .* Train ag'):
    read_json(os.fspath(path), 'Train again.')
  with pytest.raises(InputError, match='cannot be read: .*a directory'):
    read_json(os.fspath(tmp_path))


@pytest.mark.parametrize(
    'text, expected',
    [
        ('', []),
        ('{"step": 1}\n', [{'step': 1}]),
        ('{"step": 1}\n{"step": 2}\n', [{'step': 1}, {'step': 2}]),
        # Cut short anywhere, even at a place where it is JSON by itself.
        ('{"step": 1}\n{"step": 2', [{'step': 1}]),
        ('{"step": 1}\n{"step": 2}', [{'step': 1}]),
        ('{"st', []),
    ],
)
def test_read_jsonl(tmp_path, text, expected):
  path = tmp_path / 'metrics.jsonl'
  path.write_text(text)
  assert read_jsonl(os.fspath(path)) == expected


def test_read_jsonl_of_no_file(tmp_path):
  assert read_jsonl(os.fspath(tmp_path / 'none')) == []


def write(workdir, start, steps, value):
  writer = Writer(os.fspath(workdir), start, 100)
  try:
    for step in steps:
      writer.progress(step, 0.5, 1e4)
      writer.write(step, {'train/loss': value, 'valid/ctr/auc': NAN})
  finally:
    writer.close()


def lines(workdir):
  return read_jsonl(os.fspath(workdir / 'metrics.jsonl'))


def test_metrics_of_a_run(tmp_path):
  write(tmp_path, 0, [10, 20], 0.25)
  assert [r['step'] for r in lines(tmp_path)] == [10, 20]
  for r in lines(tmp_path):
    assert r['train/loss'] == 0.25 and r['valid/ctr/auc'] is None
    assert r['time'] > 1e9
  assert any(f.stat().st_size for f in (tmp_path / 'tensorboard').iterdir())


@pytest.mark.parametrize(
    'start, kept',
    [(20, [10, 20]), (25, [10, 20]), (0, []), (30, [10, 20, 30])],
)
def test_a_resumed_run_cuts_what_lies_behind_its_checkpoint(
    tmp_path, start, kept
):
  write(tmp_path, 0, [10, 20, 30], 1.0)
  write(tmp_path, start, [start + 5], 2.0)
  got = [(r['step'], r['train/loss']) for r in lines(tmp_path)]
  assert got == [(k, 1.0) for k in kept] + [(start + 5, 2.0)]


def test_half_a_line_is_cut(tmp_path):
  """The machine failed while the line of step 20 was written."""
  write(tmp_path, 0, [10, 20], 1.0)
  path = tmp_path / 'metrics.jsonl'
  path.write_text(path.read_text()[:-8])
  write(tmp_path, 20, [30], 2.0)
  assert [r['step'] for r in lines(tmp_path)] == [10, 30]


def test_lines_are_on_disk_before_the_run_ends(tmp_path):
  writer = Writer(os.fspath(tmp_path), 0, 100)
  try:
    writer.write(10, {'loss': 1.0})
    assert [r['step'] for r in lines(tmp_path)] == [10]
  finally:
    writer.close()


def test_say(tmp_path, capsys):
  writer = Writer(os.fspath(tmp_path), 0, 100)
  writer.say('hello')
  writer.close()
  out, err = capsys.readouterr()
  assert 'hello' in out + err

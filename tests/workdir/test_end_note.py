"""Results are those that the run wrote."""

import hashlib
import json

from esmm_jax.types import InputError
from esmm_jax.workdir import end_note
from esmm_jax.workdir.identity import Stamp
import pytest

RESULTS = {'test/ctr/auc': 0.75, 'steps': 3, 'train_seconds': float('nan')}
LINE = '{"step": 3, "time": 1.5}\n'
MANIFEST = {'identity': 'ab', 'config_sha256': 'c', 'versions': {}}
STAMP = Stamp('ab', 3, 'cd')


def finish(folder, results=None, manifest=None):
  results = RESULTS if results is None else results
  (folder / 'metrics.jsonl').write_text(LINE)
  digest = hashlib.sha256(LINE.encode()).hexdigest()
  manifest = MANIFEST if manifest is None else manifest
  end_note.write(str(folder), manifest, results, digest, STAMP)
  end_note.write_json(str(folder / 'results.json'), results)


def read(path):
  return json.loads(path.read_text())


def test_what_a_run_wrote(tmp_path):
  assert end_note.read_results(str(tmp_path)) is None
  finish(tmp_path)
  read_again = end_note.read_results(str(tmp_path))
  assert read_again == RESULTS | {'train_seconds': None}
  assert end_note.metrics_damage(str(tmp_path)) == ''
  assert end_note.stamp(str(tmp_path)) == STAMP
  assert read(tmp_path / 'manifest.json').items() >= MANIFEST.items()


@pytest.mark.parametrize('change', [
    {'test/ctr/auc': 0.76}, {'test/ctr/auc': None}, {'more': 1}, {'steps': 4},
])
def test_results_that_were_changed(tmp_path, change):
  finish(tmp_path)
  end_note.write_json(str(tmp_path / 'results.json'), RESULTS | change)
  with pytest.raises(InputError, match='results.json differs from what'):
    end_note.read_results(str(tmp_path))


@pytest.mark.parametrize('text', ['[]', 'null', '3', '{"test', ''])
def test_results_that_are_no_object(tmp_path, text):
  finish(tmp_path)
  (tmp_path / 'results.json').write_text(text)
  with pytest.raises(InputError, match='results.json .* Do.'):
    end_note.read_results(str(tmp_path), 'Do.')


def test_another_layout_of_the_same_numbers(tmp_path):
  finish(tmp_path)
  same = json.dumps(read(tmp_path / 'results.json'), sort_keys=True)
  (tmp_path / 'results.json').write_text(same)
  assert end_note.read_results(str(tmp_path))['steps'] == 3


@pytest.mark.parametrize('text', ['', LINE * 2, LINE.replace('3', '4'), None])
def test_metrics_that_were_changed(tmp_path, text):
  finish(tmp_path)
  path = tmp_path / 'metrics.jsonl'
  path.unlink() if text is None else path.write_text(text)
  damage = end_note.metrics_damage(str(tmp_path))
  assert 'metrics.jsonl' in damage
  assert 'delete only results.json and repeat the training' in damage


@pytest.mark.parametrize('text', [None, '', '[]', '{}', '{"ended": 3}'])
def test_runs_that_noted_nothing(tmp_path, text):
  """Those of earlier versions, and damage that others tell."""
  finish(tmp_path)
  path = tmp_path / 'manifest.json'
  path.unlink() if text is None else path.write_text(text)
  assert end_note.read_results(str(tmp_path))['steps'] == 3
  assert end_note.metrics_damage(str(tmp_path)) == ''
  assert end_note.stamp(str(tmp_path)) == Stamp()


def test_the_config_of_the_results(tmp_path):
  finish(tmp_path)
  assert end_note.read_results(str(tmp_path), config_sha256='c')
  with pytest.raises(InputError, match='config.json is not the config of the'):
    end_note.read_results(str(tmp_path), config_sha256='d')
  finish(tmp_path, manifest={'config_sha256': 'c', 'versions': {}})
  assert end_note.read_results(str(tmp_path), config_sha256='d')  # Of old.


def test_a_run_that_is_tested_again(tmp_path):
  """Killed between the two files it has its old results, which are its own."""
  finish(tmp_path)
  opened = end_note.reopened(read(tmp_path / 'manifest.json'), str(tmp_path))
  end_note.write_json(str(tmp_path / 'manifest.json'), opened)
  (tmp_path / 'metrics.jsonl').write_text(LINE * 2)
  assert end_note.metrics_damage(str(tmp_path)) == ''
  assert end_note.read_results(str(tmp_path))['steps'] == 3
  end_note.write(str(tmp_path), opened, RESULTS | {'more': 1}, '', STAMP)
  assert 'more' not in end_note.read_results(str(tmp_path))
  end_note.write_json(str(tmp_path / 'results.json'), RESULTS | {'more': 1})
  assert end_note.read_results(str(tmp_path))['more'] == 1
  (tmp_path / 'results.json').unlink()  # Trained again.
  assert end_note.reopened(opened, str(tmp_path)) == MANIFEST

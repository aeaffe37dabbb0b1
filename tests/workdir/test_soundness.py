"""A finished run whose parts are damaged is finished again, to the bit."""

import json
import os
import re
import shutil

from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, predictions, soundness
from esmm_jax.workdir.folder import finished as results_of
from esmm_jax.workdir.folder import predictions_file, record
from pyarrow import parquet as pq
import pytest

from tests.serving.served import small_config
from tests.training.test_end_to_end import fingerprint, metrics, results


@pytest.fixture
def run(finished, tmp_path):
  return finished.copy(tmp_path / 'run')


def checkpoint(folder):
  """Of the last step."""
  steps = [n for n in os.listdir(folder / 'checkpoints') if n.isdigit()]
  return folder / 'checkpoints' / max(steps, key=int)


def empty_table(folder):
  os.truncate(next(checkpoint(folder).glob('tables/*.bin')), 0)


def zeros_in_a_table(folder):
  path = next(checkpoint(folder).glob('tables/*.bin'))
  with open(path, 'r+b') as f:
    f.write(bytes(100))


def no_end(folder):
  last = checkpoint(folder)
  shutil.rmtree(last)
  os.remove(f'{last}.seal.json')


def empty_predictions(folder):
  os.truncate(predictions_file(folder), 0)


def half_the_predictions(folder):
  path = predictions_file(folder)
  os.truncate(path, os.path.getsize(path) // 2)


def bit_of_predictions(folder):
  path = predictions_file(folder)
  with open(path, 'r+b') as f:
    f.seek(1000)
    byte = f.read(1)[0]
    f.seek(1000)
    f.write(bytes([byte ^ 1]))


def predictions_of_another_run(folder):
  stamp_predictions(folder, identity='0' * 64)


def predictions_of_other_parameters(folder):
  stamp_predictions(folder, params_sha256='0' * 64)


def stamp_predictions(folder, **other):
  path = predictions_file(folder)
  columns = pq.read_table(path).to_pydict()
  stamp = end_note.stamp(folder)._replace(**other)
  predictions.write(path, columns, stamp)


def empty_results(folder):
  os.truncate(folder / 'results.json', 0)


def other_results(folder):
  (folder / 'results.json').write_text('[1]')


HARMS = [
    empty_table, zeros_in_a_table, no_end, empty_predictions,
    half_the_predictions, bit_of_predictions, predictions_of_another_run,
    predictions_of_other_parameters, empty_results, other_results]


def looked_at(folder):
  return results_of(record(small_config()), str(folder))


def test_what_is_sound_is_finished(run):
  with open(run.folder / 'results.json', encoding='utf-8') as f:
    assert looked_at(run.folder) == json.load(f)


@pytest.mark.parametrize('harm', HARMS)
def test_what_is_damaged_is_not_finished(harm, run):
  harm(run.folder)
  before = sorted(run.folder.rglob('*'))
  assert looked_at(run.folder) is None
  assert sorted(run.folder.rglob('*')) == before


def test_predictions_of_an_earlier_version(run, capfd):
  """Without a stamp they are taken as they are."""
  path = predictions_file(run.folder)
  pq.write_table(pq.read_table(path).replace_schema_metadata({}), path)
  assert looked_at(run.folder)['steps'] > 0
  assert capfd.readouterr().err == ''


def test_checkpoints_that_were_removed_to_make_room(run):
  for keep in (True, False):  # The folder itself.
    shutil.rmtree(run.folder / 'checkpoints')
    if keep:
      (run.folder / 'checkpoints').mkdir()
    assert looked_at(run.folder)['steps'] > 0
  half_the_predictions(run.folder)
  with pytest.raises(InputError, match='no checkpoints/ to compute them from'):
    looked_at(run.folder)


def test_checkpoints_of_early_versions(run):
  """Without seals, and results without steps."""
  for path in (run.folder / 'checkpoints').glob('*.seal.json'):
    path.unlink()
  assert looked_at(run.folder)['steps'] > 0
  assert soundness.is_end({}, 3) and soundness.is_end({}, None)


def test_of_another_program(run):
  """A numbered folder without a seal is no checkpoint of a run."""
  (run.folder / 'checkpoints' / '2024').mkdir()
  assert looked_at(run.folder)['steps'] > 0


WORDS = {
    empty_table: 'has 0 bytes, not',
    no_end: 'was finished at step .* finished again from step',
    half_the_predictions: 'test.parquet cannot be read .* It is made again',
    predictions_of_another_run: 'is of another run, .* It is made again',
    empty_results: 'results.json was damaged; it is made again',
}


@pytest.mark.slow
@pytest.mark.parametrize('harms', [
    (empty_table, half_the_predictions), (predictions_of_another_run,),
    (no_end,), (empty_results,)])
def test_finished_again(harms, run, finished, capfd):
  for harm in harms:
    harm(run.folder)
  train_and_evaluate(small_config(), str(run.folder), str(run.data))
  said = capfd.readouterr().err.splitlines()
  for harm in harms:
    (line,) = (s for s in said if re.search(WORDS[harm], s))
    assert line.startswith('warning: ')
  assert results(run.folder) == results(finished.folder)
  assert metrics(run.folder) == metrics(finished.folder)
  assert fingerprint(run.folder) == fingerprint(finished.folder)
  assert run.saved().equals(finished.saved())
  assert looked_at(run.folder)


def test_results_go_before_the_run_does(run):
  """While it is trained again, nobody takes the old numbers for its own."""
  step = int(checkpoint(run.folder).name)
  assert soundness.withdraw(str(run.folder), step) == ''
  assert (run.folder / 'results.json').exists()
  said = soundness.withdraw(str(run.folder), step - 1)
  assert f'finished again from step {step - 1}.' in said
  assert not (run.folder / 'results.json').exists()
  assert soundness.withdraw(str(run.folder), None) == ''

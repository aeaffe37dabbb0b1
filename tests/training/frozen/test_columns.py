"""The predictions of a finished run for the rows of another one."""

import json
import tempfile

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.whole import whole
from esmm_jax.schema import Schema
from esmm_jax.tasks import Task
from esmm_jax.training.frozen import columns
from esmm_jax.training.frozen.run import FrozenRun
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests.toy import SCHEMA


def predicted(run, split='train', tasks=('ctr', 'cvr'), **changes):
  frozen = FrozenRun.open(str(run.folder))
  builder = changes.pop('builder', None) or run.builder()
  schema = changes.pop('schema', builder.schema)
  return columns.labels(frozen, builder, split, schema, tasks)


@pytest.fixture(scope='module', name='train')
def _train(finished):
  return predicted(finished)


def test_they_are_those_of_the_run(finished, train):
  """Of the parameters that it selected, which are not the last ones."""
  rows = finished.builder().as_data_source('train').joined(0, 6000)
  expected = finished.predictor().predict(rows)
  assert list(train) == ['frozen_ctr', 'frozen_cvr']
  for task in ('ctr', 'cvr'):
    column = train[f'frozen_{task}']
    assert column.dtype == np.float32 and column.shape == (6000,)
    np.testing.assert_allclose(column, expected[f'p_{task}'], rtol=2e-6)
    assert column.std() > 1e-3
  saved = finished.saved()
  test = predicted(finished, 'test', ('ctcvr',))['frozen_ctcvr']
  np.testing.assert_allclose(test, saved['p_ctcvr'].to_numpy(), rtol=2e-6)


def test_they_are_the_same_again_and_of_any_rows(finished, train):
  again = predicted(finished)
  part = predicted(finished, 'valid+train[:30%]')
  valid = predicted(finished, 'valid')
  for name, column in train.items():
    np.testing.assert_array_equal(again[name], column)
    # Other rows stand in a batch with these, so sums may be rounded otherwise.
    joined = np.concatenate([valid[name], column[:1800]])
    np.testing.assert_allclose(part[name], joined, rtol=2e-6)


def test_more_rows_than_a_batch(finished, train, monkeypatch):
  monkeypatch.setattr(columns, '_BATCH', 700)
  for name, column in predicted(finished).items():
    np.testing.assert_allclose(column, train[name], rtol=2e-6)


def test_the_labels_of_batches_are_those_of_their_rows(toy):
  """Shuffled and not, streamed and as a whole."""
  serial = np.arange(150, dtype=np.float32) / 7
  source = toy.as_data_source('train')
  batches = Batches(
      source, SCHEMA, 16, seed=3, more_labels={'frozen_ctr': serial},
      truth=toy.truth_source('train'), truth_labels=('p_ctr',))
  assert batches.label_names == ('click', 'conversion', 'p_ctr', 'frozen_ctr')
  for step in range(2 * len(batches)):
    batch = batches(step)
    at = batch.floats[:, 0] / 7  # The number of the row.
    np.testing.assert_array_equal(batch.labels['frozen_ctr'], at)
    assert batch.labels['frozen_ctr'].dtype == np.float32
  rows = whole(batches)
  np.testing.assert_array_equal(rows.labels['frozen_ctr'], serial)
  with pytest.raises(InputError, match='frozen_ctr has 149 values, .* 150'):
    Batches(source, SCHEMA, 16, more_labels={'frozen_ctr': serial[1:]})


@pytest.mark.parametrize(
    'task, words',
    [
        ('atr', 'does not predict atr as a probability.* ctr, cvr, ctcvr'),
        ('play_time', 'does not predict play_time'),
    ],
)
def test_a_task_that_it_lacks_is_refused(task, words, finished):
  with pytest.raises(InputError, match=words):
    predicted(finished, tasks=('ctr', task))


def test_another_task_of_the_same_name_is_refused(finished):
  tasks = (Task('ctr', 'click'), Task('cvr', 'cart', 'ctr'))
  schema = Schema(fields=SCHEMA.fields, tasks=tasks)
  with pytest.raises(
      InputError, match='cvr is cart given click here and conversion given'):
    predicted(finished, schema=schema)
  assert predicted(finished, 'test', ('ctr',), schema=schema)


def test_other_data_is_refused(finished, toy):
  with pytest.raises(
      InputError, match=r'frozen_run=.*: the data is toy.* here and synthetic'):
    predicted(finished, builder=toy)


@pytest.fixture(name='copy')
def _copy(finished, tmp_path):
  return finished.copy(tmp_path / 'run')


def unfinished(run):
  (run.folder / 'results.json').unlink()


def no_run(run):
  run.folder.rename(run.folder.parent / 'away')


def no_checkpoint(run):
  (run.folder / 'checkpoints').rename(run.folder / 'away')


def damaged(run):
  for path in run.folder.glob('checkpoints/*/tables/*.table-*.bin'):
    path.write_bytes(path.read_bytes()[:-4])


def other_config(run):
  path = run.folder / 'config.json'
  path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def other_results(run):
  path = run.folder / 'results.json'
  results = json.loads(path.read_text())
  path.write_text(json.dumps(results | {'steps': results['steps'] - 1}))


@pytest.mark.parametrize(
    'change, words',
    [
        (unfinished, 'is not finished: there is no results.json'),
        (no_run, 'is not the folder of a run: there is no config.json'),
        (no_checkpoint, 'has no checkpoint of its last step'),
        (damaged, 'checkpoint.*Train that run again'),
        (other_config, 'config.json is not that of the run'),
        (other_results, 'results.json differs from what this run wrote'),
    ],
)
def test_what_is_no_finished_run_is_refused_in_a_line(change, words, copy):
  builder = copy.builder()
  change(copy)
  with pytest.raises(InputError, match=words) as refused:
    predicted(copy, builder=builder)
  assert '\n' not in str(refused.value)


def test_the_folder_is_named_from_that_of_the_run(finished, monkeypatch):
  parent, name = finished.folder.parent, finished.folder.name
  run = FrozenRun.open(f'../{name}', str(parent / 'other'))
  assert run.base.folder == str(finished.folder)
  assert FrozenRun.open(str(finished.folder), 'elsewhere') == run._replace(
      base=run.base._replace(run=str(finished.folder)))
  with pytest.raises(InputError, match='is the folder of the run itself'):
    FrozenRun.open('.', str(finished.folder))
  monkeypatch.chdir(parent)
  with pytest.raises(InputError, match=f'or write {finished.folder}'):
    FrozenRun.open(name, str(parent / 'other'))


def test_no_room_for_the_columns_is_told(finished, monkeypatch, tmp_path):
  monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path / 'gone'))
  with pytest.raises(InputError, match='gone: .*TMPDIR'):
    predicted(finished)

"""A run is used with the data it was trained on, or refused in one line."""

import json
import os
import pathlib
import re
import shutil
from typing import Any, NamedTuple

import esmm_jax
from esmm_jax.json_files import to_json
from esmm_jax.serving import run_predictions, scoring
from esmm_jax.serving.calibrate import calibrate
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest
import numpy as np
from pyarrow import csv
import pyarrow as pa
import pytest

from tests.data.tabular import test_tabular

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


class Trained(NamedTuple):
  """A finished run on a log, and its prepared data."""

  config: Any
  log: pathlib.Path
  run: str
  data: str


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp('trained')
  log = folder / 'log.csv'
  csv.write_csv(test_tabular.many(), log)
  config = test_tabular.config_of(str(log), num_epochs=1)
  run, data = str(folder / 'run'), str(folder / 'data')
  train_and_evaluate(config, run, data)
  return Trained(config, log, run, data)


@pytest.fixture
def own(trained, tmp_path):
  """A copy of the run, and the log, which is as it was when the test ends."""
  run = str(tmp_path / 'run')
  shutil.copytree(trained.run, run)
  whole = trained.log.read_bytes()
  yield trained._replace(run=run)
  trained.log.write_bytes(whole)


def shuffle(log, seed=1):
  """Other rows in as many bytes."""
  header, *rows = log.read_bytes().splitlines(keepends=True)
  order = np.random.default_rng(seed).permutation(len(rows))
  log.write_bytes(header + b''.join(rows[k] for k in order))


def rename(log):
  """Other names of the users, by which all ids and rows stay the same."""
  log.write_text(re.sub(r'"u(\d)', r'"v\1', log.read_text()))


def resume(own, data):
  os.remove(os.path.join(own.run, 'results.json'))
  train_and_evaluate(own.config, own.run, data)


def predict(own, data):
  scoring.score_split(
      esmm_jax.load(own.run), parts.dataset(own.config.dataset, data), 'test',
      own.run + '.parquet')


USES = {
    'resume': resume,
    'predict': predict,
    'calibrate': lambda own, data: calibrate(own.run, data),
    'report': lambda own, data: run_predictions.predict_test(own.run, data),
    'truth': lambda own, data: run_predictions.open_truth(
        to_json(own.config.to_dict()), own.run, data),
}


@pytest.mark.parametrize('use', USES)
def test_the_same_data_at_another_place(own, use, tmp_path):
  """Prepared again, of the file with other times."""
  os.utime(own.log, ns=(1, 1))
  USES[use](own, str(tmp_path / 'again'))


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('change', [shuffle, rename])
def test_raw_files_that_were_changed(own, use, change):
  size = os.path.getsize(own.log)
  change(own.log)
  assert os.path.getsize(own.log) == size
  with pytest.raises(InputError, match='from other files: .*log.csv has as m'):
    USES[use](own, own.data)
  assert not os.path.exists(own.run + '.parquet')


@pytest.mark.parametrize('use', USES)
@pytest.mark.parametrize('change', [shuffle, rename])
def test_data_prepared_from_other_files(own, use, change, tmp_path):
  """A new vocabulary would be made, and its ids fed to the old model."""
  change(own.log)
  began = manifest.read(own.run)
  with pytest.raises(InputError) as e:
    USES[use](own, str(tmp_path / 'again'))
  text = str(e.value)
  assert own.run in text and '\n' not in text
  digits = began[
      'data' if change is shuffle else 'encoder_sha256'].split()[-1][:16]
  assert digits in text
  now = parts.dataset(own.config.dataset, str(tmp_path / 'again'))
  if change is shuffle:
    assert now.columns_sha256[:16] in text
  else:
    # By all columns it is the same data.
    assert now.columns_sha256[:16] in began['data']
    assert now.encoder_hashes()['encoder_sha256'][:16] in text
  assert not os.path.exists(own.run + '.parquet')


@pytest.mark.parametrize('use', ['calibrate', 'report', 'truth'])
def test_a_run_without_a_manifest_warns(own, use, tmp_path, capfd):
  os.remove(os.path.join(own.run, 'manifest.json'))
  USES[use](own, own.data)
  lines = [line for line in capfd.readouterr().err.splitlines()
           if line.startswith('warning:')]
  assert len(lines) == 1 and f'{own.run} has no manifest.json' in lines[0]


def test_a_manifest_of_an_earlier_version(own, tmp_path, capfd):
  path = pathlib.Path(own.run, 'manifest.json')
  began = json.loads(path.read_text())
  old = {k: began[k] for k in ('config_sha256', 'data', 'versions')}
  path.write_text(json.dumps(old))
  predict(own, own.data)
  assert 'warning' not in capfd.readouterr().err
  shuffle(own.log)
  with pytest.raises(InputError, match='was trained on the data tabular/'):
    calibrate(own.run, str(tmp_path / 'again'))


def test_the_encoder_of_another_log(own, tmp_path):
  """Its vocabularies have as many values, and its files all that is needed."""
  before = esmm_jax.load(own.run).predict({'user': ['u1'], 'item': [1]})
  rename(own.log)
  other = parts.dataset(own.config.dataset, str(tmp_path / 'other'))
  encoder = os.path.join(own.run, 'encoder')
  shutil.copytree(encoder, tmp_path / 'encoder')
  shutil.rmtree(encoder)
  shutil.copytree(other.encoder_folder, encoder)
  with pytest.raises(InputError, match='run/encoder is not the one that'):
    esmm_jax.load(own.run)
  shutil.rmtree(encoder)
  shutil.copytree(tmp_path / 'encoder', encoder)
  after = esmm_jax.load(own.run).predict({'user': ['u1'], 'item': [1]})
  assert before['p_ctr'] == after['p_ctr']


def test_prepared_data_of_an_earlier_version_warns(own, capfd, monkeypatch):
  """Whose report has the sizes of the files alone."""
  builder = parts.dataset(own.config.dataset, own.data)
  path = os.path.join(builder.data_path, 'metadata.json')
  saved = pathlib.Path(path).read_text()
  digest = builder.report['files'][str(own.log)]['sha256']
  assert digest in saved
  assert 'warning' not in capfd.readouterr().err
  report = dict(builder.report)
  report['files'] = {p: f['bytes'] for p, f in report['files'].items()}
  monkeypatch.setattr(type(builder), 'report', report)
  assert own.log.name in parts.dataset(
      own.config.dataset, own.data).warnings[0]
  predict(own, own.data)
  lines = [line for line in capfd.readouterr().err.splitlines()
           if line.startswith('warning:')]
  assert len(lines) == 1 and 'records only the size' in lines[0]


def test_a_log_that_is_changed_between_a_kill_and_a_resume(own, tmp_path):
  """Parts that were scored before are of other rows."""
  log = str(tmp_path / 'new.csv')
  csv.write_csv(pa.table({'user': ['u1', 'u2'], 'item': [1, 2]}), log)
  files = esmm_jax.data.files.row_files.find([log])
  predictor = esmm_jax.load(own.run)
  output = str(tmp_path / 'scores.parquet')

  def killed(*args, **kwargs):
    raise KeyboardInterrupt

  predictor.outputs, whole = killed, predictor.outputs
  with pytest.raises(KeyboardInterrupt):
    scoring.score_files(predictor, files, output)
  csv.write_csv(pa.table({'user': ['u1', 'u3'], 'item': [1, 2]}), log)
  predictor.outputs = whole
  with pytest.raises(InputError, match='holds parts of another job: input.*'):
    scoring.score_files(predictor, files, output)
  shutil.rmtree(output + '.parts')
  assert scoring.score_files(predictor, files, output) == 2

"""Logs with one kind of column: numbers alone, identifiers, lists."""

import pathlib

import esmm_jax
from esmm_jax.models import MODELS
from esmm_jax.training.loop import train_and_evaluate
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from configs import esmm
from experiments import load
from tests.configs import config_fuzz

KINDS = {'float': 'price', 'id': 'user', 'ids': 'tags'}


@pytest.fixture(scope='module')
def log(tmp_path_factory):
  rng = np.random.default_rng(0)
  price = rng.normal(size=1500)
  click = (rng.random(1500) < 1 / (1 + np.exp(-2 * price))).astype(int)
  bought = click * (rng.random(1500) < 0.3)
  names = np.where(price > 0, 'high', 'low')
  path = tmp_path_factory.mktemp('log') / 'log.parquet'
  parquet.write_table(pa.table({
      'price': price, 'user': names, 'tags': [[n] for n in names],
      'clicked': click, 'bought': bought.astype(int),
      'minute': np.arange(1500)}), path)
  return path


def changed(config, log, kind):
  config.update_from_flattened_dict({
      'dataset.files': str(log), f'dataset.{kind}': KINDS[kind],
      'dataset.split': 'time', 'dataset.time': 'minute',
      'dataset.click': 'clicked', 'dataset.conversion': 'bought',
      'batch_size': 256, 'learning_rate': 0.03, 'model.embed_dim': 4})
  return config


@pytest.mark.parametrize('kind', [
    pytest.param('float', marks=pytest.mark.slow),
    pytest.param('id', marks=pytest.mark.long),
    pytest.param('ids', marks=pytest.mark.slow)])
def test_it_trains_and_predicts(kind, log, tmp_path):
  config = changed(esmm.get_config('tabular'), log, kind)
  config.model.tower_units, config.run.save_predictions = (8,), True
  config.num_epochs = 4
  run = str(tmp_path / 'run')
  results = train_and_evaluate(config, run, str(tmp_path / 'data'))
  assert results['test/ctr/auc'] > 0.7
  assert results['num_params'] == results['num_network_params'] + 4 * {
      'float': 0, 'id': 4, 'ids': 4}[kind]
  rows = parquet.read_table(log).to_pydict()
  scores = esmm_jax.load(run).predict({KINDS[kind]: rows[KINDS[kind]]})
  saved = parquet.read_table(
      pathlib.Path(run) / 'predictions' / 'test.parquet')
  np.testing.assert_allclose(
      scores['p_ctr'][-len(saved):], saved['p_ctr'].to_numpy(), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', MODELS)
def test_every_model_takes_numbers_alone(name, log, tmp_path):
  config = load.config(f'configs/{"esmm" if "shared_emb" in name else name}.py')
  config.dataset = esmm.get_config('tabular').dataset
  changed(config, log, 'float')
  config_fuzz.begin(config, str(tmp_path / 'run'), str(tmp_path / 'data'))

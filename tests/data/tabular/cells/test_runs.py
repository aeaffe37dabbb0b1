"""Runs whose log has buckets and crosses: every way to score a row is one."""

import os

import esmm_jax
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.serving import exporting
from esmm_jax.serving.model_inputs import features
import numpy as np
import polars
from pyarrow import csv, parquet
import pytest

from tests.warm_start import days

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
CELLS = dict(
    dataset__id='user,item,hour,price:buckets=5',
    dataset__crosses='user*hour,price.bucket*hour:min_count=3')
MADE = ['price.bucket', 'user_x_hour', 'price.bucket_x_hour']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('cells'))


@pytest.fixture(scope='module')
def run(root):
  return days.train(root, 'run', 1, num_epochs=1, **CELLS)[0]


@pytest.fixture(scope='module')
def predictor(run):
  return esmm_jax.load(run)


def test_all_forms_of_rows_are_scored_alike(predictor, tmp_path):
  assert [f.name for f in predictor.schema.fields if f.name in MADE] == MADE
  assert not {*MADE} & {*predictor.names}
  rows = days.day(2)
  scores = predictor.predict(rows)['p_ctcvr']
  parquet.write_table(rows, tmp_path / 'rows.parquet')
  tags = ['|'.join(t) for t in rows['tags'].to_pylist()]
  flat = rows.set_column(rows.column_names.index('tags'), 'tags', [tags])
  csv.write_csv(flat, tmp_path / 'rows.csv')
  for frame in (
      rows.to_pandas(), polars.from_arrow(rows), rows.to_pydict(),
      parquet.read_table(tmp_path / 'rows.parquet'),
      csv.read_csv(tmp_path / 'rows.csv')):
    np.testing.assert_array_equal(predictor.predict(frame)['p_ctcvr'], scores)


def test_metrics_by_bucket_and_pair(run, predictor):
  rows = days.day(1)
  names = predictor.texts('price.bucket')
  assert len(names) == 5 and names[0].startswith('(-inf, ')
  edges = [float(name[1:].partition(',')[0]) for name in names[1:]]
  index = np.searchsorted(edges, rows['price'].to_numpy(), 'right')
  result = predictor.evaluate(rows, by='price.bucket')
  for name, size in zip(names, np.bincount(index), strict=True):
    assert result[f'by/price.bucket={name}/rows'] == size
  result = predictor.evaluate(rows, by='price.bucket_x_hour')
  assert result[f'by/price.bucket_x_hour={names[0]}*1/rows'] == np.sum(
      (index == 0) & (rows['hour'].to_numpy() == 1))
  result = predictor.evaluate(days.day(2), by='unseen:user_x_hour')
  counted = predictor.unseen(days.day(2))['user_x_hour']
  unseen = result['by/unseen:user_x_hour=(rare or unseen)/rows']
  assert unseen == round(counted.unseen * days.ROWS) > days.ROWS // 4


def test_an_export_encodes_the_same(predictor, tmp_path):
  rows = days.day(2, 50)
  folder = str(tmp_path / 'exported')
  exporting.export(predictor, folder)
  encoder = Encoder.load(os.path.join(folder, 'encoder'))
  model, params = exporting.load(folder)
  inputs = features(predictor.schema, encoder.encode(rows))
  np.testing.assert_allclose(
      model(params, inputs)['p_ctcvr'],
      predictor.predict(rows)['p_ctcvr'], rtol=1e-6)


def test_a_run_goes_on_with_its_edges(root, run):
  """Trained on with the log of another day, whose prices are others."""
  later, _ = days.train(root, 'later', 2, num_epochs=1, init_from=run, **CELLS)
  one, two = (esmm_jax.load(folder) for folder in (run, later))
  assert two.texts('price.bucket') == one.texts('price.bucket')
  old, new = one.texts('user_x_hour'), two.texts('user_x_hour')
  assert new[:len(old)] == old and len(new) > len(old)

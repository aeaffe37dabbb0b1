"""Attention to a target, from a log to the scores of an export."""

import os

import esmm_jax
from esmm_jax.serving import exporting
from esmm_jax.serving.model_inputs import features
from esmm_jax.workdir import folder as folders
import numpy as np
from pyarrow import parquet
import pyarrow.compute as pc
import pytest

from tests.serving.attention import attending

pytestmark = [pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
ATTENTION = 'combiner=attention:target=item'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('attention'))


@pytest.fixture(scope='module')
def log():
  return attending.log(16_000)


@pytest.fixture(scope='module')
def attended(root, log):
  return attending.train(root, 'attention', ATTENTION, log)


@pytest.mark.parametrize('combiner', ['sum', 'mean'])
def test_it_ranks_where_the_target_in_the_list_counts(
    root, log, attended, combiner):
  """On the validation split; by chance these differ by .02."""
  _, results = attended
  _, other = attending.train(
      root, combiner, f'combiner={combiner}:table=item', log)
  auc = results['valid/ctr/auc']
  assert auc > other['valid/ctr/auc'] + 0.05 and auc > 0.68


def test_scores_are_those_of_the_run_and_of_its_export(log, attended, tmp_path):
  folder, results = attended
  predictor = esmm_jax.load(folder)
  saved = parquet.read_table(os.path.join(folder, 'predictions/test.parquet'))
  rows = log.filter(pc.equal(log['part'], 'test'))
  scores = predictor.predict(rows)
  for name in ('p_ctr', 'p_cvr', 'p_ctcvr'):
    np.testing.assert_allclose(
        scores[name], saved[name].to_numpy(), rtol=1e-5, atol=1e-7)
  again = predictor.evaluate(rows)
  assert again['ctr/auc'] == pytest.approx(results['test/ctr/auc'], abs=1e-6)
  exporting.export(predictor, str(tmp_path / 'exported'))
  call, params = exporting.load(str(tmp_path / 'exported'))
  assert 'net.shared_attention_0.dense_0.kernel' in params
  encoded = predictor.encode(rows, 'the log')
  got = call(params, features(predictor.schema, encoded))
  for name, values in got.items():
    np.testing.assert_allclose(values, scores[name], rtol=1e-4, atol=1e-6)


def test_a_run_goes_on_with_new_items(root, attended):
  """Half of the items are new; a tenth of the rows is enough with the unit."""
  later = attending.log(1600, seed=1, first=attending.ITEMS // 2)
  folder, results = attending.train(
      root, 'later', ATTENTION, later, init_from=attended[0], num_epochs=1)
  schemas = [folders.read_schema(f) for f in (attended[0], folder)]
  sizes = [s.field('past').vocab_size for s in schemas]
  assert sizes == [s.field('item').vocab_size for s in schemas]
  assert sizes[1] > sizes[0] + attending.ITEMS // 3
  assert results['valid/ctr/auc'] > 0.6

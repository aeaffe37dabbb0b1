"""Metrics of a data set that has ids already, with the truth."""

import esmm_jax
from esmm_jax.serving import evaluation

from tests.serving.test_evaluate import assert_equal, of_test


def test_data_sets_with_ids(finished):
  """The simulator's: the truth of a split, labels of a file by their names."""
  predictor = esmm_jax.load(str(finished.folder))
  split = evaluation.evaluate_split(predictor, finished.builder(), 'test')
  assert_equal(split, of_test(predictor.results))
  assert 'cvr_entire/kl' in split
  found = predictor.evaluate(finished.table())
  assert found['rows'] == 3000
  for key in ('ctr/auc', 'cvr_clicked/logloss', 'ctcvr/calibration'):
    assert found[key] == split[key]
  assert 'cvr_entire/kl' not in found

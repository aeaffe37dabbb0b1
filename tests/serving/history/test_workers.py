"""Workers that score get the history as it was prepared for the files."""

import os

from esmm_jax.serving import BatchScorer
from esmm_jax.serving.workers.by_span import Workers
import pytest

from tests.engines.doing import Backwards
from tests.serving.history import logs

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


@pytest.mark.parametrize('name, options', [
    ('nightly', {'as_of': 'test'}), ('live', {})])
def test_files(runs, tmp_path, name, options):
  run = runs[name]
  predictor = run.predictor()
  half = len(run.rows) // 2
  files = [run.rows.slice(half), run.rows.slice(0, half)]
  workers = Workers(Backwards(2), BatchScorer(predictor.folder))
  folder = str(tmp_path)
  one = logs.scored(predictor, folder, files, part_rows=70, **options)
  os.remove(f'{folder}/scores.parquet')
  other = logs.scored(
      predictor, folder, files, part_rows=70, workers=workers, **options)
  assert other.equals(one) and one.num_rows == len(run.rows)

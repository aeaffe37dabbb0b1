"""Spark: the recipe of docs/predictions.md, by local[2]."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import numpy as np
from pyarrow import parquet
import pytest

from tests import ROOT

HAS_SPARK = importlib.util.find_spec('pyspark') and shutil.which('java')
BATCH = 128
COLUMNS = ['user', 'item', 'p_ctr', 'p_cvr', 'p_ctcvr']


@pytest.mark.long
@pytest.mark.skipif(
    not HAS_SPARK, reason='pyspark or Java is not installed: pip install'
    ' pyspark, and Java 17 or later')
def test_the_recipe(finished, tmp_path):
  """The rows with their scores, to the bit, by Arrow and by pandas."""
  table = finished.table(0, 600)
  (tmp_path / 'log').mkdir()
  for k, part in enumerate((table.slice(0, 350), table.slice(350))):
    parquet.write_table(part, tmp_path / 'log' / f'{k}.parquet')
  settings = ' '.join(f'--conf spark.{name}' for name in (
      'driver.bindAddress=127.0.0.1', 'driver.host=127.0.0.1',
      'ui.enabled=false', f'sql.execution.arrow.maxRecordsPerBatch={BATCH}'))
  env = {
      'PYSPARK_SUBMIT_ARGS': f'--master local[2] {settings} pyspark-shell',
      'PYSPARK_PYTHON': sys.executable}
  # In files: Java holds a pipe for some time after the program has ended.
  with open(tmp_path / 'out', 'wb') as out, open(tmp_path / 'err', 'wb') as err:
    code = subprocess.run(
        [sys.executable, '-m', 'tests.serving.workers.spark_program',
         str(finished.folder), str(tmp_path / 'log'), str(tmp_path)],
        cwd=ROOT, env=os.environ | env, stdin=subprocess.DEVNULL, stdout=out,
        stderr=err, check=False, timeout=900).returncode
  assert code == 0, (tmp_path / 'err').read_text()
  answers = json.loads((tmp_path / 'out').read_text().splitlines()[-1])
  predictor = finished.predictor()
  wanted = {name: [] for name in COLUMNS}
  for part in (table.slice(0, 350), table.slice(350)):
    for low in range(0, len(part), BATCH):
      batch = part.slice(low, BATCH)
      columns = {'user': batch['user'], 'item': batch['item']}
      for name, column in (columns | predictor.predict(batch)).items():
        wanted[name] += np.asarray(column).tolist()
  assert {*answers} == {'mapInArrow', 'mapInPandas'}
  for answer in answers.values():
    assert list(answer) == COLUMNS
    # Spark does not keep the order of files.
    assert sorted(zip(*answer.values())) == sorted(zip(*wanted.values()))

"""An export looks histories up where the package cannot be imported."""

import json
import pathlib
import subprocess
import sys

from esmm_jax.serving import exporting
from esmm_jax.serving.model_inputs import features
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests import ROOT
from tests.serving import test_export
from tests.serving.history import logs

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
FORBIDDEN = (
    *(m for m in test_export.FORBIDDEN if m != 'pyarrow'), 'fsspec', 'tqdm')
PROGRAM = '''
import sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in FORBIDDEN:
      raise ImportError(f'{name} is not there')

FORBIDDEN = %r
sys.meta_path.insert(0, Refuse())
%s
sys.path.insert(0, 'exported')
import encode
from pyarrow import parquet
import pyarrow as pa

rows, model = encode.load('exported'), load('exported')
for name in ('test', 'later'):
  features = rows.encode(parquet.read_table(f'{name}.parquet'))
  np.savez(f'{name}-features.npz', **features)
  np.savez(f'{name}-scores.npz', **model(features))
  table = parquet.read_table(f'{name}.parquet')
  labels = {'click': table['clicked'].to_numpy(),
            'conversion': table['bought'].to_numpy()}
  print(*rows.observe(table, labels))
print([m for m in FORBIDDEN if m in sys.modules])
'''


@pytest.mark.parametrize('name', [
    'nightly', pytest.param('live', marks=pytest.mark.long)])
def test_raw_rows_of_an_export(runs, tmp_path, name):
  run = runs[name]
  predictor = run.predictor()
  predictor.as_of = 'test' if name == 'nightly' else None
  exporting.export(predictor, str(tmp_path / 'exported'))
  time = run.rows.column_names.index('time')
  later = run.rows.set_column(
      time, 'time',
      pa.array(run.rows['time'].to_numpy() + 86_400_000))
  parquet.write_table(run.rows, tmp_path / 'test.parquet')
  parquet.write_table(later, tmp_path / 'later.parquet')
  program = PROGRAM % (FORBIDDEN, test_export.snippet(pathlib.Path(ROOT)))
  done = subprocess.run(
      [sys.executable, '-I', '-c', program],
      cwd=tmp_path, capture_output=True, text=True, check=False)
  num = len(run.rows)
  printed = f'0 {num} 0\n{num} 0 0\n[]\n'
  assert (done.returncode, done.stdout) == (0, printed), done.stderr
  for part, rows in (('test', run.rows), ('later', later)):
    held = dict(np.load(tmp_path / f'{part}-features.npz'))
    encoded = features(predictor.schema, predictor.encode(rows, 'rows'))
    assert held.keys() == encoded.keys()
    for field, values in encoded.items():
      bits = [a.view(np.int32) for a in (values, held[field])]
      assert np.array_equal(*bits), field
    scores = np.load(tmp_path / f'{part}-scores.npz')
    for score, values in predictor.predict(rows).items():
      np.testing.assert_allclose(scores[score], values, rtol=1e-5, atol=1e-7)
  logs.assert_bits(predictor.predict(run.rows), run.batch())
  # What Python leaves beside the modules is no damage.
  exporting.load(str(tmp_path / 'exported'))
  about = json.loads((tmp_path / 'exported' / 'description.json').read_text())
  assert 'esmm_kit/serving/history/kit.py' in about['files']
  assert 'encoder/history/store.json' in about['files']


def test_an_export_has_the_history_of_now(runs, tmp_path):
  predictor = runs['live'].predictor()
  time = runs['live'].rows.column_names.index('time')
  later = runs['live'].rows.set_column(
      time, 'time',
      pa.array(runs['live'].rows['time'].to_numpy() + 86_400_000))
  predictor.observe(later)
  exporting.export(predictor, str(tmp_path / 'exported'))
  from esmm_jax.serving.history import kit

  rows = kit.load(str(tmp_path / 'exported'))
  assert rows.history.store.until == predictor.history.store.until
  assert rows.history.store.fingerprint() == (
      predictor.history.store.fingerprint())

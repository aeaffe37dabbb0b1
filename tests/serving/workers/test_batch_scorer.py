"""BatchScorer: forms of rows, what is sent of it, and Spark's mapInPandas."""

import os
import pickle

import esmm_jax
from esmm_jax.serving import BatchScorer
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

SCORES = ['p_ctr', 'p_cvr', 'p_ctcvr']


@pytest.fixture(name='scorer', scope='module')
def _scorer(finished):
  return BatchScorer(str(finished.folder), 'user,serial')


@pytest.fixture(name='rows', scope='module')
def _rows(finished):
  table = finished.table(0, 50)
  serial = pa.array([f's{k}' for k in range(50)])
  names = [n for n in table.column_names if n != 'serial']
  return table.select(names).append_column('serial', serial)


def test_forms(scorer, rows, finished):
  """The form that came in goes out; the scores are those of `predict`."""
  wanted = esmm_jax.load(str(finished.folder)).predict(rows)
  frame = rows.to_pandas()
  frame.index = np.arange(50) * 3
  arrays = {n: frame[n].to_numpy() for n in rows.column_names}
  (batch,) = rows.combine_chunks().to_batches()
  outs = [scorer(form) for form in (rows, batch, frame, arrays)]
  assert [type(o) for o in outs] == [
      pa.Table, pa.RecordBatch, type(frame), dict]
  assert outs[2].index.tolist() == frame.index.tolist()
  for out in outs:
    names = out.schema.names if hasattr(out, 'schema') else list(out)
    assert names == ['user', 'serial', *SCORES]
    assert list(out['serial']) == [f's{k}' for k in range(50)] or (
        out['serial'].to_pylist() == [f's{k}' for k in range(50)])
    np.testing.assert_array_equal(np.asarray(out['user']), arrays['user'])
    for name in SCORES:
      values = np.asarray(out[name])
      assert values.dtype == np.float32
      np.testing.assert_array_equal(values, wanted[name])
  assert scorer(rows.slice(0, 0)).num_rows == 0


def test_it_is_sent_as_its_arguments(finished, tmp_path, monkeypatch):
  """Nothing is loaded before rows come, nor sent after they did."""
  monkeypatch.chdir(finished.folder.parent)
  scorer = BatchScorer(finished.folder.name, key=['user'], batch_size=7)
  monkeypatch.chdir(tmp_path)
  before = pickle.dumps(scorer)
  rows = finished.table(0, 10)
  scores = scorer(rows)
  assert pickle.dumps(scorer) == before and len(before) < 1000
  copy = pickle.loads(before)
  assert 'predictor' not in vars(copy)
  assert copy(rows).equals(scores)
  assert copy.predictor.batch_size == 7 and copy.key == ['user']
  assert copy.predictor is copy.predictor


def test_other_names(scorer, rows, finished):
  """Of the run's columns; those of the key are as the rows have them."""
  wanted = scorer(rows)
  other = rows.rename_columns(
      {n: n.replace('.', '_') + '_x' for n in rows.column_names})
  back = dict(zip(other.column_names, rows.column_names))
  renamed = pickle.loads(pickle.dumps(BatchScorer(
      str(finished.folder), 'user_x', names=back)))
  (batch,) = other.combine_chunks().to_batches()
  frame = other.to_pandas()
  for form in (other, batch, frame, {n: frame[n] for n in frame}):
    out = renamed(form)
    for name in SCORES:
      np.testing.assert_array_equal(np.asarray(out[name]), wanted[name])
    np.testing.assert_array_equal(np.asarray(out['user_x']), wanted['user'])


def test_map_in_pandas(scorer, rows):
  """Spark calls a function with an iterator of frames, and wants one back."""
  whole = scorer(rows).to_pandas()
  frames = (rows.slice(k, 20).to_pandas() for k in range(0, 50, 20))
  function = pickle.loads(pickle.dumps(scorer.each))
  outs = list(function(frames))
  assert [len(out) for out in outs] == [20, 20, 10]
  for k, out in zip(range(0, 50, 20), outs):
    part = whole.iloc[k:k + 20].reset_index(drop=True)
    assert out['serial'].tolist() == part['serial'].tolist()
    for name in SCORES:  # Batches of other sizes.
      np.testing.assert_allclose(out[name], part[name], rtol=1e-5)


def test_several_runs(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  mean = BatchScorer('"runs/a,1",b', data_dir='data')
  monkeypatch.chdir('/')
  runs = [str(tmp_path / 'runs' / 'a,1'), str(tmp_path / 'b')]
  assert mean.runs == pickle.loads(pickle.dumps(mean)).runs == runs


def test_refused(scorer, rows, finished, tmp_path):
  with pytest.raises(InputError, match='is not the folder of a run'):
    BatchScorer(os.fspath(tmp_path))(rows)
  with pytest.raises(InputError, match=r"no column 'serial', which the key na"):
    scorer(rows.drop_columns(['serial']))
  with pytest.raises(InputError, match="the rows are .*must be a pyarrow Tab"):
    scorer([{'user': 1}])
  named = rows.append_column('p_ctr', rows['user'])
  clash = BatchScorer(str(finished.folder), 'p_ctr')
  for form in (named, named.to_pandas()):
    with pytest.raises(InputError, match='--key=p_ctr has the name of a score'):
      clash(form)

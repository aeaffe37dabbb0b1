"""Rows as JSON get the scores that `predict` gives them in Python."""

import json
import signal

from esmm_jax.serving import exporting
from esmm_jax.serving.history import kit
from esmm_jax.serving.model_inputs import features
import numpy as np
import pyarrow as pa
import pytest

from tests.serving.history import logs
from tests.serving.kit.processes import Exported, SERVES, started
from tests.serving.kit.test_server import ask, connected

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


def log():
  """A log with a list of weights, longer than is read of it, and nulls.

  `seen` has identifiers as `item` has them.
  """
  table = logs.log()
  r = np.random.default_rng(3)
  likes = [
      None if n == 4 else [f'l{k}:{w:.3f}' for k, w in zip(
          r.integers(0, 5, n), r.uniform(0.1, 2, n))]
      for n in r.integers(0, 5, len(table))]
  table = table.append_column('likes', pa.array(likes, pa.list_(pa.string())))
  seen = [r.integers(0, 30, n) for n in r.integers(0, 4, len(table))]
  return table.append_column('seen', pa.array(seen, pa.list_(pa.int64())))


def test_scores(tmp_path):
  """The same to 1e-6.

  Of a history, a list that is cut, weights, logarithms, attention, buckets, a
  cross and a factorization machine.
  """
  table = log()
  run = logs.train(
      str(tmp_path), 'run', logs.LIVE, table,
      dataset__ids='tags,likes:max_len=2:weights=colon,'
      'seen:combiner=attention:target=item',
      dataset__id='user,item,hour,price:buckets=4',
      dataset__crosses='price.bucket*hour', model__interaction='deepfm',
      dataset__float='price:scaling=log', dataset__history_request='request')
  predictor = run.predictor()
  exporting.export(predictor, str(tmp_path / 'exported'))
  rows = run.rows.slice(0, 100).select(predictor.names).to_pylist()
  assert {'time', 'request', 'likes'} <= rows[0].keys()
  text = json.dumps({'rows': rows})
  (tmp_path / 'rows.json').write_text(text)
  # The inputs are those of the predictor to the bit.
  held = kit.load(str(tmp_path / 'exported')).encode(json.loads(text)['rows'])
  wanted = features(predictor.schema, predictor.encode(rows, 'rows'))
  assert held.keys() == wanted.keys()
  for name, values in wanted.items():
    assert held[name].dtype == values.dtype
    np.testing.assert_array_equal(held[name], values, err_msg=name)
  packages = (*SERVES, 'numba', 'llvmlite')
  exported = Exported(tmp_path, predictor, rows)
  with started(exported, 'errors.txt', packages) as running:
    with connected(running) as connection:
      answer, value = ask(connection, text.encode())
    assert answer.status == 200, value
    for name, scores in predictor.predict(rows).items():
      served = np.array([row[name] for row in value['scores']], np.float32)
      np.testing.assert_allclose(served, scores, rtol=1e-6, err_msg=name)
      assert np.ptp(served) > 0.01
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(60) == 0

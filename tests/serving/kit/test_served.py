"""An export serves scores where the package cannot be imported."""

import json
import shutil
import signal
import socket
import subprocess
import time

from esmm_jax.serving import exporting
from esmm_jax.serving.kit import rows as kit_rows
from esmm_jax.serving.model_inputs import features
import numpy as np
import pytest

from tests.serving.kit.processes import (
    documented, ENCODES, SERVES, started)
from tests.serving.kit.test_server import ask, connected

pytestmark = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]
ENCODE = '''
import json
import sys

sys.path.insert(0, 'exported')
import encode
import numpy as np

with open('rows.json') as f:
  rows = json.load(f)['rows']
np.savez('features.npz', **encode.load().encode(rows))
names = ('esmm_jax', 'fsspec', 'jax', 'tqdm')
print([name for name in names if name in sys.modules])
'''


def test_inputs_with_numpy_and_pyarrow_alone(exported):
  done = subprocess.run(
      **exported.command(ENCODES, '-c', ENCODE), capture_output=True,
      check=False)
  assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr
  predictor = exported.predictor
  wanted = features(
      predictor.schema, predictor.encode(exported.rows, 'columns'))
  held = dict(np.load(exported.folder / 'features.npz'))
  assert held.keys() == wanted.keys()
  for name, values in wanted.items():
    assert held[name].dtype == values.dtype
    np.testing.assert_array_equal(held[name], values)


def test_inputs_of_a_run_on_ids(finished, tmp_path):
  """Lists with weights among them; there is no encoder."""
  predictor = finished.predictor()
  exporting.export(predictor, str(tmp_path / 'exported'))
  rows = kit_rows.load(str(tmp_path / 'exported'))
  assert rows.names == predictor.names
  columns = finished.columns(0, 50)
  for each in (columns, finished.table(0, 50).to_pylist()):
    held = rows.encode(each)
    for name, values in features(predictor.schema, columns).items():
      np.testing.assert_array_equal(held[name], values, err_msg=name)


def test_scores(exported, running):
  """Those of the predictor, of sizes that no batch has; nothing is compiled."""
  before = running.compiled()
  assert before >= 3
  with connected(running) as connection:
    for num in (1, 2, 32, 33, 1100):
      answer, value = ask(connection, {'rows': exported.rows[:num]})
      assert answer.status == 200, value
      wanted = exported.predictor.predict(exported.rows[:num])
      for name, scores in wanted.items():
        held = [row[name] for row in value['scores']]
        np.testing.assert_allclose(held, scores, rtol=1e-6)
        assert num == 1 or np.ptp(held) > 0.01
      assert {len(row) for row in value['scores']} == {len(wanted)}
    health = ask(connection, None, 'GET', '/health')[1]
  assert running.compiled() == before
  assert health['columns'] == exported.predictor.names
  assert health['sizes'] == [1, 32, 1024]
  stamp = exported.predictor.stamp.to_dict()
  assert health['run'] == stamp


@pytest.mark.parametrize('change, words', [
    ({'price': 'x'}, "rows, row 1: column 'price' is 'x'; it must be a num"),
    ({'price': 1e308}, "rows, row 1: column 'price' is 1e+308; it must be at"),
    ({'price': [1]}, "row 1: column 'price' is a list, and a single value"),
    ({'tags': {'a': 1}}, "row 1: column 'tags' holds an object"),
    ({'user': '\ud800'}, "column 'user'"),
])
def test_wrong_rows(change, words, exported, running):
  rows = exported.rows[:3]
  with connected(running) as connection:
    answer, value = ask(
        connection, {'rows': [rows[0], rows[1] | change, rows[2]]})
    assert answer.status == 400 and words in value['error'], value
    rows = [{k: v for k, v in row.items() if k != 'item'} for row in rows]
    answer, value = ask(connection, {'rows': rows})
  assert answer.status == 400
  assert value['error'].startswith("rows: there is no column 'item', which")


def test_names(exported, running):
  """A name with an error in it is refused, other keys are not looked at."""
  row = exported.rows[0]
  wrong = {('usr' if k == 'user' else k): v for k, v in row.items()}
  with connected(running) as connection:
    answer, value = ask(connection, {'rows': [row, wrong]})
    assert (answer.status, value) == (400, {'error': (
        "rows, row 1: the model reads no column 'usr'. Did you mean 'user'? If"
        ' that is missing, give it as null.')})
    wanted = ask(connection, {'rows': [row, row | {'user': None}]})[1]
    for other in ({'usr': 1, 'user': None}, {'clicked': 1}):
      rows = [row, {k: v for k, v in row.items() if k != 'user'} | other]
      assert ask(connection, {'rows': rows})[1] == wanted


def test_measured(exported, running):
  _, arguments = documented()
  done = subprocess.run(
      **exported.command(
          SERVES, *arguments, f'--port={running.server_address[1]}',
          '--requests=20'),
      capture_output=True, check=False)
  assert done.returncode == 0, done.stderr
  heads, *lines = [line.split() for line in done.stdout.splitlines()]
  assert heads[:2] == ['rows', 'requests']
  assert [line[:2] for line in lines] == [
      ['1', '20'], ['32', '20'], ['1,000', '20']]
  for line in lines:
    middle, late = map(float, line[2:4])
    assert 0 < middle <= late


def test_the_end(exported):
  """A request that has begun is answered; new ones find nobody."""
  with started(exported, 'ended.txt') as running:
    body = json.dumps({'rows': exported.rows[:2]}).encode()
    head = (
        f'POST /score HTTP/1.1\r\nContent-Length: {len(body)}\r\n'
        'Expect: 100-continue\r\n\r\n')
    with socket.create_connection(running.server_address, 60) as client:
      client.sendall(head.encode())
      assert client.recv(4096).startswith(b'HTTP/1.1 100 ')
      running.process.send_signal(signal.SIGTERM)
      for _ in range(600):
        try:
          socket.create_connection(running.server_address, 60).close()
        except ConnectionError:
          break
        time.sleep(0.1)
      client.sendall(body)
      answer = b''.join(iter(lambda: client.recv(4096), b''))
    assert answer.startswith(b'HTTP/1.1 200 ')
    assert b'Connection: close' in answer
    assert len(json.loads(answer.split(b'\r\n\r\n')[1])['scores']) == 2
    assert running.process.wait(60) == 0


@pytest.mark.parametrize('arguments, words', [
    (['--sizes=1,x'], 'error: --sizes=1,x must be whole numbers from 1'),
    (['--measure=no.json', '--port=1'], 'error: no.json holds no rows'),
    (['--measure=rows.json', '--port=1'], 'error: 127.0.0.1:1: '),
])
def test_what_cannot_be_served(arguments, words, exported):
  done = subprocess.run(
      **exported.command(SERVES, 'exported/serve.py', *arguments),
      capture_output=True, check=False)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1].startswith(words), done.stderr


def test_a_package_that_is_missing(exported):
  done = subprocess.run(
      **exported.command(ENCODES, 'exported/serve.py', '--port=0'),
      capture_output=True, check=False)
  assert done.returncode == 1
  assert done.stderr == (
      'error: there is no package jax: pip install numpy pyarrow jax'
      ' flatbuffers\n')


def test_a_changed_file(exported, tmp_path):
  shutil.copytree(exported.folder / 'exported', tmp_path / 'exported')
  with open(tmp_path / 'exported' / 'encode.py', 'a') as f:
    f.write('\n')
  arguments = exported.command(SERVES, 'exported/serve.py', '--port=0')
  done = subprocess.run(
      **arguments | {'cwd': tmp_path}, capture_output=True, check=False)
  assert done.returncode == 1
  assert 'was changed: encode.py has' in done.stderr

"""The server of an export, with a function in place of the program."""

import contextlib
import http.client
import json
import socket
import threading

from esmm_jax.serving.kit import json_rows
from esmm_jax.serving.kit.server import Limits, Server
from esmm_jax.types import InputError
import numpy as np
import pytest

ABOUT = {'status': 'ok', 'columns': ['x']}


def double(rows):
  """Scores that are twice the column x; a text is refused."""
  values = [row['x'] for row in rows]
  for number, value in enumerate(values):
    if isinstance(value, str):
      raise InputError(f"rows, row {number}: column 'x' is {value!r}.")
  return {'p': np.asarray(values, np.float32) * np.float32(2)}


@contextlib.contextmanager
def serving(score=double, **limits):
  server = Server(('127.0.0.1', 0), score, ABOUT, Limits(**limits))
  thread = threading.Thread(target=server.serve)
  thread.start()
  try:
    yield server
  finally:
    assert server.end(10) == 0
    thread.join()


@contextlib.contextmanager
def connected(server):
  connection = http.client.HTTPConnection(*server.server_address, timeout=30)
  with contextlib.closing(connection):
    yield connection


def ask(connection, body=None, method='POST', path='/score', headers=()):
  if body is not None and not isinstance(body, bytes):
    body = json.dumps(body).encode()
  connection.request(method, path, body, dict(headers))
  answer = connection.getresponse()
  text = answer.read()
  assert answer.headers['Content-Type'] == 'application/json'
  return answer, json.loads(text) if text else None


def test_one_connection():
  """Requests one after the other, wrong ones too."""
  with serving() as server, connected(server) as connection:
    answer, value = ask(connection, {'rows': [{'x': 0.1}, {'x': 3}]})
    assert answer.status == 200
    wanted = [float(np.float32(0.1) * 2), 6.0]
    assert value == {'scores': [{'p': w} for w in wanted]}
    kept = connection.sock
    answer, value = ask(connection, {'rows': [{'x': 1}, {'x': 'a'}]})
    assert (answer.status, value) == (
        400, {'error': "rows, row 1: column 'x' is 'a'."})
    assert ask(connection, {'rows': []})[1] == {'scores': []}
    answer, value = ask(connection, None, 'GET', '/health')
    assert (answer.status, value) == (200, ABOUT)
    answer, value = ask(connection, None, 'HEAD', '/health')
    assert (answer.status, value) == (200, None)
    assert connection.sock is kept


@pytest.mark.parametrize('body, words', [
    (b'{', 'the body is no JSON: '),
    (b'', 'the body is no JSON: '),
    (b'\xff', 'the body is no JSON: '),
    (b'[' * 100_000, 'nested too deeply'),
    ([{'x': 1}], 'must be {"rows": [{"COLUMN": VALUE, ...}]}'),
    ({'row': []}, 'must be {"rows": [{"COLUMN": VALUE, ...}]}'),
    ({'rows': {'x': [1]}}, '"rows" must be a list of objects'),
    ({'rows': [{'x': 1}, 3]}, 'rows, row 1 is no object'),
])
def test_wrong_bodies(body, words):
  with serving() as server, connected(server) as connection:
    answer, value = ask(connection, body)
  assert answer.status == 400 and words in value['error']


@pytest.mark.parametrize('method, path, headers, status, words', [
    ('GET', '/score', {}, 405, '/score takes POST, not GET.'),
    ('POST', '/health', {}, 405, '/health takes GET, not POST.'),
    ('DELETE', '/score', {}, 405, '/score takes POST, not DELETE.'),
    ('GET', '/nothing', {}, 404, 'there is no /nothing; there are POST'),
    ('BREW', '/score', {}, 501, 'Unsupported method'),
    ('POST', '/score', {'Content-Length': 'x'}, 400, "is 'x', no number"),
    ('POST', '/score', {'Content-Length': '-1'}, 400, "is '-1', no number"),
    ('POST', '/score', {'Transfer-Encoding': 'chunked'}, 411, 'Content-Len'),
])
def test_wrong_requests(method, path, headers, status, words):
  body = b'' if method == 'POST' else None
  with serving() as server, connected(server) as connection:
    answer, value = ask(connection, body, method, path, headers)
  assert answer.status == status and words in value['error']
  allowed = {'/score': 'POST', '/health': 'GET, HEAD'} if status == 405 else {}
  assert answer.headers['Allow'] == allowed.get(path)


def test_a_body_that_is_too_large():
  with serving(body=100) as server:
    for size, status in ((100, 400), (101, 413), (100_000, 413)):
      with connected(server) as connection:
        answer, value = ask(connection, b' ' * size)
      assert answer.status == status, value
    assert value['error'].startswith('the body has 100000 bytes; at most 100 ')


def test_a_body_that_does_not_come():
  """Cut off, and late."""
  head = b'POST /score HTTP/1.1\r\nContent-Length: 9\r\n\r\n{'
  with serving(patience=0.1) as server:
    for cut, status in ((True, b'400'), (False, b'408')):
      with socket.create_connection(server.server_address, 30) as client:
        client.sendall(head)
        if cut:
          client.shutdown(socket.SHUT_WR)
        answer = b''.join(iter(lambda: client.recv(4096), b''))
      assert answer.split()[1] == status, answer


def test_what_is_no_http():
  with serving() as server:
    with socket.create_connection(server.server_address, 30) as client:
      client.sendall(b'GET / HTTP/x\r\n\r\n')
      answer = b''.join(iter(lambda: client.recv(4096), b''))
  assert json.loads(answer.split(b'\r\n\r\n')[-1])['error'].startswith('Bad')


def test_scores_that_are_not_finite():
  """JSON has no word for them."""
  score = lambda rows: {'p': np.array([np.nan, 1], np.float32)}
  with serving(score) as server, connected(server) as connection:
    assert ask(connection, {'rows': [{}, {}]})[1] == {
        'scores': [{'p': None}, {'p': 1.0}]}


def test_a_failure(capsys):
  with serving(lambda rows: 1 / 0) as server, connected(server) as connection:
    answer, value = ask(connection, {'rows': [{}]})
    assert answer.status == 500 and 'its own output' in value['error']
    assert ask(connection, None, 'GET', '/health')[0].status == 200
  assert 'ZeroDivisionError' in capsys.readouterr().err


def test_as_many_at_once_as_may_be():
  """And those that run at the end are answered."""
  running, most, lock = [], [0], threading.Lock()
  two, go = threading.Semaphore(0), threading.Event()

  def score(rows):
    with lock:
      running.append(rows)
      most[0] = max(most[0], len(running))
    two.release()
    assert go.wait(30)
    with lock:
      running.pop()
    return double(rows)

  answers = []

  def send(server, x):
    with connected(server) as connection:
      answers.append(ask(connection, {'rows': [{'x': x}]})[1])

  with serving(score, threads=2) as server:
    threads = [
        threading.Thread(target=send, args=(server, x)) for x in range(5)]
    for thread in threads:
      thread.start()
    for _ in range(2):
      assert two.acquire(timeout=30)
    go.set()
    for thread in threads:
      thread.join()
  assert most[0] == 2
  assert sorted(a['scores'][0]['p'] for a in answers) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize('values, words', [
    ([1, None, [1]], "row 2: column 'x' is a list, and a single value in"),
    ([['a'], 'a'], "row 1: column 'x' is a single value, and a list in"),
    ([1, {'a': 1}], "row 1: column 'x' holds an object"),
    ([[1], [{}]], "row 1: column 'x' holds an object"),
    ([None, [[1]]], "row 1: column 'x' holds lists in a list"),
])
def test_values_of_several_kinds(values, words):
  rows = [{'x': value} for value in values]
  with pytest.raises(InputError) as e:
    json_rows.refuse_mixed(rows, ['x'])
  assert words in str(e.value)
  json_rows.refuse_mixed(rows, ['y'])
  json_rows.refuse_mixed([{'x': [1, 'a', None]}, {}, {'x': []}], ['x'])

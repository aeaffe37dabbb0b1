"""Clients that are slow, many or gone keep neither others nor the end waiting.

Where the server waits for a client, the test says what it must have done before
the client does anything: none of these depends on who is faster.
"""

import contextlib
import json
import socket
import threading
import time

from esmm_jax.serving.kit.server import Limits, Server
import pytest

from tests.serving.kit.test_server import (
    ABOUT, ask, connected, double, serving)

HALF = b'POST /score HTTP/1.1\r\nContent-Length: 99\r\n\r\n{'


@contextlib.contextmanager
def joined(server, sent=b''):
  """A client that has sent something."""
  with socket.create_connection(server.server_address, 30) as client:
    client.sendall(sent)
    yield client


def rest(client):
  """What comes until the server closes; b'' where it cuts the client off."""
  try:
    return b''.join(iter(lambda: client.recv(1 << 16), b''))
  except ConnectionError:
    return b''


def wait_for(holds):
  """Waits for what no message says."""
  for _ in range(3000):
    if holds():
      return
    time.sleep(0.01)
  pytest.fail('it does not come')


class Holding:
  """Scores that wait until they may go on."""

  def __init__(self):
    self.begun, self.go = threading.Semaphore(0), threading.Event()

  def __call__(self, rows):
    self.begun.release()
    assert self.go.wait(30)
    return double(rows)


def request(*values):
  body = json.dumps({'rows': [{'x': x} for x in values]}).encode()
  head = f'POST /score HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n'
  return head.encode() + body


class Stuck(Server):
  """Accepts one client, and the thread of it does not start."""

  def process_request(self, request, client_address):
    assert self.score.go.wait(30)
    super().process_request(request, client_address)


def test_the_end_while_nobody_is_accepted():
  """The queue of clients is full: they are cut off, and the end comes."""
  server = Stuck(('127.0.0.1', 0), Holding(), ABOUT, Limits())
  server.socket.listen(4)
  thread = threading.Thread(target=server.serve)
  with contextlib.ExitStack() as stack:
    join = lambda: stack.enter_context(joined(server, request(1)))
    first = join()
    thread.start()
    wait_for(lambda: server.num_clients == 1)
    queued = [join() for _ in range(5)]
    assert server.end(0.1) == 0
    assert [rest(client) for client in queued] == [b''] * 5
    with pytest.raises(ConnectionRefusedError):
      socket.create_connection(server.server_address, 30)
    server.score.go.set()
    thread.join()
    assert rest(first) == b''


def test_the_end_while_many_connect():
  """What has begun is answered; those that only connect are let go."""
  score, stop = Holding(), threading.Event()

  def flood(address):
    while not stop.is_set():
      with contextlib.suppress(OSError):
        socket.create_connection(address, 30).close()

  server = Server(('127.0.0.1', 0), score, ABOUT, Limits())
  threads = [threading.Thread(target=server.serve)] + [
      threading.Thread(target=flood, args=(server.server_address,))
      for _ in range(3)]
  for thread in threads:
    thread.start()
  with joined(server, request(4)) as client, joined(server) as idle:
    assert score.begun.acquire(timeout=30)
    left = []
    end = threading.Thread(target=lambda: left.append(server.end(30)))
    end.start()
    assert rest(idle) == b''
    assert not left and end.is_alive()
    score.go.set()
    answer = rest(client)
    end.join()
  stop.set()
  for thread in threads:
    thread.join()
  assert answer.startswith(b'HTTP/1.1 200 ') and left == [0]
  assert json.loads(answer.split(b'\r\n\r\n')[1]) == {'scores': [{'p': 8}]}


def test_the_end_with_a_client_that_does_not_go_on():
  """Half a line, half a body: no longer than the end may take."""
  server = Server(('127.0.0.1', 0), double, ABOUT, Limits())
  thread = threading.Thread(target=server.serve)
  thread.start()
  with joined(server, HALF), joined(server, HALF[:9]):
    with connected(server) as connection:
      assert ask(connection, {'rows': [{'x': 1}]})[0].status == 200
      assert ask(connection, {'rows': [{'x': 2}]})[0].status == 200
      wait_for(lambda: server.num_running == 2)
      assert server.end(0.2) == 2
  thread.join(30)
  assert not thread.is_alive()


def test_others_are_answered():
  """While one has sent half, with one place to score in."""
  with serving(threads=1) as server, joined(server, HALF) as slow:
    with connected(server) as connection:
      for x in range(3):
        assert ask(connection, {'rows': [{'x': x}]})[1] == {
            'scores': [{'p': 2 * x}]}
    slow.shutdown(socket.SHUT_WR)
    answer = rest(slow)
    assert answer.startswith(b'HTTP/1.1 400 ')
    assert b'the body ended after ' in answer


@pytest.mark.parametrize('start, status', [(HALF, b'408'), (HALF[:20], b'')])
def test_bytes_that_drip(start, status):
  """Each comes in time, and all of them do not."""
  with serving(patience=0.1) as server, joined(server, start) as client:
    with contextlib.suppress(ConnectionError):
      for _ in range(1500):
        client.sendall(b'x')
        time.sleep(0.02)
      pytest.fail('the server goes on reading')
    # The answer may be gone with the connection that was written to.
    answer = rest(client)
    assert answer == b'' or answer.split()[1] == status


def test_one_client_too_many():
  """It takes the place of one that asks for nothing, else it gets 503."""
  score = Holding()
  with serving(score, clients=2) as server:
    with joined(server) as idle, joined(server, request(1)) as first:
      assert score.begun.acquire(timeout=30)
      with joined(server, request(2)) as second:
        assert rest(idle) == b''
        assert score.begun.acquire(timeout=30)
        with joined(server) as third:
          answer = rest(third)
        assert answer.split()[1] == b'503'
        assert 'as many clients as may be' in json.loads(
            answer.split(b'\r\n\r\n')[1])['error']
        score.go.set()
        for client in (first, second):
          assert client.recv(1 << 16).startswith(b'HTTP/1.1 200 ')
    with connected(server) as connection:
      assert ask(connection, None, 'GET', '/health')[0].status == 200


def test_an_answer_that_nobody_reads():
  """It is given up after a while, and others are answered meanwhile."""
  def long(rows):
    return {'p' * (20 << 20 if len(rows) > 1 else 1): double(rows)['p']}

  with serving(long, patience=0.3) as server, socket.socket() as client:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(server.server_address)
    client.sendall(request(1, 2))
    assert len(client.recv(1 << 10)) > 100
    with connected(server) as connection:
      assert ask(connection, {'rows': [{'x': 1}]})[0].status == 200
    wait_for(lambda: server.num_clients == 0)


def test_two_lengths():
  text = HALF.replace(b'Content', b'Content-Length: 3\r\nContent')
  with serving() as server, joined(server, text) as client:
    answer = rest(client)
  assert answer.split()[1] == b'400' and b"'3, 99', no number" in answer


def test_too_many_rows():
  with serving(rows=2) as server, connected(server) as connection:
    assert ask(connection, {'rows': [{'x': 1}] * 2})[0].status == 200
    answer, value = ask(connection, {'rows': [{'x': 1}] * 3})
  assert answer.status == 413
  assert value['error'].startswith('the request has 3 rows; at most 2 are')

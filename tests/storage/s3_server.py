"""An S3 server on the loopback (moto), behind a proxy that makes faults.

As a program it prints the address of the proxy, and ends when its stdin does.
`GET /_faults?every=3&cut=5` sets them: each third request is answered 503, each
fifth body is cut in its middle; `deny=1` refuses all, `flip=TEXT` changes a
byte of the bodies of paths with that text, `cut_in=TEXT` cuts theirs alone,
`down_in=TEXT` answers 503 to writes of paths with that text. `GET /_told` has
the counts of what was done since, as JSON.
"""

import collections
import contextlib
import http.client
import http.server
import json
import logging
import os
import subprocess
import sys
import threading
import urllib.parse

SLOW = (b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please'
        b' reduce your request rate.</Message></Error>')
DENIED = (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>'
          b'Access Denied</Message></Error>')
# Neither may show up anywhere.
KEY, SECRET = 'AKIAQUITEKNOWNKEY123', 'quite/secret+key/0123456789abcdef'


class Proxy(http.server.BaseHTTPRequestHandler):
  """Forwards to `port`, but for the faults."""

  protocol_version = 'HTTP/1.1'
  port = 0
  lock = threading.Lock()
  faults = {}
  told = collections.Counter()
  paths = []

  def log_message(self, *unused):
    pass

  def answer(self, code, body, headers=()):
    self.send_response(code)
    for name, value in headers:
      self.send_header(name, value)
    self.send_header('Content-Length', str(len(body)))
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(body)

  def body(self):
    if 'chunked' not in self.headers.get('Transfer-Encoding', ''):
      return self.rfile.read(int(self.headers.get('Content-Length', 0)))
    data = b''
    while size := int(self.rfile.readline().split(b';')[0], 16):
      data += self.rfile.read(size)
      self.rfile.readline()
    self.rfile.readline()
    return data

  def forward(self):
    if '100-continue' in self.headers.get('Expect', ''):
      self.send_response_only(100)
      self.end_headers()
    body = self.body()
    url = urllib.parse.urlsplit(self.path)
    if url.path == '/_faults':
      with self.lock:
        Proxy.faults = dict(urllib.parse.parse_qsl(url.query))
        Proxy.told, Proxy.paths = collections.Counter(), []
      return self.answer(200, b'ok')
    if url.path == '/_told':
      told = {**self.told, 'paths': self.paths}
      return self.answer(200, json.dumps(told).encode())
    fault = self.fault(urllib.parse.unquote(url.path))
    if fault == 'slow':
      return self.answer(503, SLOW)
    if fault == 'deny':
      return self.answer(403, DENIED)
    server = http.client.HTTPConnection('127.0.0.1', self.port)
    headers = {k: v for k, v in self.headers.items()
               if k.lower() not in ('transfer-encoding', 'expect')}
    headers['Content-Length'] = str(len(body))
    server.request(self.command, self.path, body, headers)
    got = server.getresponse()
    data = got.read()
    headers = [(k, v) for k, v in got.getheaders() if k.lower() not in (
        'content-length', 'transfer-encoding', 'connection', 'date', 'server')]
    if self.command == 'HEAD':
      headers.append(('Content-Length', got.headers.get('Content-Length', '0')))
      self.send_response(got.status)
      for name, value in headers:
        self.send_header(name, value)
      return self.end_headers()
    if fault == 'flip' and data and got.status < 300:
      data = data[:-1] + bytes([data[-1] ^ 1])
    if fault == 'cut' and got.status < 300 and len(data) > 1:
      self.send_response(got.status)
      for name, value in headers:
        self.send_header(name, value)
      self.send_header('Content-Length', str(len(data)))
      self.end_headers()
      self.wfile.write(data[:len(data) // 2])
      self.wfile.flush()
      self.close_connection = True
      return None
    return self.answer(got.status, data, headers)

  do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = forward

  def fault(self, path):
    """The fault of this request, counted; '' for none."""
    with self.lock:
      self.told['requests'] += 1
      reads = self.command == 'GET' and path.count('/') > 1
      if reads:
        self.told['reads'] += 1
        self.paths.append(path)
      kind = ''
      every, cut = (int(self.faults.get(k, 0)) for k in ('every', 'cut'))
      if self.faults.get('deny'):
        kind = 'deny'
      elif every and not self.told['requests'] % every:
        kind = 'slow'
      elif (self.faults.get('down_in') and self.command in ('PUT', 'POST')
            and self.faults['down_in'] in path):
        kind = 'slow'
      elif reads and cut and not self.told['reads'] % cut:
        kind = 'cut'
      elif reads and 'cut_in' in self.faults and self.faults['cut_in'] in path:
        kind = 'cut'
      elif reads and 'flip' in self.faults and self.faults['flip'] in path:
        kind = 'flip'
      self.told[kind or 'sound'] += 1
      return kind


def main():
  from moto.moto_server.threaded_moto_server import ThreadedMotoServer

  logging.getLogger('werkzeug').setLevel(logging.ERROR)
  moto = ThreadedMotoServer('127.0.0.1', port=0, verbose=False)
  moto.start()
  Proxy.port = moto._server.server_port
  proxy = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Proxy)
  proxy.daemon_threads = True
  threading.Thread(target=proxy.serve_forever, daemon=True).start()
  print(f'http://127.0.0.1:{proxy.server_port}', flush=True)
  sys.stdin.read()
  os._exit(0)


class Server:
  """The server, for the time of a `with` block.

  Attributes:
    url: Its address.
    env: The environment that leads programs to it.
  """

  def __enter__(self):
    self._process = subprocess.Popen(
        [sys.executable, __file__], stdin=subprocess.PIPE, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    self.url = self._process.stdout.readline().strip()
    self.env = {
        'AWS_ENDPOINT_URL': self.url, 'AWS_ACCESS_KEY_ID': KEY,
        'AWS_SECRET_ACCESS_KEY': SECRET, 'AWS_DEFAULT_REGION': 'us-east-1',
        'AWS_EC2_METADATA_DISABLED': 'true'}
    self.ask('PUT', '/bucket')
    return self

  def ask(self, method, path, body=None):
    """Sends a request; returns the bytes of the answer."""
    server = http.client.HTTPConnection(self.url.removeprefix('http://'))
    # Without, objects that exist are private; what it says does not matter.
    who = {'Authorization': 'AWS4-HMAC-SHA256 Credential=a/1/us-east-1/s3/c'}
    with contextlib.closing(server):
      server.request(method, path, body, who)
      answer = server.getresponse()
      assert answer.status < 300, (method, path, answer.status)
      return answer.read()

  def faults(self, **faults):
    """Sets the faults, and counts anew."""
    self.ask('GET', '/_faults?' + urllib.parse.urlencode(faults))

  def told(self):
    """Counts since `faults`: requests, sound, slow, cut ..., and paths."""
    return json.loads(self.ask('GET', '/_told'))

  def put(self, path, data):
    self.ask('PUT', f'/bucket/{path}', data)

  def names(self, prefix=''):
    """The names in the bucket that begin so."""
    text = self.ask('GET', f'/bucket?list-type=2&prefix={prefix}').decode()
    return [part.partition('</Key>')[0] for part in text.split('<Key>')[1:]]

  def __exit__(self, *unused):
    self._process.stdin.close()
    self._process.wait(10)
    self._process.stdout.close()


if __name__ == '__main__':
  main()

"""Tries to reach a Ray that was started here, as others would; prints JSON."""

import json
import os
import pathlib
import socket
import subprocess
import sys

from esmm_jax.engines import choice

from tests.engines.ray_program import descendants, environments, listening

CLIENT = '''
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print('done', ray.get(ray.remote(lambda: 6 * 7).remote()))
'''
# Otherwise Ray joins 127.0.0.1 by another address, which no port has.
LOOPBACK = {'RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER': '0'}


def clients(address, tokens):
  """Name -> what a program said that joined with a token, or without one."""
  base = {k: v for k, v in os.environ.items() if not k.startswith('RAY_')}
  started = {}
  for name, token in tokens.items():
    with_token = {'RAY_AUTH_MODE': 'token', 'RAY_AUTH_TOKEN': token}
    started[name] = subprocess.Popen(
        [sys.executable, '-c', CLIENT, address], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=base | LOOPBACK | {'RAY_USAGE_STATS_ENABLED': '0'} | (
            with_token if token else {}))
  return {name: one.communicate(timeout=120)[0]
          for name, one in started.items()}


def addresses():
  """Those of this machine, but for the loopback ones."""
  done = subprocess.run(['hostname', '-I'], capture_output=True, text=True,
                        check=False)
  return done.stdout.split()


def answering(ports):
  """(address, port) where something takes a connection from outside."""
  answers = []
  for address in addresses():
    for port in ports:
      try:
        socket.create_connection((address, port), 5).close()
      except ConnectionRefusedError:
        continue
      answers.append([address, port])
  return answers


def main():
  with choice.using('ray', 1), choice.opened(0):
    import ray
    address = ray.get_runtime_context().gcs_address
    session = pathlib.Path(
        ray._private.worker._global_node.get_session_dir_path())
    family = descendants(os.getpid())
    pairs = [v.partition('=') for v in environments(
        family - {os.getpid()}, 'RAY_AUTH_TOKEN')]
    (token,) = [value for name, _, value in pairs if name == 'RAY_AUTH_TOKEN']
    ports = sorted({port for _, port in listening(family)})
    answers = {
        'address': address,
        'ports': len(ports),
        'addresses': len(addresses()),
        'answering': answering(ports),
        'said': clients(
            address, {'none': '', 'wrong': '0' * 64, 'right': token}),
    }
    log = (session / 'logs' / 'dashboard.log').read_text()
    answers['usage'] = [
        'Usage reporting is disabled.' in log,
        list(map(str, session.rglob('usage_stats.json')))]
  print(json.dumps(answers))


if __name__ == '__main__':
  sys.exit(main())

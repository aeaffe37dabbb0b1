"""Runs of a program's command line, without importing it anew for each.

  with forking.Program('experiments.train') as program:
    done = program.run('--config=configs/esmm.py:smoke', '--workdir=x')

One process imports what the programs need and forks for each command of any of
them, before JAX has begun to use a device. What a command prints and its exit
code are those of `python -m experiments.train`.
"""

import atexit
import functools
import importlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
import traceback
from typing import NamedTuple

from tests import ROOT

# What the programs import when they are called.
HEAVY = (
    'esmm_jax.training.loop', 'esmm_jax.training.predict', 'pandas',
    'tensorboardX')


class Done(NamedTuple):
  returncode: int
  stdout: str
  stderr: str


@functools.cache
def _server():
  """The process that forks, of all programs."""
  server = subprocess.Popen(
      [sys.executable, '-m', 'tests.parallel.forking'], cwd=ROOT, text=True,
      env=dict(os.environ, JAX_PLATFORMS='cpu'),
      stdin=subprocess.PIPE, stdout=subprocess.PIPE)

  @atexit.register
  def stop():
    server.stdin.close()
    server.wait(timeout=60)
    server.stdout.close()

  return server


class Program:
  """A program, and the environment of its commands."""

  def __init__(self, module, **env):
    self._module = module
    self._env = dict(os.environ, JAX_PLATFORMS='cpu', **env)

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    pass

  def run(self, *arguments, stdout='file', stderr='file'):
    """Runs a command; a stream that is no file is one of `STREAMS`."""
    with tempfile.TemporaryDirectory() as folder:
      request = {
          'module': self._module, 'env': self._env,
          'argv': list(arguments), 'folder': folder,
          'streams': {'stdout': stdout, 'stderr': stderr},
      }
      server = _server()
      server.stdin.write(json.dumps(request) + '\n')
      server.stdin.flush()
      code = int(server.stdout.readline())
      texts = []
      for name in ('stdout', 'stderr'):
        if not os.path.exists(os.path.join(folder, name)):
          texts.append('')
          continue
        with open(os.path.join(folder, name), encoding='utf-8') as f:
          texts.append(f.read())
    return Done(code, *texts)


def _unread_pipe():
  reads, writes = os.pipe()
  os.close(reads)
  return writes


# Streams that cannot be written: name -> opens one.
STREAMS = {
    'full': lambda: os.open('/dev/full', os.O_WRONLY),
    'pipe': _unread_pipe,
    'closed': lambda: None,
}


def _set_environment(env):
  """Sets it, also for JAX, which has read that of the server already."""
  import jax

  for name in env.keys() | os.environ.keys():
    key, value = name.lower(), env.get(name)
    if name.startswith('JAX_') and value != os.environ.get(name):
      before = jax.config.values.get(key)
      if isinstance(before, bool):
        jax.config.update(key, value not in (None, '', '0'))
      elif value is not None and key in jax.config.values:
        kind = str if before is None else type(before)
        jax.config.update(key, kind(value))
  os.environ.clear()
  os.environ.update(env)
  folders = env.get('PYTHONPATH', '').split(os.pathsep)
  sys.path[1:1] = [f for f in folders if f and f not in sys.path]


def _child(module, env, argv, folder, streams):
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    if streams[name] == 'file':
      file = os.open(
          os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600)
    else:
      file = STREAMS[streams[name]]()
    if file is None:  # As Python has it where it was closed from the start.
      os.close(number)
      setattr(sys, name, None)
    else:
      os.dup2(file, number)
      os.close(file)
  sys.stdin = open(os.devnull, encoding='utf-8')
  code = 1
  try:
    _set_environment(env)
    module = importlib.import_module(module)
    sys.argv = [module.__file__, *argv]
    positional = bool(inspect.signature(module.main).parameters)
    module.cli.run(module.main, positional)
    code = 0
  except SystemExit as e:
    code = e.code or 0
  except BaseException:
    traceback.print_exc()
    if streams['stderr'] != 'file':
      with open(os.path.join(folder, 'stderr'), 'w', encoding='utf-8') as f:
        traceback.print_exc(file=f)
  try:  # As at the end of Python.
    sys.stdout.flush()
    sys.stderr.flush()
  except OSError:
    code = 120
  os._exit(code if isinstance(code, int) else 1)


def main():
  for heavy in HEAVY:
    importlib.import_module(heavy)
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
      _child(**request)
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
  main()

"""Runs of a program's command line, without importing it anew for each.

  with forking.Program('experiments.train') as program:
    done = program.run('--config=configs/esmm.py:smoke', '--workdir=x')

A process imports the program and forks for each command, before JAX has begun
to use a device. What a command prints and its exit code are those of
`python -m experiments.train`.
"""

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
HEAVY = ('esmm_jax.training.loop', 'esmm_jax.training.predict')


class Done(NamedTuple):
  returncode: int
  stdout: str
  stderr: str


class Program:
  """A process that forks."""

  def __init__(self, module, **env):
    self._process = subprocess.Popen(
        [sys.executable, '-m', 'tests.parallel.forking', module], cwd=ROOT,
        text=True,
        env=dict(os.environ, JAX_PLATFORMS='cpu', **env),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    self._process.stdin.close()
    assert self._process.wait(timeout=60) == 0
    self._process.stdout.close()

  def run(self, *arguments):
    with tempfile.TemporaryDirectory() as folder:
      request = {'argv': list(arguments), 'folder': folder}
      self._process.stdin.write(json.dumps(request) + '\n')
      self._process.stdin.flush()
      code = int(self._process.stdout.readline())
      texts = []
      for name in ('stdout', 'stderr'):
        with open(os.path.join(folder, name), encoding='utf-8') as f:
          texts.append(f.read())
    return Done(code, *texts)


def _child(module, argv, folder):
  for number, name in ((1, 'stdout'), (2, 'stderr')):
    file = os.open(
        os.path.join(folder, name), os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(file, number)
  sys.argv = [module.__file__, *argv]
  sys.stdin = open(os.devnull, encoding='utf-8')
  code = 1
  try:
    positional = bool(inspect.signature(module.main).parameters)
    module.cli.run(module.main, positional)
    code = 0
  except SystemExit as e:
    code = e.code or 0
  except BaseException:
    traceback.print_exc()
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(code if isinstance(code, int) else 1)


def main(name):
  module = importlib.import_module(name)
  for heavy in HEAVY:
    importlib.import_module(heavy)
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
      _child(module, request['argv'], request['folder'])
    _, status = os.waitpid(child, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == '__main__':
  main(sys.argv[1])

"""An export, and its server in a process that has a few packages only."""

import contextlib
import importlib.util
import os
import pathlib
import re
import shlex
import subprocess
import sys
from typing import NamedTuple

from tests import ROOT

ENCODES = ('numpy', 'pyarrow')
# What pip installs with jax, too.
SERVES = (*ENCODES, 'flatbuffers', 'jax', 'jaxlib', 'ml_dtypes', 'opt_einsum',
          'scipy')


class Exported(NamedTuple):
  """A folder with `exported` and `rows.json`; the predictor and the rows."""

  folder: pathlib.Path
  predictor: object
  rows: list

  def command(self, packages, *arguments):
    """Starts Python with these packages only; returns Popen's arguments."""
    site = self.folder / '-'.join(packages)
    if not site.exists():
      site.mkdir()
      for name in packages:
        path = pathlib.Path(importlib.util.find_spec(name).origin).parent
        for each in (path, path.with_name(f'{name}.libs')):
          if each.exists():
            (site / each.name).symlink_to(each)
    environment = dict(
        os.environ, PYTHONPATH=str(site), JAX_LOG_COMPILES='1',
        PYTHONDONTWRITEBYTECODE='1')
    return {
        'args': [sys.executable, '-S', *arguments],
        'cwd': self.folder,
        'env': environment,
        'text': True,
    }


def documented():
  """Commands of docs/predictions.md that start the server: their arguments."""
  lines = re.findall(
      r'^python (exported/serve\.py.*)$', document(), re.MULTILINE)
  return [shlex.split(line) for line in lines]


def document():
  return (ROOT / 'docs' / 'predictions.md').read_text('utf-8')


class Running(NamedTuple):
  """A server that runs."""

  process: subprocess.Popen
  server_address: tuple
  errors: pathlib.Path

  def compiled(self):
    return len(re.findall('Finished XLA compil', self.errors.read_text()))


@contextlib.contextmanager
def started(exported, name, packages=SERVES):
  """Starts the first command of the documentation, at a port of its own."""
  errors = exported.folder / name
  with open(errors, 'w') as f:
    process = subprocess.Popen(
        **exported.command(packages, *documented()[0], '--port=0'),
        stdout=subprocess.PIPE, stderr=f)
  try:
    line = process.stdout.readline()
    address = re.search(r'served at http://([\d.]+):(\d+)/score$', line)
    assert address, (line, errors.read_text())
    yield Running(process, (address[1], int(address[2])), errors)
  finally:
    process.kill()
    process.wait()
    process.stdout.close()

"""`--help` answers at once: a program imports late what it needs to work."""

import json
import subprocess
import sys

from experiments.__main__ import programs
from tests import ROOT

HEAVY = [
    'flax', 'jax', 'matplotlib', 'numba', 'optax', 'orbax', 'pyarrow', 'rich',
    'scipy', 'tensorboardX', 'tensorflow', 'tensorflow_datasets',
]
# Each program in a fork of one process, which costs a tenth of a new one. Only
# the modules that all programs share are imported before.
SHOW = f"""
import contextlib, io, json, os, runpy, sys
from experiments import cli, console, file_flags, load
for name in sys.argv[1:]:
  read, write = os.pipe()
  if os.fork():
    os.close(write)
    with os.fdopen(read) as f:
      print(f.read())
    os.wait()
    continue
  sys.argv = [name, '--help']
  text, code = io.StringIO(), None
  with contextlib.redirect_stdout(text):
    try:
      runpy.run_module(f'experiments.{{name}}', None, '__main__', True)
    except SystemExit as e:
      code = e.code
  heavy = [m for m in {HEAVY} if m in sys.modules]
  with os.fdopen(write, 'w') as f:
    json.dump([name, code, heavy, text.getvalue()], f)
  os._exit(0)
"""


def test_no_program_imports_for_its_help_what_only_work_needs():
  docs = programs()
  done = subprocess.run(
      [sys.executable, '-c', SHOW, *docs],
      capture_output=True, text=True, cwd=ROOT, check=True)
  shown = [json.loads(line) for line in done.stdout.splitlines()]
  assert [name for name, *_ in shown] == list(docs)
  for name, code, heavy, text in shown:
    assert (code, heavy) == (0, []), name
    for line in docs[name].splitlines():
      assert line.strip() in text, name
    assert '\nflags:\n' in text and '  --' in text.split('\nflags:\n')[1], name

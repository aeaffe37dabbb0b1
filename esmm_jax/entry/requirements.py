"""The packages that all programs need: whether they are installed.

Imports nothing of them, and runs on an older Python too: it says so in a line.
"""

import importlib.util
import os
import shlex
import sys

from esmm_jax.entry import checkout

OLDEST = (3, 11)
# Module -> what pip installs it by. A test compares it with setup.cfg.
MODULES = {
    'absl': 'absl-py',
    'flax': 'flax',
    'fsspec': 'fsspec',
    'importlib_resources': 'importlib_resources',
    'jax': 'jax',
    'jinja2': 'jinja2',
    'matplotlib': 'matplotlib',
    'ml_collections': 'ml-collections',
    'numba': 'numba',
    'numpy': 'numpy',
    'optax': 'optax',
    # A folder of several packages; `orbax` alone may be another one's.
    'orbax.checkpoint': 'orbax-checkpoint',
    'packaging': 'packaging',
    'pyarrow': 'pyarrow',
    'rich': 'rich',
    'scipy': 'scipy',
    'tensorboardX': 'tensorboardX',
    'tensorflow_datasets': 'tensorflow-datasets',
    'tqdm': 'tqdm',
}


def check_program() -> None:
  """Ends a program that lacks packages, with a line that says what to type.

  Where the programs are imported, by a test or a notebook, the import that
  fails says it.
  """
  started = os.path.basename(sys.argv[0] if sys.argv else '')
  # Python has -m there until it knows the file of the module.
  if started in ('-m', 'esmm-jax', 'esmm-jax.exe', 'esmm-jax-script.py'):
    message = problem()
    if message:
      sys.exit(f'error: {message}')


def problem() -> str:
  """Returns what is wrong with this Python and what to type, or ''."""
  if sys.version_info < OLDEST:
    version = '.'.join(map(str, sys.version_info[:2]))
    needed = '.'.join(map(str, OLDEST))
    what = f'this Python is {version}, and esmm_jax needs {needed} or newer'
    absent = []
  else:
    absent = [m for m in MODULES if not _is_there(m)]
    if not absent:
      return ''
    first = ', '.join(absent[:3]) + (', ...' if absent[3:] else '')
    verb = 'is' if len(absent) == 1 else 'are'
    what = f'{first} {verb} not installed for {sys.executable}'
  return f'{what}. {_remedy(absent)}'


def _is_there(module: str) -> bool:
  try:
    return importlib.util.find_spec(module) is not None
  except (ImportError, ValueError):  # Of a parent that is not there, or odd.
    return False


def _remedy(absent: list[str]) -> str:
  """Returns what to type, as seen from the folder that one is in."""
  this = shlex.quote(sys.executable)
  if not checkout.is_checkout():
    names = ' '.join(MODULES[m] for m in absent) or 'esmm_jax'
    return f'Type: {this} -m pip install {names}'
  root = checkout.root()
  near = os.path.relpath(root)
  folder = shlex.quote(root if near.startswith(os.pardir) else near)
  environment = os.path.normpath(os.path.join(folder, '.venv'))
  activate = f'. {environment}/bin/activate'
  if os.path.isfile(os.path.join(root, '.venv/bin/activate')):
    python = os.path.join(root, '.venv/bin/python')
    if os.path.abspath(sys.executable) == python:
      return f'Type: {this} -m pip install -e {folder}'  # Of older code.
    return f'Type: {activate}'
  where = '' if folder == os.curdir else f' -C {folder}'
  return f'Type: make{where} setup && {activate}'

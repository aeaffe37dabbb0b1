"""Configs and tables that come with the package, by name or by file.

`esmm:kuairand` is variant kuairand of configs/esmm.py, `causal:cpu` that of
configs/tables/causal.py as a table. Such a path is found from any folder; a
file that is there comes first.
"""

import difflib
import glob
import os

from esmm_jax import paths
from esmm_jax.entry import checkout
from esmm_jax.types import InputError

# What a flag names -> the folder, and what each file there defines.
KINDS = {
    'config': ('configs', 'def get_config('),
    'sweep': ('configs/tables', 'def get_table('),
}


def names(kind: str) -> list[str]:
  """Returns the names of the configs or tables of the package, sorted.

  Args:
    kind: A key of `KINDS`.
  """
  folder, function = KINDS[kind]
  result = []
  for path in glob.glob(os.path.join(glob.escape(_whole(folder)), '*.py')):
    with open(path, encoding='utf-8') as f:
      if function in f.read():
        result.append(os.path.basename(path).removesuffix('.py'))
  return sorted(result)


def find(spec: str, kind: str) -> str:
  """Returns the path of a file, with the variant.

  Args:
    spec: A file or a name, with :variant or without.
    kind: A key of `KINDS`.

  Raises:
    InputError: There is no such file or name.
  """
  path, colon, variant = paths.expand(spec).partition(':')
  if not os.path.isfile(path):
    name = _name(path, kind)
    if name not in names(kind):
      raise InputError(f'--{kind}={spec}: {_absent(path, kind)}')
    path = _near(_whole(f'{KINDS[kind][0]}/{name}.py'))
  return f'{path}{colon}{variant}'


def portable(spec: str, kind: str = 'config') -> str:
  """Returns a config as a path that names it on every machine.

  Args:
    spec: A file, which is returned as it is, or a name; with variant or not.
    kind: A key of `KINDS`.
  """
  path, colon, variant = spec.partition(':')
  if os.path.isfile(path):
    return spec
  short = f'{KINDS[kind][0]}/{_name(path, kind)}.py'
  whole = _whole(short)
  if os.path.isfile(short) and not os.path.samefile(short, whole):
    short = whole  # Somebody else's file is called so here.
  return f'{short}{colon}{variant}'


def _name(path: str, kind: str) -> str:
  """Returns the name that a path may mean: esmm of configs/esmm.py."""
  folder = f'{KINDS[kind][0]}/'
  path = os.path.normpath(path).replace(os.sep, '/')
  if path.startswith(folder) and path.endswith('.py'):
    return path.removeprefix(folder).removesuffix('.py')
  return path


def _absent(path: str, kind: str) -> str:
  """Says that there is nothing of a name, and what there is."""
  listed = names(kind)
  if path.endswith('.py') or os.path.dirname(path):
    parent = os.path.dirname(path) or '.'
    files = sorted(glob.glob(os.path.join(parent, '*.py')))
    near = difflib.get_close_matches(path, files, n=1)
    what = f'there is no file {path};'
    if near:
      return f'{what} did you mean {near[0]}?'
    return f'{what} by name there are {", ".join(listed)}.'
  near = difflib.get_close_matches(path, listed, n=1)
  hint = f' did you mean {near[0]}?' if near else ''
  if os.path.isfile(f'{path}.py'):
    hint = f' did you mean the file {path}.py?'
  what = 'table' if kind == 'sweep' else kind
  return f'no {what} is called {path};{hint} There are {", ".join(listed)}.'


def _whole(path: str) -> str:
  """Returns the path of what lies in configs/."""
  top, _, rest = path.partition('/')
  return os.path.join(checkout.folder(top), *filter(None, rest.split('/')))


def _near(path: str) -> str:
  """Returns a path as seen from here, if it is below."""
  near = os.path.relpath(path)
  return path if near.startswith(os.pardir) else near

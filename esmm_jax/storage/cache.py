"""Folders of this machine that hold copies of what is on a store.

Each URL has a folder in that of the environment variable `ESMM_JAX_CACHE`, by
default `~/.cache/esmm_jax/remote`. Everything in it can be removed while no
program runs; it is copied anew when it is asked for. In each folder a note has
its URL, so that it is known for a copy wherever its path is used.
"""

import hashlib
import os
import re

from esmm_jax import paths
from esmm_jax.json_files import read_json, write_json
from esmm_jax.storage import remote
from esmm_jax.whole_files import make_folders

VARIABLE = 'ESMM_JAX_CACHE'
_DEFAULT = os.path.join('~', '.cache', 'esmm_jax', 'remote')
_NOTE = '.remote.json'
_LEVELS = 4  # DIR/NAME/CONFIG/VERSION


def here(path: str) -> str:
  """Returns a folder of this machine: of a URL that of its copies.

  Args:
    path: As people write it.

  Raises:
    InputError: See `folder`.
  """
  return folder(path) if remote.is_remote(path) else paths.expand(path)


def folder(url: str) -> str:
  """Returns the folder of a URL; makes it if need be.

  Raises:
    InputError: The URL is of no file system that is opened (`paths`).
  """
  url = url.rstrip('/')
  paths.file_system(url)
  root = os.path.abspath(paths.expand(os.environ.get(VARIABLE) or _DEFAULT))
  name = re.sub('[^a-zA-Z0-9.-]+', '-', url.partition('://')[2])[-40:]
  digest = hashlib.sha256(url.encode()).hexdigest()[:16]
  path = os.path.join(root, f'{name.strip("-.")}-{digest}')
  note = os.path.join(path, _NOTE)
  if not os.path.exists(note):
    make_folders(path)
    write_json(note, {'url': url})
  return path


def origin(path: str) -> str:
  """Returns the URL of which a folder is a copy; '' if it is none.

  Args:
    path: A folder of prepared data, in that of a URL.
  """
  above, names = os.path.abspath(path), []
  for _ in range(_LEVELS):
    above, name = os.path.split(above)
    names.insert(0, name)
    note = os.path.join(above, _NOTE)
    if os.path.exists(note):
      content = read_json(note, 'Remove that folder.')
      return remote.join(content['url'], *names)
  return ''

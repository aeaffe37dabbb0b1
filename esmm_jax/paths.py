"""Paths as people write them, for all programs."""

import os
import re
from typing import Any

from esmm_jax.types import InputError

_LOCAL = 'file://'
_PROTOCOL = re.compile(r'([a-zA-Z][a-zA-Z0-9+.-]*)://')
# File systems of fsspec that hold files and do nothing else. It has others that
# run commands on another machine (`ssh`), fill in templates (`reference`) or
# unpack (`zip`), and a path may be somebody else's: that in a config.json.
PROTOCOLS = (
    'abfs', 'abfss', 'adl', 'az', 'gcs', 'gs', 'hdfs', 'hf', 'http', 'https',
    'local', 'memory', 'obs', 'oss', 's3', 's3a', 'webhdfs',
)  # fmt: skip


def expand(path: str | os.PathLike[str]) -> str:
  """Returns a path with `~` and `~user` replaced, and without `file://`.

  Others, remote ones of fsspec too, are as they stand.

  >>> expand('file:///log.csv'), expand('memory://log.csv'), expand('runs')
  ('/log.csv', 'memory://log.csv', 'runs')
  """
  path = os.fspath(path)
  if path.startswith(_LOCAL):
    path = path.removeprefix(_LOCAL).removeprefix('localhost')
  return os.path.expanduser(path)


def file_system(path: str | os.PathLike[str]) -> tuple[Any, str]:
  """Returns the file system of a path, and its name there.

  The one way in which a path of fsspec is opened. A path without a protocol is
  of the local file system, whatever else is in it.

  Args:
    path: As people write it, or with one of `PROTOCOLS`.

  Returns:
    The `fsspec.AbstractFileSystem`; the path without its protocol.

  Raises:
    InputError: The protocol is another one, or several are chained by `::`.
  """
  import fsspec  # Slow to import for programs that only name a folder.

  path = expand(path)
  match = _PROTOCOL.match(path)
  if not match and '://' not in path:
    local = fsspec.filesystem('file')
    return local, local._strip_protocol(path)
  if '::' in path:
    raise InputError(
        f'{path} chains file systems by ::, which is not followed; name the'
        ' file itself.'
    )
  if not match or match[1].lower() not in PROTOCOLS:
    raise InputError(
        f'{path} is of a file system that is not opened; there are'
        f' {", ".join(f"{p}://" for p in PROTOCOLS)}. Copy the file to one of'
        ' them, or to this machine.'
    )
  return fsspec.url_to_fs(path)


def absolute(path: str) -> str:
  """Returns a path that names the same file in every folder.

  A path with a protocol is as it stands, `file://` too.
  """
  return path if '://' in path else os.path.abspath(expand(path))

"""Paths as people write them, for all programs."""

import os
import re
from typing import Any
import urllib.parse

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
# Of these pip installs what is needed with esmm_jax[storage].
_STORAGE = ('gcs', 'gs', 's3', 's3a')
# HOST, USER@HOST, HOST:PORT, without a password.
_HOST = re.compile(r'([^@:]*@)?(\[[^\]]*\]|[^@:]*)(:\d*)?')
# Words in the names of parameters whose values are credentials, or signatures,
# as in links to https:// that are signed for a time.
_CREDENTIAL = re.compile('signature|credential|token|secret|password|^sig$')


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
    InputError: The protocol is another one, or several are chained by `::`; or
      it holds credentials, which would be printed and noted; or the package of
      the file system is not installed.
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
  refuse_credentials(path)
  try:
    return fsspec.url_to_fs(path)
  except ImportError as e:
    protocol = match[1].lower()
    install = f"pip install 'esmm_jax[storage]' ({e})"
    if protocol not in _STORAGE:
      install = str(e).rstrip('.')
    raise InputError(
        f'{protocol}:// needs a package that is not installed: {install}.'
    ) from e


def is_credential(name: str) -> bool:
  """Returns whether a parameter is named like a password, token and so on."""
  return _CREDENTIAL.search(name.lower()) is not None


def refuse_credentials(path: str) -> None:
  """Refuses a URL that holds a password, a token or a signature.

  Args:
    path: A URL, or a path of this machine.

  Raises:
    InputError: It does. The message does not repeat it.
  """
  protocol, separator, rest = path.partition('://')
  if not separator:
    return
  # A password may have a slash, so the rest of it is no host either.
  is_plain = protocol in ('local', 'memory') or _HOST.fullmatch(
      rest.partition('/')[0]
  )
  query = rest.partition('?')[2].partition('#')[0]
  names = [n for n, _ in urllib.parse.parse_qsl(query, keep_blank_values=True)]
  if not is_plain or any(map(is_credential, names)):
    raise InputError(
        f'a URL of {protocol}:// holds a password, a token or a signature,'
        ' which would be printed and noted with the run. Name the file without'
        ' it, and put credentials into the environment (docs/storage.md).'
    )


def refuse_remote(path: str, flag: str, advice: str) -> None:
  """Refuses a URL where a path of this machine is needed.

  Args:
    path: As people write it.
    flag: The flag or key that names it, for the message.
    advice: A sentence that says what to do.

  Raises:
    InputError: It is a URL.
  """
  if '://' in expand(path):
    refuse_credentials(path)
    raise InputError(
        f'{flag}={path} is remote, and must be a folder of this machine.'
        f' {advice}'
    )


def absolute(path: str) -> str:
  """Returns a path that names the same file in every folder.

  A path with a protocol is as it stands, `file://` too.
  """
  return path if '://' in path else os.path.abspath(expand(path))

"""Paths as people write them, for all programs."""

import os

_LOCAL = 'file://'


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


def absolute(path: str) -> str:
  """Returns a path that names the same file in every folder.

  A path with a protocol is as it stands, `file://` too.
  """
  return path if '://' in path else os.path.abspath(expand(path))

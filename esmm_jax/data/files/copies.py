"""Files that hold the same bytes under several names."""

from collections.abc import Sequence
import filecmp
import os

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import file_hashes, row_files


def copies(paths: Sequence[str], dialect: Dialect) -> list[list[str]]:
  """Returns groups of files with the same rows, byte by byte.

  Files of one size are compared, to the first byte that differs; remote ones
  and those without rows, of which a job may leave many, are not.

  Args:
    paths: The files.
    dialect: The form of CSV files.
  """
  by_size: dict[int, list[list[str]]] = {}
  for path in paths:
    if file_hashes.is_remote(path):
      continue
    groups = by_size.setdefault(os.path.getsize(path), [])
    for group in groups:
      if filecmp.cmp(group[0], path, shallow=False):
        group.append(path)
        break
    else:
      groups.append([path])
  return [
      group
      for groups in by_size.values()
      for group in groups
      if len(group) > 1 and has_rows(group[0], dialect)
  ]


def has_rows(path: str, dialect: Dialect) -> bool:
  """Returns False for a file without rows."""
  names = row_files.names(path, dialect)[:1]
  pieces = row_files.read(path, names, 1, dialect)
  return any(table.num_rows for _, _, table in pieces)

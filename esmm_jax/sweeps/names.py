"""The names that runs have in the folder of a sweep.

A sweep that began with an earlier version goes on with the names that it has:
the version cut long names at their end, where seed and method stand. Names of
runs are in settings of others too (`balancing.of`), and so in their names.
"""

from collections.abc import Iterator
import contextlib
import os

from esmm_jax.json_files import read_json
from esmm_jax.sweeps import points, table_json
from esmm_jax.types import InputError

# Key of sweep.json, of a folder whose long names keep their end.
KEY, VALUE = 'names', 'keep their end'
_CUT = 109  # Characters of a name that an earlier version has cut.


@contextlib.contextmanager
def as_in(workdir: str) -> Iterator[None]:
  """Names runs, within the block, as they are in a folder.

  Args:
    workdir: Folder of a sweep; it need not exist.
  """
  with points.naming(_are_cut(workdir)):
    yield


def about() -> dict[str, str]:
  """Returns what sweep.json says of the names; within `as_in`."""
  return {} if points.cuts_at_end() else {KEY: VALUE}


def _are_cut(workdir: str) -> bool:
  try:
    saved = read_json(os.path.join(workdir, table_json.NAME))
  except InputError:  # It is damaged; the program that needs it says so.
    saved = None
  if isinstance(saved, dict) and 'points' in saved:
    return KEY not in saved
  try:
    folders = os.listdir(os.path.join(workdir, 'runs'))
  except OSError:
    return False
  return any(len(name) == _CUT for name in folders)

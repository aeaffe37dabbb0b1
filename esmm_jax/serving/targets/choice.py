"""The target of scores that `--output` names."""

import os

from esmm_jax.serving.targets.at_url import AtUrl
from esmm_jax.serving.targets.folder import Folder
from esmm_jax.serving.targets.one_file import OneFile
from esmm_jax.serving.targets.target import Target
from esmm_jax.storage import remote
from esmm_jax.types import InputError


def of(path: str, form: str = '', overwrite: bool = False) -> Target:
  """Returns the target that `--output` names.

  Args:
    path: A file; or a folder, which ends with a slash.
    form: Of the files of a folder, one of `folder.FORMS`; '': that of the
      ending of its name, as in `scores.csv/`, else Parquet.
    overwrite: Whether what exists is replaced.

  Raises:
    InputError: There is no such form, or it is of a file; or a folder is at a
      URL.
  """
  kind = AtUrl if remote.is_remote(path) else OneFile
  if path.endswith(('/', os.sep)):
    if remote.is_remote(path):
      raise InputError(
          f'--output={path}: a folder at a URL is not supported; name a file'
          f' there, such as {path}scores.parquet, or a folder on this machine.'
      )
    kind = Folder
  return kind.of(path, form, overwrite)

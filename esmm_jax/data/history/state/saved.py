"""A run's history in files: the fitted fields and the store.

Both lie in one folder, `history/` in that of the encoder, and are sealed with
the encoder: a run refuses others.
"""

import os
from typing import NamedTuple

from esmm_jax.checksums import hash_json
from esmm_jax.data.history.state import store_files
from esmm_jax.data.history.fitted import Fitted
from esmm_jax.data.history.state.store import Store
from esmm_jax.types import InputError

FOLDER = 'history'


class Saved(NamedTuple):
  """The two parts.

  Attributes:
    fitted: Past -> columns of the fields.
    store: Rows -> past.
  """

  fitted: Fitted
  store: Store


def folder_of(encoder: str) -> str:
  """Returns the folder of the history of an encoder's folder."""
  return os.path.join(encoder, FOLDER)


def save(saved: Saved, encoder: str) -> None:
  """Writes both into the folder of an encoder."""
  folder = folder_of(encoder)
  store_files.save(saved.store, folder)
  saved.fitted.save(folder)


def load(encoder: str) -> Saved | None:
  """Reads both; None of an encoder without history.

  Raises:
    InputError: A file is absent, damaged or was changed.
  """
  folder = folder_of(encoder)
  if not os.path.lexists(folder):
    return None
  return Saved(_fitted(folder), store_files.load(folder))


def load_fitted(encoder: str) -> Fitted | None:
  """Reads the fields alone; see `load`."""
  folder = folder_of(encoder)
  return _fitted(folder) if os.path.lexists(folder) else None


def sha256(encoder: str) -> str:
  """Hashes both; '' of an encoder without history.

  Raises:
    InputError: A file is absent, damaged or was changed.
  """
  folder = folder_of(encoder)
  if not os.path.lexists(folder):
    return ''
  return hash_json([_fitted(folder).sha256(), store_files.sha256(folder)])


def _fitted(folder: str) -> Fitted:
  try:
    return Fitted.load(folder)
  except (OSError, ValueError, KeyError, TypeError) as e:
    raise InputError(
        f'The history in {folder} cannot be read ({e}). Copy the folder'
        ' encoder/ of the prepared data there again.'
    ) from e

"""A `Store` as a folder: arrays that are mapped when it is loaded.

    store.json           the specs, times and states; size and sha256 of the
                         arrays; the hash of its own content
    STATE-ARRAY.npy      the events of each state, by number
    priors-ARRAY.npy     sums of the whole log
    observed.npy         hashes of rows that were added after the log
"""

import os
from typing import Any

from esmm_jax import checksums, system_errors
from esmm_jax.data.history import totals
from esmm_jax.data.history.events import Events
from esmm_jax.data.history.plan import states
from esmm_jax.data.history.priors import Priors
from esmm_jax.data.history.reading import Reading
from esmm_jax.data.history.state.seen import Seen
from esmm_jax.data.history.state.store import Facts, Store
from esmm_jax.json_files import read_json, write_json
from esmm_jax.types import InputError
from esmm_jax.whole_files import save_array
import numpy as np

_FILE = 'store.json'
_VERSION = 1
_ARRAYS = [name for name in Events._fields if name != 'kind']


def save(store: Store, folder: str, since: int | None = None) -> None:
  """Writes a store into a folder, which is created.

  Args:
    store: The store.
    folder: Must not exist, or be empty.
    since: The earliest time, nanoseconds, that it is to answer; rows before it
      become sums. None: that of the store.
  """
  os.makedirs(folder, exist_ok=True)
  facts = store.facts
  if since is not None:
    facts = facts._replace(since=max(since, facts.since))
  for k, some in enumerate(store.events(since).values()):
    for name in _ARRAYS:
      if name != 'base_time' or some.kind.half_life:
        _write(folder, f'{k:02d}-{name}', getattr(some, name))
  for name, array in store.priors._asdict().items():
    _write(folder, f'priors-{name}', array)
  _write(folder, 'observed', store.seen.whole())
  about = {
      'version': _VERSION,
      'reading': store.reading.to_dict(),
      'facts': facts._asdict(),
      'files': checksums.contents(folder),
  }
  path = os.path.join(folder, _FILE)
  write_json(path, checksums.sealed_content(about))


def sha256(folder: str) -> str:
  """Returns the hash of a store's folder, which its own seal has.

  Raises:
    InputError: The folder holds no store.
  """
  return _read(folder)[checksums.CONTENT]


def load(folder: str) -> Store:
  """Reads a store; its arrays are mapped from the files.

  Args:
    folder: As `save` wrote it; every file is checked.

  Raises:
    InputError: It holds no store, or a file was changed.
  """
  about = _read(folder)
  try:
    wrong = checksums.listed_damage(folder, about['files'])
  except OSError as e:
    system_errors.refuse(e.filename or folder, e)
    wrong = f'{e.filename} cannot be read ({e.strerror})'
  if wrong:
    raise InputError(f'The history in {folder} was changed: {wrong}. {_REMEDY}')
  try:
    reading = Reading.from_dict(about['reading'])
    base = {
        state: _events(folder, k, kind)
        for k, (state, (kind, _)) in enumerate(states(reading.specs).items())
    }
    facts = Facts(**about['facts'])
    priors = Priors(*(_map(folder, f'priors-{n}') for n in Priors._fields))
    observed = _map(folder, 'observed')
  except (OSError, ValueError, KeyError, TypeError) as e:
    system_errors.refuse(folder, e)
    raise InputError(
        f'The history in {folder} cannot be read ({e}). {_REMEDY}'
    ) from e
  seen = Seen([observed] if len(observed) else [])
  return Store(reading, base, priors, facts, seen)


_REMEDY = (
    'Copy the folder there again, from encoder/ of the prepared data or from'
    ' where it was saved.'
)


def _read(folder: str) -> dict[str, Any]:
  path = os.path.join(folder, _FILE)
  about = read_json(path, _REMEDY)
  if about is None:
    raise InputError(
        f'{folder} holds no history: there is no {_FILE}. {_REMEDY}'
    )
  if not isinstance(about, dict) or about.get('version') != _VERSION:
    raise InputError(f'{path} is no history of version {_VERSION}. {_REMEDY}')
  if wrong := checksums.changed_content(about):
    raise InputError(f'{path} {wrong}. {_REMEDY}')
  return about


def _events(folder: str, number: int, kind: Any) -> Events:
  arrays = {}
  for name in _ARRAYS:
    if name != 'base_time' or kind.half_life:
      arrays[name] = _map(folder, f'{number:02d}-{name}')
  if 'base_time' not in arrays:  # Only what halves asks for it.
    num = len(arrays['keys'])
    arrays['base_time'] = np.broadcast_to(np.int64(totals.NEVER), num)
  return Events(kind, **arrays)


def _write(folder: str, name: str, array: np.ndarray) -> None:
  save_array(os.path.join(folder, f'{name}.npy'), np.ascontiguousarray(array))


def _map(folder: str, name: str) -> np.ndarray:
  path = os.path.join(folder, f'{name}.npy')
  # Of mode `c`: nothing is written, and compiled code takes it as any array.
  array = np.load(path, mmap_mode='c', allow_pickle=False)
  return np.asarray(array)

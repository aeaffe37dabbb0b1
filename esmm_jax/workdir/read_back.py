"""Reads back what a checkpoint was written as, before it counts as sound.

A checksum only says that a file is as it was written. Here it is asked whether
a reader would find in the folder all arrays that were to be written: their
names, shapes and parts.
"""

from collections.abc import Mapping
import json
import math
import os
from typing import Any

from esmm_jax.embeddings import files as table_files
import jax
import numpy as np
import tensorstore


def require(
    folder: str,
    small: Mapping[str, jax.Array],
    large: Mapping[str, jax.Array],
    position: Mapping[str, Any],
    num_rows: int | None = None,
) -> None:
  """Compares the folder of a complete checkpoint with what was to be in it.

  The values are not read: the checksums that follow read every byte.

  Args:
    folder: Of the checkpoint.
    small: Name -> array in `arrays`, which Orbax wrote; the names are joined
      with dots.
    large: Name -> array in `tables`.
    position: What is in `position`.
    num_rows: Rows of the tables that are written; None: all.

  Raises:
    ValueError: A part is missing, or is another one.
    OSError: A file cannot be read.
  """
  _require_arrays(os.path.join(folder, 'arrays'), small)
  _require_tables(os.path.join(folder, 'tables'), large, num_rows)
  path = os.path.join(folder, 'position', 'metadata')
  with open(path, encoding='utf-8') as f:
    # As texts, in which nan equals itself.
    if _text(json.load(f)) != _text(position):
      raise ValueError(f'{path} is not what was written')


def _text(value: Any) -> str:
  return json.dumps(json.loads(json.dumps(value)), sort_keys=True)


def _require_arrays(folder: str, arrays: Mapping[str, jax.Array]) -> None:
  """Finds every array, and every part of it, in TensorStore's list of keys."""
  with open(os.path.join(folder, '_METADATA'), encoding='utf-8') as f:
    json.load(f)
  # It adds a database to a folder that has none.
  if not os.path.exists(os.path.join(folder, 'manifest.ocdbt')):
    raise ValueError(f'{folder} has no manifest.ocdbt')
  base = {'driver': 'file', 'path': os.path.join(folder, '')}
  store = tensorstore.KvStore.open({'driver': 'ocdbt', 'base': base}).result()
  parts: dict[str, list[str]] = {}
  for key in store.list().result():
    name, _, part = key.decode().partition('/')
    parts.setdefault(name, []).append(part)
  for name, array in arrays.items():
    if '.zarray' not in parts.get(name, ()):
      raise ValueError(f'{folder} has no array {name}')
    entry = json.loads(store.read(f'{name}/.zarray').result().value)
    shape, chunks = entry['shape'], entry['chunks']
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.prng_key):
      array = jax.eval_shape(jax.random.key_data, array)
    if tuple(shape) != array.shape:
      raise ValueError(f'{folder}: {name} has {shape}, not {array.shape}')
    num = math.prod(-(-n // c) for n, c in zip(shape, chunks))
    if len(parts[name]) != num + 1:
      raise ValueError(
          f'{folder}: {name} has {len(parts[name]) - 1} of {num} parts'
      )


def _require_tables(
    folder: str, arrays: Mapping[str, jax.Array], num_rows: int | None
) -> None:
  """Compares the index of the tables, and the sizes of the files it names."""
  entries = table_files.saved(folder)
  shapes = {name: (e.shape, e.dtype) for name, e in entries.items()}
  wanted = {
      name: (table_files.cut(a.shape, num_rows), np.dtype(a.dtype))
      for name, a in arrays.items()
  }
  if shapes != wanted:
    raise ValueError(f'{folder} has the tables {shapes}, not {wanted}')
  for entry in entries.values():
    for name, region in entry.shards.items():
      path = os.path.join(folder, name)
      size = math.prod(last - first for first, last in region)
      size *= entry.dtype.itemsize
      if (actual := os.path.getsize(path)) != size:
        raise ValueError(f'{path} has {actual} bytes, not {size}')

"""Files of vectors for the columns of the log in `tests.warm_start.days`."""

import os

import numpy as np
from pyarrow import parquet
import pyarrow as pa

ITEMS, TAGS, USERS = 20, 6, 45


def numbers(rows, size, seed):
  rng = np.random.default_rng(seed)
  return rng.normal(size=(rows, size)).astype(np.float32)


def parquet_file(path, values, vectors):
  table = pa.table({'value': values, 'vector': vectors})
  parquet.write_table(table, path)
  return str(path)


def items(root, rows=ITEMS, seed=0):
  """Six numbers of each item; not all items of the log have some."""
  path = os.path.join(root, f'items-{rows}-{seed}.parquet')
  vectors = numbers(60, 6, seed)[:rows].tolist()
  return parquet_file(path, list(range(rows)), vectors)


def tags(root):
  """Five numbers of each tag."""
  path = os.path.join(root, 'tags.npz')
  values = np.array([f't{k}' for k in range(TAGS)])
  np.savez(path, values=values, vectors=numbers(TAGS, 5, 1))
  return path


def users(root):
  """Four numbers of each user, as many as an embedding has."""
  path = os.path.join(root, 'users.vec')
  with open(path, 'w', encoding='utf-8') as f:
    f.write(f'{USERS} 4\n')
    for k, row in enumerate(numbers(USERS, 4, 2)):
      f.write(f'u{k} {" ".join(map(str, row))}\n')
  return path


def key(root):
  """`model.vectors` with a column of each kind."""
  return (
      f'item:file={items(root)},tags:file={tags(root)},'
      f'user:file={users(root)}:frozen=False')

"""A log whose labels say whether an item is in a list, and runs on it."""

import os

from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.warm_start.resolve import resolve
import numpy as np
from pyarrow import parquet
import pyarrow as pa

from configs import esmm

ITEMS = 60


def log(rows, seed=0, first=0):
  """A user clicks six times as often on what is in the list of the past."""
  rng = np.random.default_rng(seed)
  past = [rng.integers(0, ITEMS, k) for k in rng.integers(0, 9, rows)]
  item = rng.integers(0, ITEMS, rows)
  for i in np.flatnonzero(rng.random(rows) < 0.4):
    if len(past[i]):
      item[i] = rng.choice(past[i])
  inside = np.array([i in p for i, p in zip(item, past)])
  click = rng.random(rows) < np.where(inside, 0.6, 0.1)
  buy = click & (rng.random(rows) < np.where(inside, 0.5, 0.2))
  name = lambda i: f'i{i + first}'
  return pa.table({
      'user': rng.integers(0, 50, rows),
      'item': [name(i) for i in item],
      'past': [[name(i) for i in p] for p in past],
      'price': rng.normal(size=rows),
      'click': click.astype(np.int8),
      'conversion': buy.astype(np.int8),
      'part': np.array(['train'] * 8 + ['valid', 'test'])[np.arange(rows) % 10],
  })


def train(root, name, combiner, table, **changes):
  """A run on a log; its folder and results."""
  path = os.path.join(root, f'{name}.parquet')
  parquet.write_table(table, path)
  config = esmm.get_config('tabular')
  config.update_from_flattened_dict({
      'dataset.files': path,
      'dataset.id': 'user,item',
      'dataset.ids': f'past:max_len=8:{combiner}',
      'dataset.float': 'price',
      'dataset.split': 'column',
      'dataset.split_column': 'part',
      'batch_size': 256,
      'num_epochs': 4,
      'learning_rate': 0.01,
      'model.embed_dim': 8,
      'model.tower_units': (32, 16),
      'run.save_predictions': True,
      'run.eval_batch_size': 1024,
      **changes,
  })
  folder = os.path.join(root, name)
  results = train_and_evaluate(
      resolve(config, folder), folder, os.path.join(root, 'data'))
  return folder, results

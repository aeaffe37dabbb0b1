"""A log with a history, and runs on it."""

import os
from typing import NamedTuple

import esmm_jax
from esmm_jax.data.csv_files import dialect
from esmm_jax.data.files import row_files
from esmm_jax.serving import scoring
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa

from configs import esmm

ROWS, TEST_ROWS = 2400, 500
BEGIN = 1_650_000_000_000  # Milliseconds.
NIGHTLY = 'user,item:half_life=2d,tags:window=3d,user:delay=2d:last=2'
LIVE = (
    'user,user:delay=10m:last=3:amounts=click+conversion+price,'
    'user+hour:delay=1h:window=6h,tags:delay=2h:half_life=3h,'
    'session=user:pause=30m,'
    'list=item:by=user:last=4:of=click:delay=1m,'
    'list=item:by=hour:last=3:delay=1d'
)


def log(seed=0):
  """Five days of rows in order of time; some at one time, in requests."""
  r = np.random.default_rng(seed)
  time = np.sort(r.integers(0, 5 * 86_400_000, ROWS // 3))
  time = np.repeat(time, 3) + np.tile([0, 0, 150], ROWS // 3)
  order = np.argsort(time, kind='stable')
  user, item = r.integers(0, 25, ROWS), r.integers(0, 30, ROWS)
  click = r.random(ROWS) < (user % 5 + item % 3 + 1) / 9
  bought = click & (r.random(ROWS) < 0.4)
  return pa.table({
      'user': pa.array([None if u == 3 else f'u{u}' for u in user]),
      'item': item,
      'tags': [[f't{k}' for k in range(i % 4)] for i in item],
      'price': np.round(r.normal(20, 5, ROWS), 3),
      'hour': r.integers(0, 3, ROWS),
      'request': np.repeat(np.arange(ROWS // 3), 3),
      'time': BEGIN + time,
      'clicked': click.astype(np.int8),
      'bought': bought.astype(np.int8),
  }).take(pa.array(order))


def boundaries():
  """Times at which validation and test begin; no request is divided."""
  table = log()
  time = table['time'].to_numpy()
  return [int(time[ROWS - k * TEST_ROWS - (ROWS - k * TEST_ROWS) % 3]) + 1_000
          for k in (2, 1)]


class Run(NamedTuple):
  """A run, its data and the rows of its test split."""

  root: str
  folder: str
  rows: pa.Table

  def predictor(self, **options):
    return esmm_jax.load(self.folder, **options)

  def batch(self, predictor=None):
    """The scores of the test split, as the data set was prepared."""
    predictor = predictor or self.predictor()
    data = os.path.join(self.root, 'data')
    builder = parts.dataset(predictor.config.dataset, data)
    outputs = predictor.split_outputs(builder, 'test')
    return predictor.scores(outputs, 'none', 'product')


def train(root, name, history, table=None, **changes):
  """Trains a small run whose log is in one Parquet file."""
  table = log() if table is None else table
  path = os.path.join(root, f'{name}.parquet')
  parquet.write_table(table, path)
  valid, test = boundaries()
  tree = esmm.get_config('tabular')
  tree.dataset.update(
      files=path, id='user,item,hour', ids='tags', float='price',
      click='clicked', conversion='bought', group='user', split='time',
      time='time', valid_from=str(valid), test_from=str(test),
      valid_share=None, test_share=None, history=history)
  tree.update(batch_size=64, learning_rate=1e-2, num_epochs=1)
  tree.run.eval_batch_size = 128
  tree.model.embed_dim = 4
  tree.model.tower_units = (8,)
  tree.selection.metric = ''
  tree.update_from_flattened_dict(
      {k.replace('__', '.'): v for k, v in changes.items()})
  folder = os.path.join(root, name)
  train_and_evaluate(tree, folder, os.path.join(root, 'data'))
  rows = table.filter(pa.array(table['time'].to_numpy() >= test))
  return Run(root, folder, rows)


def scored(predictor, folder, tables, **options):
  """The scores of rows in files, one for each table."""
  paths = []
  os.makedirs(folder, exist_ok=True)
  ending = options.pop('ending', 'parquet')
  for k, table in enumerate(tables):
    paths.append(os.path.join(folder, f'{k}.{ending}'))
    if os.path.exists(paths[-1]):
      continue  # A job resumes with the same file.
    if ending == 'csv':
      tags = pa.array(['|'.join(tags) for tags in table['tags'].to_pylist()])
      at = table.column_names.index('tags')
      csv.write_csv(table.set_column(at, 'tags', tags), paths[-1])
    else:
      parquet.write_table(table, paths[-1])
  output = os.path.join(folder, 'scores.parquet')
  files = row_files.find(paths, dialect=dialect.DEFAULT)
  scoring.score_files(predictor, files, output, **options)
  return parquet.read_table(output)


def assert_bits(table, scores, index=None):
  """Scores of files are others to the bit; `index`: in this order."""
  for name, values in scores.items():
    values = values if index is None else values[index]
    bits = [np.asarray(v).view(np.int32) for v in (table[name], values)]
    assert np.array_equal(*bits), name

"""A log of somebody's own, by days, and runs on some of its days.

Each user likes and each item is liked by a fixed amount; half of the users and
items of a day come the first time on that day.
"""

import contextlib
import functools
import os

from esmm_jax.training import job as jobs
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.training.settings import Settings
from esmm_jax.warm_start.resolve import resolve
from esmm_jax.workdir import folder
import numpy as np
from pyarrow import parquet
import pyarrow as pa

from configs import esmm

USERS, ITEMS, ROWS = 60, 24, 1600


@functools.cache
def tastes():
  rng = np.random.default_rng(0)
  return rng.normal(0, 1.5, 9 * USERS), rng.normal(0, 1.5, 9 * ITEMS)


def day(number, rows=ROWS, seed=0):
  """The rows of a day, from 1."""
  users, items = tastes()
  rng = np.random.default_rng([number, seed])
  user = (number - 1) * USERS // 2 + rng.integers(0, USERS, rows)
  item = (number - 1) * ITEMS // 2 + rng.integers(0, ITEMS, rows)
  logit = users[user] + items[item]
  clicked = rng.random(rows) < 1 / (1 + np.exp(-logit))
  bought = clicked & (rng.random(rows) < 1 / (1 + np.exp(-items[item])))
  return pa.table({
      'user': pa.array([f'u{u}' for u in user]),
      'item': item,
      'tags': [[f't{i % 5}', f't{i % 7}'] for i in item],
      'price': items[item] + rng.normal(number, 1, rows),
      'hour': rng.integers(0, 3, rows),
      'clicked': clicked.astype(np.int8),
      'bought': bought.astype(np.int8),
  })


def write(folder, *numbers):
  """The path of the file of each day, with commas between."""
  paths = []
  for number in numbers:
    path = os.path.join(folder, f'day{number}.parquet')
    if not os.path.exists(path):
      parquet.write_table(day(number), path)
    paths.append(path)
  return ','.join(paths)


def config(files, **changes):
  """A small run on files; `changes` with __ for the dots."""
  tree = esmm.get_config('tabular')
  tree.dataset.update(
      files=files, id='user,item,hour', ids='tags', float='price',
      click='clicked', conversion='bought', group='user', split='random',
      valid_share=0.1, test_share=0.1)
  tree.update(batch_size=64, learning_rate=1e-2)
  tree.model.embed_dim = 4
  tree.model.tower_units = (8,)
  tree.selection.metric = ''
  tree.update_from_flattened_dict(
      {key.replace('__', '.'): value for key, value in changes.items()})
  return tree


def train(root, name, *numbers, **changes):
  """Trains a run on days; returns its folder and its results."""
  workdir = os.path.join(root, name)
  tree = config(write(root, *numbers), **changes)
  return workdir, train_and_evaluate(tree, workdir, os.path.join(root, 'data'))


@contextlib.contextmanager
def before_the_first_step(root, name, *trees):
  """The job of configs, side by side, and its state before the first step."""
  workdirs = [os.path.join(root, f'{name}-{k}') for k in range(len(trees))]
  trees = [resolve(tree, w) for tree, w in zip(trees, workdirs)]
  settings = [Settings.read(tree) for tree in trees]
  built = jobs.build(settings, os.path.join(root, 'data'))
  with contextlib.ExitStack() as stack:
    job = jobs.open_job(
        built, settings, [folder.record(t) for t in trees], workdirs,
        os.path.join(root, f'{name}-home'), stack)
    state, _ = jobs.initialise_or_restore(job)
    for run in job.runs:
      stack.enter_context(contextlib.closing(run.writer))
    yield job, state
    job.checkpoints.close()

"""Every kind of file of prepared data x damages x readers, in one process.

  python -m tests.serving.data_matrix [--only=TEXT] [--bad]

prints how many cells give the same numbers, say a line, silently give other
numbers, or end in a traceback (`tests.damaged.cells`). A damage keeps the time
of the file. --only takes the files, damages and readers with that text in their
names, --bad prints the bad ones alone.
"""

import argparse
from collections.abc import Iterator
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import Any

import esmm_jax
from esmm_jax.serving import calibrate, evaluation, scoring
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from experiments import load
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa

from tests.damaged import cells

SPLIT = 'tabular-test.columns-00000-of-00001'
FILES = [
    'dataset_info.json', 'features.json', 'metadata.json', 'sha256.json',
    '.esmm_jax.json', 'encoder/encoder.json', 'encoder/vocabulary-000.parquet',
    *(f'{SPLIT}/{name}.npy'
      for name in ('user', 'price', 'tags.values', 'tags.offsets',
                   'tags.weights', 'click', 'conversion', 'group_key',
                   'row_number')),
]  # fmt: skip
DAMAGES = ('absent', 'empty', 'cut', 'flipped', 'zeros', 'edited')
TIMED = ('examples_per_second', 'train_seconds', 'traces')


class Stage:
  """A run and its data, made once in `home`.

  Attributes:
    point: The config of the run.
    run: Its folder.
    data: The folder of prepared data, which is damaged.
  """

  def __init__(self, home: pathlib.Path):
    self.home, self.run, self.data = home, home / 'run', home / 'data'
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 30, 1500), rng.integers(0, 20, 1500)
    click = rng.random(1500) < 0.2 + 0.02 * user
    tags = ['|'.join(f't{t}:{t / 8}' for t in rng.integers(0, 9, k % 4))
            for k in range(1500)]
    csv.write_csv(
        pa.table({
            'user': user, 'item': item, 'price': rng.normal(size=1500),
            'tags': tags,
            'click': click.astype(np.int8),
            'conversion': (click & (item > 8)).astype(np.int8)}),
        home / 'log.csv')
    self.point = {
        'config': 'configs/esmm.py:tabular',
        'dataset.files': str(home / 'log.csv'),
        'dataset.split': 'random',
        'dataset.id': 'user,item',
        'dataset.float': 'price',
        'dataset.ids': 'tags:weights=colon',
        'dataset.group': 'user',
        'batch_size': 256, 'num_epochs': 1, 'evals_per_epoch': 1,
        'model.embed_dim': 4, 'model.tower_units': (8,),
    }  # fmt: skip
    self._train(self.run)
    [self.folder] = self.data.glob('tabular/*/1*')

  def _train(self, folder: pathlib.Path) -> Any:
    results = train_and_evaluate(
        load.point(self.point), str(folder), str(self.data))
    return {k: v for k, v in results.items() if k not in TIMED}

  def fresh(self, name: str) -> pathlib.Path:
    """A path for what a reader writes, at which nothing is."""
    path = self.home / 'cell' / name
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    return path

  def train(self) -> Any:
    """Trains a new run."""
    return self._train(self.fresh('run'))

  def calibrate(self) -> Any:
    run = self.fresh('run')
    shutil.copytree(self.run, run)
    calibrate.calibrate(str(run), str(self.data))
    about = json.loads((run / 'calibration.json').read_text('utf-8'))
    return {k: about[k] for k in ('rows', 'tasks', 'test')}

  def _opened(self) -> tuple[Any, Any]:
    predictor = esmm_jax.load(str(self.run), data_dir=str(self.data))
    config = predictor.config.dataset
    return predictor, parts.dataset(config, str(self.data))

  def predict(self) -> Any:
    predictor, builder = self._opened()
    output = self.fresh('scores.parquet')
    scoring.score_split(predictor, builder, 'test', str(output))
    return parquet.read_table(output)

  def evaluate(self) -> Any:
    return evaluation.evaluate_split(*self._opened(), 'test')


READERS = ('train', 'calibrate', 'predict', 'evaluate')


def matrix(
    stage: Stage, only: str = '', every: int = 1
) -> Iterator[cells.Cell]:
  """Yields the cells, or each of a few of them.

  Args:
    stage: The run and its data.
    only: Text in the names of a file, a damage or a reader.
    every: Each such cell is tried.
  """
  whole = {reader: cells.attempt(getattr(stage, reader)) for reader in READERS}
  assert not any(w.raised or w.numbers is None for w in whole.values()), whole
  sound = stage.home / 'sound'
  shutil.copytree(stage.folder, sound)
  k = 0
  for file in FILES:
    for name in DAMAGES:
      for reader in READERS:
        path = stage.folder / file
        k += 1
        if not (sound / file).exists() or k % every:
          continue
        if only and not any(only in text for text in (file, name, reader)):
          continue
        before = os.stat(path)
        if cells.harm(name, path):
          if path.exists():
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
          now = cells.attempt(getattr(stage, reader))
          outcome = cells.classify(now, whole[reader])
          said = now.raised[-300:] or ' '.join(now.said)
          yield cells.Cell('data', file, name, reader, outcome, said)
        shutil.rmtree(stage.folder)
        shutil.copytree(sound, stage.folder)


def main() -> int:
  parser = argparse.ArgumentParser()
  parser.add_argument('--only', default='')
  parser.add_argument('--bad', action='store_true')
  arguments = parser.parse_args()
  with tempfile.TemporaryDirectory() as home:
    tried = []
    for cell in matrix(Stage(pathlib.Path(home)), arguments.only):
      tried.append(cell)
      if not arguments.bad or cell.outcome in cells.BAD:
        print(*cell[1:], sep=' | ', flush=True)
  print(cells.counts(tried))
  return sum(cell.outcome in cells.BAD for cell in tried)


if __name__ == '__main__':
  sys.exit(main())

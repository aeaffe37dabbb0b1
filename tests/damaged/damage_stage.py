"""Runs, their exports and their data, to be damaged (`damage_matrix`)."""

from collections.abc import Iterator
import itertools
import os
import pathlib
import shutil
from typing import Any

import esmm_jax
from esmm_jax.serving import calibrate, exporting
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.table import Column, Table
from esmm_jax.training.loop import train_and_evaluate
from experiments import load
import numpy as np
from pyarrow import csv
import pyarrow as pa

from tests.damaged import cells

AUC = 'test/ctr/auc'
# Kind -> what its files are, as patterns in a run's folder. Of files that are
# alike one is damaged.
KINDS = {
    'config.json': ['config.json'],
    'schema.json': ['schema.json'],
    'encoder': ['encoder/*', 'encoder'],
    'manifest.json': ['manifest.json'],
    'checkpoint': [
        'checkpoints/*/_CHECKPOINT_METADATA',
        'checkpoints/*/arrays/d/*',
        'checkpoints/*/position/metadata',
        'checkpoints/*/tables/index.json',
        'checkpoints/*/tables/best.table*',
        'checkpoints',
    ],
    'seal': ['checkpoints/*.seal.json'],
    'results.json': ['results.json'],
    'metrics.jsonl': ['metrics.jsonl'],
    'calibration.json': ['calibration.json'],
    'predictions': ['predictions/test.parquet'],
}
EXPORT = [
    'description.json', 'model.jax_export', 'params/table.npy',
    'params/*kernel.npy', 'params', 'encoder/*.json', 'encoder']


def log(path: pathlib.Path, shift: int) -> None:
  """A log of 1500 rows; other shifts have other meanings of the same sizes."""
  rng = np.random.default_rng(0)
  user, item = rng.integers(0, 30, 1500), rng.integers(0, 20, 1500)
  price = rng.normal(size=1500) + shift
  click = rng.random(1500) < 0.2 + 0.02 * user
  conversion = click & (rng.random(1500) < 0.2 + 0.03 * item)
  csv.write_csv(
      pa.table({
          'user': [f'u{(u + shift) % 30:02d}' for u in user],
          'item': [f'i{(i + shift) % 20:02d}' for i in item],
          'price': price,
          'click': click.astype(np.int8),
          'conversion': conversion.astype(np.int8),
      }),
      path)


def points(path: pathlib.Path) -> list[dict[str, Any]]:
  """Two learning rates, two seeds each."""
  options = {
      'config': 'configs/esmm.py:tabular',
      'dataset.files': str(path),
      'dataset.split': 'random',
      'dataset.id': 'user,item',
      'dataset.float': 'price',
      'batch_size': 256, 'num_epochs': 1, 'evals_per_epoch': 2,
      'model.embed_dim': 4, 'model.tower_units': (8,),
      'run.save_predictions': True,
  }  # fmt: skip
  return product(
      chain(*(
          product(fixed('@rate', name), fixed('learning_rate', rate))
          for name, rate in (('low', 0.01), ('high', 0.03)))),
      sweep('seed', (0, 1)),
      *(fixed(key, value) for key, value in options.items()))


class Stage:
  """Runs, their data and exports, made once in `home`.

  Attributes:
    victim: The folder of the run that is damaged (copies of it are).
    others: Runs with files of the same shapes: of another seed, and of another
      log.
    export: An export of the victim.
  """

  def __init__(self, home: pathlib.Path):
    self.home, self.data = home, home / 'data'
    self.runs = home / 'sweep' / 'runs'
    self._number = itertools.count()
    for shift in (0, 7):
      log(home / f'log{shift}.csv', shift)
    self.points = points(home / 'log0.csv')
    self.table = Table(
        'Rates', self.points, (Column('CTR AUC', AUC),), rows=('@rate',),
        baseline={'@rate': 'low'}, gain_columns=(AUC,), test_noise=(AUC,))
    for point in self.points:
      self._train(point, self.runs / run_name(point))
    self.victim = self.runs / run_name(self.points[2])
    other_log = dict(self.points[2])
    other_log['dataset.files'] = str(home / 'log7.csv')
    self._train(other_log, home / 'other_log')
    self.others = (self.runs / run_name(self.points[3]), home / 'other_log')
    self.exports = []
    for k, run in enumerate((self.victim, *self.others)):
      calibrate.calibrate(str(run), str(self.data))
      self.exports.append(home / f'export{k}')
      exporting.export(esmm_jax.load(str(run)), str(self.exports[-1]))
    self.rows = csv.read_csv(home / 'log0.csv').slice(0, 300)
    csv.write_csv(self.rows, home / 'rows.csv')

  def _train(self, point: dict[str, Any], folder: pathlib.Path) -> None:
    train_and_evaluate(load.point(point), str(folder), str(self.data))

  def files(self) -> Iterator[tuple[str, str]]:
    """Yields (kind, path in the run's folder)."""
    for kind, patterns in KINDS.items():
      for pattern in patterns:
        there = sorted(self.victim.glob(pattern))
        if kind in ('checkpoint', 'seal') and '/' in pattern:  # The last step.
          step = lambda p: int(
              p.relative_to(self.victim).parts[1].split('.')[0])
          last = max(map(step, there), default=0)
          there = [p for p in there if step(p) == last][-1:]
        for path in there:
          yield kind, os.path.relpath(path, self.victim)

  def export_files(self) -> Iterator[str]:
    for pattern in EXPORT:
      for path in sorted(self.exports[0].glob(pattern))[:1]:
        yield os.path.relpath(path, self.exports[0])

  def copy(self) -> pathlib.Path:
    """A sweep whose victim is a copy; returns the folder of the copy."""
    folder = self.home / 'cells' / f'{next(self._number):04d}' / 'runs'
    folder.mkdir(parents=True)
    for run in self.runs.iterdir():
      if run != self.victim:
        os.symlink(run, folder / run.name)
    shutil.copytree(self.victim, folder / self.victim.name)
    (folder.parent / 'sweep.json').write_text('{"override": []}')
    return folder / self.victim.name

  def other(self, file: str, own: pathlib.Path) -> pathlib.Path | None:
    """The same file of another run that differs in it."""
    folders = self.others if own == self.victim else self.exports[1:]
    before = cells.content(own / file)
    paths = [folder / file for folder in folders]
    return next(
        (p for p in paths if p.exists() and cells.content(p) != before), None)

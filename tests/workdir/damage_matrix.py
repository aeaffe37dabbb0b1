"""Every kind of file of a run x damages x readers, in one process.

  python -m tests.workdir.damage_matrix [--only=TEXT] [--every=N] [--bad]

prints how many cells give the same numbers, say a line, silently give other
numbers, or end in a traceback (`cells`). --only takes the files or readers with
that text in their names, --every each Nth cell, --bad prints the bad ones only.
"""

import argparse
import collections
import contextlib
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from absl import flags
import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular import unseen
from esmm_jax.reporting import text
from esmm_jax.serving import calibrate, evaluation, exporting, scoring
from esmm_jax.sweeps.points import chain, fixed, product, run_name, sweep
from esmm_jax.sweeps.results import tabulate
from esmm_jax.sweeps.table import Column, Table
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from experiments import load, report
import jax
import numpy as np
from pyarrow import csv, parquet
import pyarrow as pa

from tests import ROOT
from tests.workdir import cells

AUC = 'test/ctr/auc'
TIMED = ('examples_per_second', 'train_seconds', 'traces')
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
    return folder / self.victim.name

  def other(self, file: str, own: pathlib.Path) -> pathlib.Path | None:
    """The same file of another run that differs in it."""
    folders = self.others if own == self.victim else self.exports[1:]
    before = cells.content(own / file)
    paths = [folder / file for folder in folders]
    return next(
        (p for p in paths if p.exists() and cells.content(p) != before), None)


def train(stage: Stage, run: pathlib.Path) -> Any:
  """Repeats the command of a finished run."""
  results = train_and_evaluate(
      load.point(stage.points[2]), str(run), str(stage.data))
  return {k: v for k, v in results.items() if k not in TIMED}


def resume(stage: Stage, run: pathlib.Path) -> Any:
  """Repeats the command of a run that was killed before its results."""
  results = run / 'results.json'
  if results.is_file():
    results.unlink()
  now = train(stage, run)
  return [now, parquet.read_table(run / 'predictions' / 'test.parquet')]


def predict_file(stage: Stage, run: pathlib.Path) -> Any:
  predictor, counts = esmm_jax.load(str(run)), unseen.Counts()
  output = run.parent / 'scores.parquet'
  scoring.score_files(
      predictor, row_files.find([str(stage.home / 'rows.csv')]), str(output),
      calibrated='platt', counts=counts)
  lines = list(unseen.lines(counts.shares(), predictor.unseen_in_log))
  return [parquet.read_table(output), lines]


def predict_split(stage: Stage, run: pathlib.Path) -> Any:
  predictor = esmm_jax.load(str(run), data_dir=str(stage.data))
  builder = parts.dataset(predictor.config.dataset, str(stage.data))
  output = run.parent / 'scores.parquet'
  scoring.score_split(
      predictor, builder, 'test', str(output), calibrated='isotonic')
  return parquet.read_table(output)


def evaluate(stage: Stage, run: pathlib.Path) -> Any:
  files = row_files.find([str(stage.home / 'rows.csv')])
  return evaluation.evaluate_files(
      esmm_jax.load(str(run)), files, calibrated='isotonic')


def fit(stage: Stage, run: pathlib.Path) -> Any:
  calibrate.calibrate(str(run), str(stage.data))
  return json.loads((run / 'calibration.json').read_text('utf-8'))


def export(stage: Stage, run: pathlib.Path) -> Any:
  output = run.parent / 'export'
  exporting.export(esmm_jax.load(str(run)), str(output), 'platt')
  # The program's bytes name the lines that called it: what it computes counts.
  scores = score_exported(output)
  files = {
      os.path.relpath(p, output): p.read_bytes()
      for p in sorted(output.rglob('*'))
      if p.is_file() and p.name not in ('description.json', 'model.jax_export')}
  about = json.loads((output / 'description.json').read_text('utf-8'))
  about = {k: v for k, v in about.items() if k not in ('files', 'sha256')}
  return [scores, files, about]


def score_exported(folder: pathlib.Path) -> Any:
  call, params = exporting.load(str(folder))
  inputs = {name: np.arange(9, dtype=np.int32) for name in ('user', 'item')}
  return call(params, inputs | {'price': np.linspace(-1, 1, 9, dtype='f4')})


def page(stage: Stage, run: pathlib.Path) -> Any:
  output = run.parent / 'page.html'
  flags.FLAGS([
      'report', f'--workdir={run}', f'--data_dir={stage.data}',
      f'--output={output}'])
  report.main()
  return output.read_text('utf-8').replace(str(run.parent), 'RUNS')


def page_again(stage: Stage, run: pathlib.Path) -> Any:
  """A page whose predictions are to be computed."""
  path = run / 'predictions' / 'test.parquet'
  if path.is_file():
    path.unlink()
  made = page(stage, run)
  return [made, parquet.read_table(path) if path.exists() else None]


def table(stage: Stage, run: pathlib.Path) -> Any:
  blocks = tabulate(stage.table, str(run.parent.parent))
  return text.to_csv(stage.table, blocks)


def score(stage: Stage, run: pathlib.Path) -> Any:
  predictor = esmm_jax.load(str(run))
  return predictor.predict(stage.rows, 'platt')


READERS = {
    reader.__name__: reader
    for reader in (
        train, resume, predict_file, predict_split, evaluate, fit, export, page,
        page_again, table, score)
}

LOAD = '''
import pathlib, sys
import numpy as np
from tests.workdir.damage_matrix import score_exported
try:
  np.savez(sys.argv[2], **score_exported(pathlib.Path(sys.argv[1])))
except (ValueError, OSError) as e:
  if type(e).__name__ not in ('InputError', 'OSError'):
    raise
  print('error: ' + ' '.join(str(e).split()), file=sys.stderr)
  sys.exit(1)
'''


def load_export(folder: pathlib.Path) -> cells.Outcome:
  """Loads an export in another process, which may crash."""
  output = folder.parent / f'{folder.name}.npz'
  done = subprocess.run(
      [sys.executable, '-c', LOAD, str(folder), str(output)], cwd=ROOT,
      capture_output=True, text=True, check=False)
  return cells.of_process(done, lambda: dict(np.load(output)))


def try_cells(
    stage: Stage, wanted: Callable[[str, str, str, str], bool]
) -> Iterator[cells.Cell]:
  """Yields the cells that `wanted` takes: (kind, file, damage, reader)."""
  undamaged: dict[str, cells.Outcome] = {}
  for (kind, file), damage in itertools.product(stage.files(), cells.DAMAGES):
    for name, reader in READERS.items():
      if not wanted(kind, file, damage, name):
        continue
      if name not in undamaged:
        run = stage.copy()
        undamaged[name] = cells.attempt(lambda: reader(stage, run))
        assert undamaged[name].numbers, (name, undamaged[name])
      run = stage.copy()
      other = stage.other(file, stage.victim)
      if cells.harm(damage, run / file, other):
        now = cells.attempt(lambda: reader(stage, run))
        outcome = cells.classify(now, undamaged[name])
        said = ' '.join(now.said) or now.raised
        said = said.replace(str(run), 'RUN').replace(str(stage.home), 'HOME')
        yield cells.Cell(kind, file, damage, name, outcome, said)
      shutil.rmtree(run.parent.parent)
  yield from _export_cells(stage, wanted)


def _export_cells(
    stage: Stage, wanted: Callable[[str, str, str, str], bool]
) -> Iterator[cells.Cell]:
  sound = None
  for file, damage in itertools.product(stage.export_files(), cells.DAMAGES):
    if not wanted('export', file, damage, 'load_export'):
      continue
    sound = sound or load_export(stage.exports[0])
    assert sound.numbers, sound
    copy = stage.home / 'copy'
    shutil.copytree(stage.exports[0], copy)
    if cells.harm(damage, copy / file, stage.other(file, stage.exports[0])):
      now = load_export(copy)
      outcome = cells.classify(now, sound)
      said = ' '.join(now.said) or now.raised
      said = said.replace(str(copy), 'EXPORT')
      yield cells.Cell('export', file, damage, 'load_export', outcome, said)
    shutil.rmtree(copy)


def show(tried: list[cells.Cell]) -> None:
  """Prints the counts by kind and by reader."""
  for attribute in ('kind', 'reader'):
    groups = collections.defaultdict(list)
    for cell in tried:
      groups[getattr(cell, attribute)].append(cell)
    print(f'\n| {attribute} | same | said | silent | traceback |\n|---|' +
          '---|' * 4)
    for name, group in [*groups.items(), ('all', tried)]:
      print(f'| {name} | ' + ' | '.join(
          str(n) for n in cells.counts(group).values()) + ' |')


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument('--only', default='')
  parser.add_argument('--every', type=int, default=1)
  parser.add_argument('--bad', action='store_true')
  options = parser.parse_args()
  jax.config.update('jax_disable_most_optimizations', True)
  number = itertools.count()

  def wanted(*names: str) -> bool:
    named = not options.only or any(
        part in ' '.join(names) for part in options.only.split(','))
    return named and next(number) % options.every == 0

  tried = []
  with tempfile.TemporaryDirectory() as home:
    jax.config.update('jax_compilation_cache_dir', f'{home}/compiled')
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)
    jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
    with contextlib.redirect_stdout(io.StringIO()):
      stage = Stage(pathlib.Path(home))
    for cell in try_cells(stage, wanted):
      tried.append(cell)
      if cell.outcome in cells.BAD or not options.bad:
        print(*cell[:5], cell.said[-600:], sep=' | ', flush=True)
  show(tried)


if __name__ == '__main__':
  main()

"""Every kind of file of a run x damages x readers, in one process.

  python -m tests.damaged.damage_matrix [--only=TEXT] [--every=N] [--bad]

prints how many cells give the same numbers, say a line, silently give other
numbers, or end in a traceback (`cells`). --only takes the files or readers with
that text in their names, --every each Nth cell, --bad prints the bad ones only.
"""

import argparse
import collections
from collections.abc import Callable, Iterator
import contextlib
import functools
import io
import itertools
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from absl import flags
import esmm_jax
from esmm_jax.data.files import row_files
from esmm_jax.data.tabular import unseen
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.json_files import to_json
from esmm_jax.reporting import text
from esmm_jax.serving import calibrate, evaluation, exporting, scoring
from esmm_jax.sweeps import results
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate
from experiments import load, report
import jax
import numpy as np
from pyarrow import parquet

from tests import ROOT
from tests.damaged import cells
from tests.damaged.damage_stage import Stage

# What a page says of a part that it lacks.
MISSING = (
    'This run has no calibration.json', 'There are no predictions',
    'metrics.jsonl has no', 'This run is not finished')
TIMED = ('examples_per_second', 'train_seconds', 'traces')


def train(stage: Stage, run: pathlib.Path) -> Any:
  """Repeats the command of a finished run."""
  made = train_and_evaluate(
      load.point(stage.points[2]), str(run), str(stage.data))
  return {k: v for k, v in to_json(made).items() if k not in TIMED}


def resume(stage: Stage, run: pathlib.Path) -> Any:
  """Repeats the command of a run that was killed before its results."""
  path = run / 'results.json'
  if path.is_file():
    path.unlink()
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
  params = {p.name: p.read_bytes() for p in (output / 'params').iterdir()}
  encoder = Encoder.load(str(output / 'encoder')).sha256()
  about = json.loads((output / 'description.json').read_text('utf-8'))
  about = {k: v for k, v in about.items() if k not in ('files', 'sha256')}
  return [scores, params, encoder, about]


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
  html = output.read_text('utf-8').replace(str(run.parent), 'RUNS')
  for words in MISSING:
    if words in html:
      print(f'warning: the page says: {words}')
  return html


def page_again(stage: Stage, run: pathlib.Path) -> Any:
  """A page whose predictions are to be computed."""
  path = run / 'predictions' / 'test.parquet'
  if path.is_file():
    path.unlink()
  made = page(stage, run)
  return [made, parquet.read_table(path) if path.exists() else None]


def table(stage: Stage, run: pathlib.Path) -> Any:
  workdir = str(run.parent.parent)
  configs = load.todays_configs(stage.table, workdir)
  blocks = results.tabulate(stage.table, workdir, configs)
  for note in results.notes(blocks):
    print(f'warning: {note}')
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
from tests.damaged.damage_matrix import score_exported
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
        whole = functools.partial(reader, stage, stage.copy())
        undamaged[name] = cells.attempt(whole)
        assert undamaged[name].numbers, (name, undamaged[name])
      run = stage.copy()
      other = stage.other(file, stage.victim)
      if cells.harm(damage, run / file, other):
        now = cells.attempt(functools.partial(reader, stage, run))
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

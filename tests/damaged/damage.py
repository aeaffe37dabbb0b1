"""Every file that a run or prepared data consists of, damaged in every way.

  python -m tests.damaged.damage ['train, going on' ...]

prints, as a table, what each program says then. A program must give the numbers
that it gives without damage, or say in one line which file is wrong.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import NamedTuple

from pyarrow import parquet

from tests import ROOT
from tests.parallel import forking

SMOKE = (
    '--config=configs/esmm.py:smoke',
    '--config.dataset.num_train=6000',
    '--config.dataset.num_valid=2000',
    '--config.dataset.num_test=2000',
    '--config.evals_per_epoch=2',
    '--config.selection.metric=valid/ctr/auc',
)
TIMED = ('examples_per_second', 'train_seconds')


def empty(path):
  path.write_bytes(b'')


def cut(path):
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
  """One bit in the middle."""
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 1
  path.write_bytes(data)


def noise(path):
  path.write_bytes(b'\xff\x00{]' * 20)


HARMS = (empty, cut, flip, noise, os.remove)

PROGRAMS = {
    # What is damaged, and the program's flags.
    'train, a new run': ('data', 'train', SMOKE),
    'train, going on': ('stopped', 'train', SMOKE),
    'train, finished': ('finished', 'train', SMOKE),
    'predict': (
        'finished', 'predict', ('--split=test', '--output={run}.parquet')),
    'calibrate': ('finished', 'calibrate', ()),
    'export': ('finished', 'export', ('--output={run}.export',)),
    'report': ('finished', 'report', ('--output={run}.html',)),
}


class Case(NamedTuple):
  """What was tried and what came of it.

  Attributes:
    name: Of `PROGRAMS`.
    file: Path in the folder that was damaged.
    harm: How.
    code: Exit code of the program.
    same: Whether its numbers were those without damage.
    said: Its line of error or warning, without the folder; or ''.
  """

  name: str
  file: str
  harm: str
  code: int
  same: bool
  said: str

  @property
  def fine(self) -> bool:
    """The numbers are the same, or one line names the file.

    A bit of results.json, which people read, may make another number of one. A
    report shows what is there.
    """
    if (self.file, self.harm) == ('results.json', 'flip'):
      return self.code in (0, 1)
    if self.name == 'report' and self.code == 0:
      return True
    parts = [p for p in pathlib.Path(self.file).parts if p != 'checkpoints']
    # A list of checksums is named by its checkpoint.
    parts = [p.replace('.seal.json', ' is damaged') for p in parts]
    named = any(part in self.said for part in parts)
    return self.code == 1 and named or self.code == 0 and (self.same or named)


class Stage:
  """Runs and data to be damaged, made once.

  Attributes:
    folders: 'data', 'stopped' and 'finished'.
  """

  def __init__(self, home: pathlib.Path):
    self._home = home
    self._made = 0
    self.folders = {
        name: home / name for name in ('data', 'stopped', 'finished')}
    self._programs = {}
    self._undamaged = {}

  def __enter__(self):
    data, stopped = self.folders['data'], self.folders['stopped']
    _stopped_run(stopped, data)
    shutil.copytree(stopped, self.folders['finished'])
    done = self._run('train', self.folders['finished'], data, SMOKE)
    assert done.returncode == 0, done.stderr
    return self

  def __exit__(self, *unused):
    for program in self._programs.values():
      program.__exit__()

  def files(self, folder: str) -> list[str]:
    """Paths in one of the folders that are damaged.

    Of files that are alike it is one: a split of the data, an array of the last
    checkpoint. The lock and TensorBoard's files are never read.
    """
    root = self.folders[folder]
    found, arrays = [], set()
    for path in sorted(p for p in root.rglob('*') if p.is_file()):
      name = os.path.relpath(path, root)
      if path.parent.name == 'd' and path.parent in arrays:
        continue
      arrays.add(path.parent)
      kept = path.suffix != '.npy' or path.name == 'user.npy'
      kept |= '-test.' in name
      if kept and path.name != '.lock' and not name.startswith(
          ('tensorboard', 'checkpoints/6')):
        found.append(name)
    return found

  def case(self, name: str, file: str, harm) -> Case | None:
    """What a program says to a damaged file; None if nothing is damaged."""
    damaged, program, flags = PROGRAMS[name]
    if name not in self._undamaged:
      done, numbers = self._numbers(name, *self._copy(damaged))
      self._undamaged[name] = numbers, _lines(done)
      assert numbers
    run, data = self._copy(damaged)
    path = (data if damaged == 'data' else run) / file
    before = path.read_bytes()
    harm(path)
    if path.exists() and path.read_bytes() == before:
      return None
    done, numbers = self._numbers(name, run, data)
    without, always = self._undamaged[name]
    said = [line for line in _lines(done) if line not in always]
    code = done.returncode
    if 'Traceback' in done.stderr or code and len(said) != 1:
      code, said = -1, done.stderr.splitlines()[-1:]
    shown = ' '.join(said)
    for folder, short in ((run, 'RUN'), (data, 'DATA')):
      shown = shown.replace(str(folder), short)
    shutil.rmtree(run.parent)
    same = numbers == without
    return Case(name, file, harm.__name__, code, same, shown)

  def _copy(self, damaged):
    """(run, data): copies, or the data itself where it is not damaged."""
    self._made += 1
    home = self._home / f'copy{self._made}'
    home.mkdir()
    data = self.folders['data']
    if damaged == 'data':
      data = home / 'data'
      shutil.copytree(self.folders['data'], data)
    else:
      shutil.copytree(self.folders[damaged], home / 'run')
    return home / 'run', data

  def _run(self, program, run, data, flags):
    if program not in self._programs:
      started = forking.Program(
          f'experiments.{program}', JAX_DISABLE_MOST_OPTIMIZATIONS='1')
      self._programs[program] = started.__enter__()
    flags = [f.format(run=run) for f in flags]
    if program != 'export':
      flags.append(f'--data_dir={data}')
    return self._programs[program].run(f'--workdir={run}', *flags)

  def _numbers(self, name, run, data):
    """What the program printed, and what it wrote, without times."""
    _, program, flags = PROGRAMS[name]
    done = self._run(program, run, data, flags)
    if done.returncode:
      return done, None
    if program == 'train':
      found = [_read(run / 'results.json')]
      if 'finished' in name:  # It may end anew.
        return done, found
      for line in (run / 'metrics.jsonl').read_text().splitlines():
        found.append({k: v for k, v in json.loads(line).items() if k != 'time'})
      return done, found
    if program == 'calibrate':
      return done, _read(run / 'calibration.json')
    if program == 'predict':
      return done, parquet.read_table(f'{run}.parquet').to_pydict()
    if program == 'export':
      files = sorted(pathlib.Path(f'{run}.export').rglob('*'))
      return done, [(p.name, p.read_bytes()) for p in files if p.is_file()]
    text = pathlib.Path(f'{run}.html').read_text().replace(str(run), 'RUN')
    return done, text


def _lines(done):
  return [
      line for line in (done.stdout + done.stderr).splitlines()
      if line.startswith(('error: ', 'warning: '))]


def _read(path):
  with open(path, encoding='utf-8') as f:
    return {k: v for k, v in json.load(f).items() if k not in TIMED}


def _stopped_run(run, data):
  """A run that SIGTERM stopped, with a checkpoint of its first half."""
  text = (
      'import os, signal, sys\n'
      'from esmm_jax.training.feeding import Streamed\n'
      'advance = Streamed.advance\n'
      'def stop(self, state, start, *rest):\n'
      '  if start >= 8: os.kill(os.getpid(), signal.SIGTERM)\n'
      '  return advance(self, state, start, *rest)\n'
      'Streamed.advance = stop\n'
      'from experiments import cli, train\n'
      'cli.run(train.main)\n')
  done = subprocess.run(
      [sys.executable, '-c', text, f'--workdir={run}', f'--data_dir={data}',
       *SMOKE],
      cwd=ROOT, capture_output=True, text=True, check=False,
      env=dict(
          os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1'))
  assert done.returncode == 75, done


def rows(cases):
  """Lines of a table: cases of one kind in one line."""
  kinds = {}
  for case in cases:
    parts = [p for p in pathlib.Path(case.file).parts if len(p) > 2]
    said = case.said.replace('|', '\\|')
    for part in (case.file, *parts[:0:-1], parts[-1]):
      said = said.replace(part, 'FILE')
    for pattern, short in (
        (r'\b\d/FILE|(\w+/)?(FILE/)*(\w+/)*FILE(?!\w)', 'FILE'),
        (r'\d+ bytes, not \S+\.', 'N bytes, not M.'),
        (r'cannot be read \(.*?\)+', 'cannot be read (...)'),
        (r'is not JSON \(.*?\)+', 'is not JSON (...)')):
      said = re.sub(pattern, short, said)
    came = 'the same numbers' if case.same else f'exit code {case.code}'
    kinds.setdefault((came, said), []).append((parts[-1], case.harm))
  for (came, said), those in kinds.items():
    files = list(dict.fromkeys(f for f, _ in those))
    harms = ', '.join(dict.fromkeys(h for _, h in those))
    more = f' and {len(files) - 4} more' if len(files) > 4 else ''
    yield f'| {", ".join(files[:4])}{more} | {harms} | {came}. {said} |'


def main(names):
  with tempfile.TemporaryDirectory() as home:
    with Stage(pathlib.Path(home)) as stage:
      for name, (damaged, _, _) in PROGRAMS.items():
        if names and name not in names:
          continue
        cases = []
        for file in stage.files(damaged):
          for harm in HARMS:
            if case := stage.case(name, file, harm):
              cases.append(case)
              if not case.fine:
                print(f'NOT FINE {case}', file=sys.stderr, flush=True)
        print(f'\n**{name}**, {len(cases)} cases\n')
        print('| file | harm | what comes |\n|---|---|---|')
        print('\n'.join(rows(cases)), flush=True)


if __name__ == '__main__':
  main(sys.argv[1:])

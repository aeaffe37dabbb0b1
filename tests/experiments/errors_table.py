"""Wrong command lines, logs and frames that the tests try; their messages.

  python -m tests.experiments.errors_table

prints them as tables.
"""

import pathlib
import tempfile

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import frames as frame_reader
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.serving import inputs
from esmm_jax.types import InputError

from tests import ROOT
from tests.data.csv_files import test_csv_refused, test_dialect
from tests.data.tabular import test_labels, test_tabular, test_tabular_errors
from tests.data.tabular.cells import test_cells
from tests.experiments import test_cli
from tests.parallel import forking
from tests.serving import test_frames


def command_lines(home):
  """Yields (case, message) of `test_cli.WRONG`."""
  with forking.Program('experiments.train') as program:
    for case, (arguments, _, _) in test_cli.WRONG.items():
      done = test_cli.train(program, arguments, f'{home}/data', f'{home}/run')
      said = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
      flags = ' '.join(f'`{a}`' for a in arguments)
      said.append(f'(exit code {done.returncode})')
      yield f'{case}: {flags}', ' '.join(said)


def logs(home):
  """Yields those of `test_tabular_errors`: options, then values of a file."""
  good = test_tabular.write(test_tabular.table(), home / 'log.parquet')
  for case, (options, _) in test_tabular_errors.OPTION.items():
    options = {'files': good} | options
    options['files'] = options['files'].format(log=good)
    yield case, refusal(home, options)
  for case, (changes, _) in test_tabular_errors.VALUES.items():
    log = test_tabular.write(
        test_tabular.table(**changes), home / f'{case}.parquet')
    more = {}
    if case in ('time', 'offset left out'):
      more = dict(valid_from='2022-04-02', test_from='2022-04-03')
    yield case, refusal(home, {'files': log} | more)


def files(home):
  """Yields those of `test_dialect` and `test_csv_refused`."""
  for case, (options, _) in test_dialect.WRONG.items():
    try:
      Dialect(**options)
    except InputError as e:
      yield case, str(e)
  for case in test_csv_refused.WRONG:
    yield case, test_csv_refused.refusal(home, case)


def labels(_):
  """Yields those of `test_labels`: options of labels."""
  for case, (options, _) in test_labels.REFUSED.items():
    try:
      TabularConfig(id='user', **options)
    except InputError as e:
      yield case, str(e)


def cells(_):
  """Yields those of `test_cells`: options of buckets and crosses."""
  for case, (options, _) in test_cells.REFUSED.items():
    try:
      TabularConfig(**options)
    except InputError as e:
      yield case, str(e).replace('*', '\\*')


def frames(home):
  """Yields those of `test_frames`: rows in memory."""
  del home
  names = ['user', 'item', 'tags', 'price']
  for case, (frame, _) in test_frames.REFUSED.items():
    try:
      frame_reader.read(frame(), names, why=inputs.READS)
    except InputError as e:
      yield case, str(e)


def refusal(home, options):
  try:
    test_tabular.prepared(home, **options)
  except InputError as e:
    return str(e)
  raise AssertionError(options)


def main():
  with tempfile.TemporaryDirectory() as home:
    for rows in (command_lines, logs, files, labels, frames, cells):
      print('\n| case | message |\n|---|---|')
      for case, said in rows(pathlib.Path(home)):
        said = said.replace('|', '\\|')
        said = said.replace(f'{home}/', '').replace(f'{ROOT}/', '')
        print(f'| {case} | {said} |')


if __name__ == '__main__':
  main()

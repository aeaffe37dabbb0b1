"""Writes the page of a run or of a sweep: one HTML file with its pictures.

  python -m experiments.report --workdir=runs/esmm
  python -m experiments.report --workdir=runs/table2 --output=table2.html

WORKDIR is the folder of a run or of a sweep; the page is WORKDIR/report.html
unless --output names another file, the pictures are in WORKDIR/plots too. A
part that is missing (an unfinished run, no calibration) is named with the
command that makes it. Where a finished run has no predictions of its test
split, they are computed with its checkpoint and saved; --nopredict leaves that
out. With --output in another folder nothing is written in WORKDIR.

--workdir=a,b,c is the mean of the log-odds of several runs, and so is a sweep
with --row: its page, which needs --output, compares it with its members on the
test split.

The results table of a sweep is that which its command wrote into sweep.json;
--sweep names the file of another one.
"""

from collections.abc import Iterator, Sequence
import contextlib
import os
import tempfile

from absl import flags
from esmm_jax import paths

from esmm_jax.experiments import cli, file_flags, load
from esmm_jax.experiments.console import say, warn

cli.define_data_dir()
file_flags.define_overwrite()
file_flags.define_runs()
_OUTPUT = file_flags.define_path(
    'output', None, 'The HTML file; default: report.html in the workdir.'
)
_SWEEP = file_flags.define_path(
    'sweep', None, 'Table and variant; default: the table in sweep.json.'
)
_PREDICT = flags.DEFINE_bool(
    'predict', True, 'Whether to read data and compute missing predictions.'
)
_RUNS = flags.DEFINE_bool(
    'runs', False, "Of a sweep: writes each begun run's page too."
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax import ownership
  from esmm_jax.reporting.page import parts
  from esmm_jax.sweeps import names

  named = cli.require('workdir', 'runs/esmm')
  workdir = paths.expand(named)
  if flags.FLAGS.row or not os.path.isdir(workdir):
    workdir, *more = folders = file_flags.runs()
    if more:
      _mean(folders)
      return
  output = _OUTPUT.value or os.path.join(workdir, 'report.html')
  file_flags.check_output(output, parts.is_page)
  written = os.path.join(workdir, 'sweep.json')
  is_run = _SWEEP.value is None and not os.path.exists(written)
  if is_run:
    make = lambda folder: _run_page(workdir, folder)
  else:
    make = lambda folder: _sweep_page(workdir, output, folder)
  with _scratch(workdir, output) as folder:
    if not folder:  # Pictures and predictions are written beside the page.
      ownership.check(workdir, ownership.RUN if is_run else ownership.SWEEP)
    with names.as_in(workdir):
      parts.write(make(folder), output)
  say(f'Written: {output}')


def _mean(folders: Sequence[str]) -> None:
  """Writes the page of the mean of several runs, and prints its first table."""
  from esmm_jax.reporting.page import parts

  if not _OUTPUT.value:
    raise cli.UsageError(
        '--output is not set: the mean of several runs has no folder. Name an'
        ' HTML file.'
    )
  for name, is_set in (
      ('--sweep', _SWEEP.value),
      ('--runs', _RUNS.value),
      ('--nopredict', not _PREDICT.value),
  ):
    if is_set:
      raise cli.UsageError(f'{name} is not for the mean of several runs.')
  file_flags.check_output(_OUTPUT.value, parts.is_page)
  import esmm_jax
  from esmm_jax.reporting.grid import pipes
  from esmm_jax.reporting.page import mean_page
  from esmm_jax.serving import run_predictions
  from esmm_jax.sweeps.saved_runs import read_run

  data_dir = flags.FLAGS.data_dir
  predictor = esmm_jax.load(folders, data_dir=data_dir)
  about = predictor.about()
  members = {n: read_run(f) for n, f in zip(about['members'], folders)}
  config = next(iter(members.values())).config
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    path = os.path.join(folder, 'test.parquet')
    results = run_predictions.score_test(predictor, data_dir, path)
    truth = run_predictions.open_truth(config, folders[0], data_dir)
    tasks = predictor.schema.tasks
    page = mean_page.make(members, results, about, path, folder, tasks, truth)
    parts.write(page, _OUTPUT.value)
  say(pipes(mean_page.comparison(results, members)))
  say(f'Written: {_OUTPUT.value}')


@contextlib.contextmanager
def _scratch(workdir: str, output: str) -> Iterator[str]:
  """Yields a folder for what belongs to a page that is elsewhere.

  '' where the page is in the workdir, and its pictures and predictions too. A
  run may be read-only, or not the reader's.
  """
  page = os.path.dirname(output) or '.'
  if os.path.abspath(page) == os.path.abspath(workdir):
    yield ''
    return
  with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    yield folder


def _sweep_page(workdir: str, output: str, scratch: str):
  """Makes the page of a sweep, and with --runs those of its runs.

  The folder may be anybody's, so no file that it names is run: the table is
  data in sweep.json, or in the file that --sweep names.
  """
  from esmm_jax.reporting.page import parts, sweep_page
  from esmm_jax.sweeps import table_json
  from esmm_jax.sweeps.saved_runs import run_folder

  table, spec, why = None, _SWEEP.value or '', ''
  if spec:
    table = load.table(spec)
  else:
    try:
      table, spec = table_json.read(workdir)
    except cli.InputError as e:
      why = f'{e} With --sweep=FILE, its table file, the page has a table.'
      warn(why)
  if _RUNS.value:
    for name in sweep_page.begun(table, workdir):
      folder = run_folder(workdir, name)
      path = os.path.join(folder, 'report.html')
      file_flags.check_output(path, parts.is_page)
      try:
        parts.write(_run_page(folder, ''), path)
      except cli.InputError as e:  # A damaged run is a missing one.
        warn(f'{name} has no page: {e}')
  if table is None:
    return sweep_page.make_without_table(workdir, output, why)
  # The configs that a folder of somebody's names are files of Python.
  configs = load.todays_configs(table, workdir) if _SWEEP.value else None
  return sweep_page.make(table, spec, workdir, output, scratch, configs)


def _run_page(workdir: str, scratch: str):
  from esmm_jax.reporting.page import run_page
  from esmm_jax.sweeps.saved_runs import read_run
  from esmm_jax.types import InputError
  from esmm_jax.workdir import end_note
  from esmm_jax.workdir.folder import predictions_file

  run = read_run(workdir)
  if run.results is not None and (damage := end_note.metrics_damage(workdir)):
    raise InputError(damage)
  truth, why = None, ''
  predictions = predictions_file(workdir)
  is_there = os.path.exists(predictions)
  if scratch and not is_there:
    predictions = os.path.join(scratch, 'test.parquet')
  if run.config is None:
    pass  # The page says so.
  elif run.results is None:
    why = 'The test split is predicted when the run is finished.'
  elif not _PREDICT.value:
    why = 'There are no predictions, and --nopredict was given.'
  else:
    from esmm_jax.serving import run_predictions

    data_dir = flags.FLAGS.data_dir
    try:
      if not is_there:
        run_predictions.predict_test(workdir, data_dir, predictions)
        is_there = True
      if 'test/cvr_entire/auc' in run.results:
        truth = run_predictions.open_truth(run.config, workdir, data_dir)
    except InputError as e:
      lack = 'truth is not shown' if is_there else (
          'test split was not predicted')
      why = f'The {lack}: {e}'
      warn(why)
  return run_page.make(workdir, truth, why, scratch, predictions)


if __name__ == '__main__':
  cli.run(main)

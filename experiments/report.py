"""Writes the page of a run or of a sweep: one HTML file with its pictures.

  python -m experiments.report --workdir=runs/esmm
  python -m experiments.report --workdir=runs/table2 --output=table2.html

WORKDIR is the folder of a run or of a sweep; the page is WORKDIR/report.html
unless --output names another file, the pictures are in WORKDIR/plots too. A
part that is missing (an unfinished run, no calibration) is named with the
command that makes it. Where a finished run has no predictions of its test
split, they are computed with its checkpoint and saved; --nopredict leaves that
out.
"""

import os
import sys

from absl import flags

from experiments import cli, file_flags, load

cli.define_data_dir()
_WORKDIR = file_flags.define_path('workdir', None, 'Of a run or of a sweep.')
_OUTPUT = file_flags.define_path(
    'output', None, 'The HTML file; default: report.html in the workdir.'
)
_SWEEP = file_flags.define_path(
    'sweep', None, 'Table file and variant; default: that of the sweep.'
)
_PREDICT = flags.DEFINE_bool(
    'predict', True, 'Whether to read data and compute missing predictions.'
)
_RUNS = flags.DEFINE_bool(
    'runs', False, "Of a sweep: writes each begun run's page too."
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.json_files import read_json
  from esmm_jax.reporting.page import parts, sweep_page
  from esmm_jax.sweeps.saved_runs import run_folder
  from esmm_jax.types import InputError

  workdir = cli.require('workdir', 'runs/esmm')
  output = _OUTPUT.value or os.path.join(workdir, 'report.html')
  sweep = read_json(os.path.join(workdir, 'sweep.json'))
  if sweep is None and _SWEEP.value is None:
    page = _run_page(workdir)
  else:
    spec = _SWEEP.value or sweep['sweep']
    table = load.table(spec)
    if _RUNS.value:
      for name in sweep_page.begun(table, workdir):
        folder = run_folder(workdir, name)
        try:
          parts.write(_run_page(folder), os.path.join(folder, 'report.html'))
        except InputError as e:  # A damaged run is a missing one.
          print(f'warning: {name} has no page: {e}', file=sys.stderr)
    page = sweep_page.make(
        table, spec, workdir, output, load.todays_configs(table, workdir)
    )
  parts.write(page, output)
  print(f'Written: {output}')


def _run_page(workdir: str):
  from esmm_jax.reporting.page import run_page
  from esmm_jax.sweeps.saved_runs import read_run
  from esmm_jax.types import InputError
  from esmm_jax.workdir import ended
  from esmm_jax.workdir.folder import predictions_file

  run = read_run(workdir)
  if run.results is not None and (damage := ended.metrics_damage(workdir)):
    raise InputError(damage)
  truth, why = None, ''
  predictions = predictions_file(workdir)
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
      if not os.path.exists(predictions):
        run_predictions.predict_test(workdir, data_dir)
      if 'test/cvr_entire/auc' in run.results:
        truth = run_predictions.open_truth(run.config, workdir, data_dir)
    except InputError as e:
      predicted_before = os.path.exists(predictions)
      lack = 'truth is not shown' if predicted_before else (
          'test split was not predicted')
      why = f'The {lack}: {e}'
      print(f'warning: {why}', file=sys.stderr)
  return run_page.make(workdir, truth, why)


if __name__ == '__main__':
  cli.run(main)

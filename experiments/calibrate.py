"""Calibrates a finished run: Platt and isotonic, per task.

  python -m experiments.calibrate --workdir=runs/esmm

Fitted on the validation split only, each task on its own sample space, and kept
in WORKDIR/calibration.json with log loss, calibration, ECE and AUC on the test
split before and after. experiments.predict uses it on request: --calibrated.
"""

from absl import flags

from esmm_jax.experiments import cli, console, file_flags

file_flags.define_runs()
cli.define_data_dir()
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax import ownership
  from esmm_jax.serving.calibrate import calibrate, table

  cli.require('workdir', 'runs/esmm')
  workdir, *more = file_flags.runs()
  if more:
    raise cli.InputError(
        'a calibration belongs to one run, but --workdir names'
        f' {1 + len(more)};'
        ' their mean has no folder to hold one. Name one of them.'
    )
  ownership.check(workdir, ownership.RUN)
  fitted = calibrate(workdir, flags.FLAGS.data_dir)
  console.say(
      f'{workdir}/calibration.json: fitted on the validation split, rows of'
  )
  counts = (f'{task} {num:,}' for task, num in fitted['rows'].items())
  console.say(', '.join(counts))
  print('On the test split:')
  console.say(table(fitted))


if __name__ == '__main__':
  cli.run(main)

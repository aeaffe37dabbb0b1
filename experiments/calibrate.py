"""Calibrates a finished run: Platt and isotonic, per task.

  python -m experiments.calibrate --workdir=runs/esmm

Fitted on the validation split only, each task on its own sample space, and kept
in WORKDIR/calibration.json with log loss, calibration, ECE and AUC on the test
split before and after. experiments.predict uses it on request: --calibrated.
"""

import os

from absl import flags

from experiments import cli

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of a finished run.')
cli.define_data_dir()
flags.adopt_module_key_flags(cli)


def main() -> None:
  import esmm_jax
  from esmm_jax import build, predict
  from esmm_jax.serving import calibration
  from esmm_jax.writer import write_json

  workdir = cli.require('workdir', 'runs/esmm')
  predictor = esmm_jax.load(workdir, data_dir=flags.FLAGS.data_dir)
  dataset, tasks = predictor.config.dataset, predictor.schema.tasks
  for name in ('valid_split', 'test_split'):
    if not dataset[name]:
      raise cli.InputError(
          f'{workdir} was trained with dataset.{name}={dataset[name]!r};'
          ' calibration is fitted on a validation split and looked at on a test'
          ' split. Train with both.'
      )
  builder = build.dataset(dataset, flags.FLAGS.data_dir)

  def seen(split):
    outputs = predictor.split_outputs(builder, split)
    return outputs, predict.observe(builder, split, tasks)

  entries, rows = calibration.fit(*seen(dataset.valid_split))
  found = {
      'version': calibration.VERSION,
      'fitted_on': 'valid',
      'rows': rows,
      'tasks': entries,
      'test': calibration.compare(entries, *seen(dataset.test_split)),
  }
  path = os.path.join(workdir, calibration.NAME)
  write_json(path, found)
  print(f'{path}: fitted on the validation split; on the test split')
  print(table(found))


def table(found) -> str:
  """What the test split says before and after, as Markdown."""
  from esmm_jax.serving.calibration import SHOWN

  lines = [
      f'| task | calibrated | {" | ".join(SHOWN)} |',
      '|---' * (2 + len(SHOWN)) + '|',
  ]
  for task, kinds in found['test'].items():
    for kind, metrics in kinds.items():
      values = ' | '.join(f'{metrics[name]:.5f}' for name in SHOWN)
      lines.append(f'| {task} | {kind} | {values} |')
  return '\n'.join(lines)


if __name__ == '__main__':
  cli.run(main)

"""ESMM and the click-space model side by side on the simulated funnel.

  python -m experiments.demo --workdir=demo

Both have the same network, data order and initialisation; they differ in the
sample space that CVR is trained on. The simulator knows the true CVR of every
impression, clicked or not, so the table and the figure show what no log can:
the error of the predicted CVR where nobody clicks.
"""

import os

from absl import flags
from esmm_jax.entry import commands

from esmm_jax.experiments import cli, console, file_flags

cli.define_data_dir()
_WORKDIR = file_flags.define_path(
    'workdir', 'demo', 'Gets the runs and the plot.'
)
_TRAIN = flags.DEFINE_string('train_split', 'train[:50%]', 'Rows to train on.')
_TEST = flags.DEFINE_string('test_split', 'test[:40%]', 'Rows to test on.')
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.configs import esmm
  from esmm_jax import ownership
  from esmm_jax.training import parts
  from esmm_jax.reporting import plots
  from esmm_jax.metrics.by_space import oracle_metrics
  from esmm_jax.training.predict import observe
  from esmm_jax.training.loop import train_and_evaluate

  ownership.claim(_WORKDIR.value, ownership.DEMO)
  runs = {}
  for name, estimator in (
      ('ESMM', 'entire_space'),
      ('click space', 'click_space'),
  ):
    config = esmm.get_config()
    config.estimator = estimator
    config.evals_per_epoch = 1  # As in the picture of README.md.
    config.dataset.train_split = _TRAIN.value
    config.dataset.test_split = _TEST.value
    workdir = os.path.join(_WORKDIR.value, estimator)
    start = commands.adapted(
        'python -m experiments.train --config=configs/esmm.py'
    )
    print(f'{name}: {start} --config.estimator={estimator} ...'
          f' --workdir={workdir}')
    runs[name] = train_and_evaluate(config, workdir, flags.FLAGS.data_dir)
  builder = parts.dataset(config.dataset, flags.FLAGS.data_dir)
  oracle = oracle_metrics(observe(builder, _TEST.value))
  console.print_results(
      runs | {'truth': {f'test/{k}': v for k, v in oracle.items()}}
  )
  path = os.path.join(_WORKDIR.value, 'cvr_by_ctr_decile.png')
  plots.cvr_by_ctr_decile(
      runs, path, 'CVR over all impressions: predicted over true'
  )
  print(
      'cvr_entire is over all impressions against the true probabilities;'
      ' ratio is mean\npredicted over mean true CVR, 1 for a model without'
      f' selection bias. Figure: {path}'
  )


if __name__ == '__main__':
  cli.run(main)

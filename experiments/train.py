"""Trains and evaluates one run.

  python -m experiments.train --config=configs/esmm.py:smoke --workdir=runs/s

--config=FILE[:variant] names the config, --config.key=value changes a key of
it. The run's folder gets config.json, metrics.jsonl, results.json, checkpoints/
and tensorboard/. The same command again goes on where it stopped.
"""

import os

from absl import flags

from experiments import cli

cli.define_config()
cli.define_data_dir()
_WORKDIR = flags.DEFINE_string(
    'workdir', None, 'Folder of the run; the same command again goes on.'
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  from esmm_jax.train import train_and_evaluate

  config = cli.require('config', 'configs/esmm.py:smoke')
  workdir = cli.require('workdir', 'runs/esmm')
  done = os.path.exists(os.path.join(workdir, 'results.json'))
  results = train_and_evaluate(config, workdir, flags.FLAGS.data_dir)
  if done:
    print(f'This run was finished before; {workdir}/results.json says:')
  cli.print_results({os.path.basename(os.path.normpath(workdir)): results})


if __name__ == '__main__':
  cli.run(main)

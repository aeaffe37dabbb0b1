"""Trains and evaluates one run.

  python -m experiments.train --config=configs/esmm.py:smoke --workdir=runs/s

--config=FILE[:variant] names the config, --config.key=value changes a key of
it. The run's folder gets config.json, metrics.jsonl, results.json, checkpoints/
and tensorboard/. The same command again goes on where it stopped.
"""

import os
import shlex
import sys

from absl import flags
from esmm_jax.types import InputError

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
  mine = not done
  try:
    results = train_and_evaluate(config, workdir, flags.FLAGS.data_dir)
  except InputError:
    mine = False  # The folder may be another run's.
    raise
  finally:
    if mine:
      _note_origin(workdir)
  if done:
    print(f'This run was finished before; {workdir}/results.json says:')
  cli.print_results({os.path.basename(os.path.normpath(workdir)): results})
  print(f'Next: python -m experiments.report --workdir={shlex.quote(workdir)}')


def _note_origin(workdir: str) -> None:
  """Writes what made a run that has begun, for its report."""
  from esmm_jax import provenance
  from esmm_jax.results import read_json
  from esmm_jax.writer import write_json

  manifest = read_json(os.path.join(workdir, 'manifest.json'))
  if manifest is None:
    return
  path = os.path.join(workdir, 'origin.json')
  entries = read_json(path) or []
  entry = {
      'command': cli.command(sys.argv),
      'commit': provenance.commit(),
      'device': provenance.device(),
      'data': manifest['data'],
  }
  if not entries or entries[-1] != entry:
    write_json(path, [*entries, entry])


if __name__ == '__main__':
  cli.run(main)

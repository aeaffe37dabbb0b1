"""Searches for the keys of a config that are best on the validation split.

  python -m experiments.tune --config=configs/esmm.py:smoke \
    --space=learning_rate=log:1e-4:1e-1 --trials=8 --workdir=runs/tune

--space=KEY=LOW:HIGH is a range, KEY=log:LOW:HIGH one on a log scale and
KEY=[VALUE, VALUE] a list, as model.dropout=0:.5 and
'model.tower_units=[(64, 32), (128, 64)]'; any number of times, or the name of a
file with such lines. Needs Optuna: pip install 'esmm_jax[tune]'.

Trials are compared by selection.metric of the config, at the best evaluation of
each. No trial has a test split. At its end the search prints the command that
trains the best one and tests it, once.

--replicas trials are asked for at once. Those that share shapes and data order
(docs/sweeps.md has the keys in which they may differ) are trained side by side.
--prune=median ends a trial that is worse at an evaluation than the median of
those before it; more evaluations (--config.evals_per_epoch) end it earlier.

The same command again resumes where it stopped, with the same trials. --trials
may grow; another space, sampler or seed needs another folder. trials.csv has a
line for each trial, WORKDIR/runs the runs.
"""

import csv
import io
import os
from typing import Any

from absl import flags
from esmm_jax.types import InputError

from esmm_jax.experiments import cli, console, file_flags

cli.define_config()
cli.define_data_dir()
file_flags.define_engine()
file_flags.define_tracking()
_WORKDIR = file_flags.define_path('workdir', None, 'Gets the trials.')
_SPACE = flags.DEFINE_multi_string(
    'space', None, 'KEY=RANGE or KEY=LIST, or a file of them; repeatable.'
)
_TRIALS = flags.DEFINE_integer(
    'trials', 20, 'Trials in all.', lower_bound=1, upper_bound=100_000
)
_SAMPLER = flags.DEFINE_enum(
    'sampler', 'tpe', ['tpe', 'random'], 'How values are drawn.'
)
_PRUNE = flags.DEFINE_enum(
    'prune', 'median', ['median', 'none'], 'What ends a trial early.'
)
_SEED = flags.DEFINE_integer(
    'seed', 0, 'Of the sampler.', lower_bound=0, upper_bound=2**32 - 1
)
_REPLICAS = flags.DEFINE_integer(
    'replicas',
    4,
    'Trials that are asked for at once, before any of them is known.',
    lower_bound=1,
    upper_bound=1024,
)
flags.adopt_module_key_flags(cli)


def main() -> None:
  config = cli.require('config', 'configs/esmm.py:smoke')
  cli.require('space', 'learning_rate=log:1e-4:1e-1')
  workdir = cli.require('workdir', 'runs/tune')
  from esmm_jax.sweeps import names
  from esmm_jax.workdir.mirrors import choice as mirrors

  mirrors.refuse_remote(workdir)
  with names.as_in(workdir), file_flags.tracking(workdir):
    _run(config, workdir)


def _run(config: Any, workdir: str) -> None:
  """Trains the trials and says which is best."""
  from esmm_jax import ownership
  from esmm_jax.tuning.search import Search
  from esmm_jax.experiments.sweeping import searches, trials

  data_dir = flags.FLAGS.data_dir
  spec, keys = cli.config_spec(), cli.set_keys()
  design = searches.design(config, spec, keys, _SPACE.value, data_dir)
  how = _SAMPLER.value, _PRUNE.value, _SEED.value
  search = Search(design.space, design.mode, *how)
  ownership.check(workdir, ownership.SWEEP)
  ownership.claim(workdir, ownership.SWEEP)
  cli.make_folder('workdir', workdir, 'failed')
  searches.settle(_asked(design), workdir)
  command = cli.command(cli.typed())
  work = trials.Trials(design, search, workdir, command, data_dir)
  with file_flags.engine():
    while left := _TRIALS.value - len(work.all):
      work.train(min(left, _REPLICAS.value))
      _write(work.all, design.metric, search, workdir)
  if search.best is None:
    raise InputError(
        f'No trial of {len(work.all)} is complete; see {workdir}/trials.csv.'
    )
  best = work.all[search.best]
  console.say(f'Written: {workdir}/trials.csv')
  console.say('The best trial, trained and tested once:')
  target = os.path.join(workdir, 'best')
  console.say('  ' + design.command(best.params, target, data_dir))


def _asked(design: Any) -> dict[str, Any]:
  """Returns what has to be the same when the search goes on."""
  keys = {k: v for k, v in design.keys.items() if k not in design.machine}
  return {
      'config': design.spec,
      'keys': keys,
      'space': [str(d) for d in design.space],
      'metric': design.metric,
      'mode': design.mode,
      'sampler': _SAMPLER.value,
      'prune': _PRUNE.value,
      'seed': _SEED.value,
      'replicas': _REPLICAS.value,
  }


def _write(all_trials: Any, metric: str, search: Any, workdir: str) -> None:
  """Writes trials.csv."""
  from esmm_jax.whole_files import write_text

  out = io.StringIO()
  keys = list(all_trials[0].params)
  lines = csv.writer(out, lineterminator='\n')
  lines.writerow(
      ['trial', 'state', metric, 'evaluations', *keys, 'run', 'error']
  )
  for t in all_trials:
    value = search.values.get(t.number, '')
    values = [t.params[key] for key in keys]
    lines.writerow(
        [t.number, t.state, value, len(t.values), *values, t.name, t.why]
    )
  write_text(os.path.join(workdir, 'trials.csv'), out.getvalue())


if __name__ == '__main__':
  cli.run(main)

"""Makes one page on the seesaw of a config: what its tasks cost each other.

  python -m experiments.seesaw --config=configs/esmm.py:smoke \
    --workdir=runs/seesaw

For any data set, your own log too (--config=my_log.py:esmm). Trains, at every
seed, single-task models, the config as it is, static weights of two losses at
several ratios, and methods of balancing, each beside its replay: a run whose
constant weights are the mean of those that the method took. WORKDIR/seesaw.html
shows the front of the weights, what lies beyond it, gains and their
significance, the ratio and the conflicts along training, the AUC of both tasks
by step, calibration and cost; seesaw.csv and seesaw.json have the numbers.

--tasks names the two losses that are weighed, by default the first and the last
one that the config trains; --scores names the two spaces whose AUC they are
judged by, by default what each task adds (that of ctcvr is cvr_clicked).
--methods=pcgrad,cagrad:c=.2 names the methods and their options, 'all' takes
every one and '' none. The variants `smoke` have fewer of everything by default,
for a minute. The laboratory sets seed and evals_per_epoch.

The same command again resumes where it stopped; with more seeds, ratios or
methods it trains what is not there yet. The runs are in WORKDIR/runs. Static
weights are replicas of one program, up to --replicas of them.
"""

from collections.abc import Mapping
import dataclasses
import os
from typing import Any

from absl import flags

from esmm_jax.experiments import cli, console, file_flags, load
from esmm_jax.experiments.sweeping import checks, failures, plans, runs, seesaws

cli.define_config()
cli.define_data_dir()
file_flags.define_engine()
_WORKDIR = file_flags.define_path('workdir', None, 'Gets runs and page.')
_TASKS = flags.DEFINE_string('tasks', '', 'Two losses, as ctr,ctcvr.')
_SCORES = flags.DEFINE_string('scores', '', 'Two spaces, as ctr,cvr_entire.')
_METHODS = flags.DEFINE_string(
    'methods', None, "Methods with options, as pcgrad,cagrad:c=.2; 'all'; ''."
)
_RATIOS = flags.DEFINE_string(
    'ratios', None, 'Weights of the first loss over the second, as .25,1,4.'
)
_SEEDS = flags.DEFINE_integer(
    'seeds', None, 'Number of seeds, from 0 on.', lower_bound=1
)
_EVALS = flags.DEFINE_integer(
    'evals', None, 'Evaluations of a run, at least.', lower_bound=1
)
_SINGLE = file_flags.define_path(
    'single', '', 'Config file and variant of the single-task models.'
)
_REPLICAS = flags.DEFINE_integer(
    'replicas', 16, 'Most runs that are trained side by side; 1: each alone.'
)
_TRAIN = flags.DEFINE_bool(
    'train', True, 'Whether to train; else the page is of what is finished.'
)
flags.adopt_module_key_flags(cli)

# Flag -> its default for a whole data set, and for a variant `smoke`.
_DEFAULTS = {
    'methods': (('pcgrad', 'cagrad', 'imtl_g', 'uncertainty'), ('pcgrad',)),
    'ratios': ('.125,.25,.5,1,2,4,8,16,32', '.125,1,8'),
    'seeds': (5, 2),
    'evals': (8, 6),
}


def main() -> None:
  config = cli.require('config', 'configs/esmm.py:smoke')
  workdir = cli.require('workdir', 'runs/seesaw')
  from esmm_jax.sweeps import names

  with names.as_in(workdir):
    _run(config, workdir)


def _run(config: Any, workdir: str) -> None:
  """Trains the runs and writes the page."""
  from esmm_jax import ownership
  from esmm_jax.sweeps import seesaw

  keys = cli.set_keys()
  seesaws.check_keys(keys)
  spec = cli.config_spec()
  options = _options(spec)
  design = seesaws.design(config, spec, keys, options, flags.FLAGS.data_dir)
  tables = seesaw.tables(design, *_about(spec, design))
  ownership.check(workdir, ownership.SWEEP)
  plan = _plan(tables.front, config, workdir)
  for error in plan.wrong.values():
    raise error
  failed: Mapping[str, Exception] = {}
  if _TRAIN.value:
    with file_flags.engine():
      failed = _train(plan, workdir)
  _write_page(design, tables, plan, workdir)
  failures.require_none(failed, len(plan.names), workdir)


def _options(spec: str) -> dict[str, Any]:
  """Returns the flags, with the defaults of the variant."""
  is_small = spec.partition(':')[2].endswith('smoke')
  options = {n: flags.FLAGS[n].value for n in ('tasks', 'scores', 'single')}
  for name, defaults in _DEFAULTS.items():
    value = flags.FLAGS[name].value
    options[name] = defaults[is_small] if value is None else value
  if not isinstance(options['methods'], str):
    names = seesaws.method_names()
    options['methods'] = ','.join(m for m in options['methods'] if m in names)
  return options


def _about(spec: str, design: Any) -> tuple[str, str]:
  """Returns title and explanation of the page."""
  first, second = design.terms
  return f'Seesaw of {first} and {second}', (
      f'{spec}: ratio is the weight of the loss {first} over that of {second};'
      f' their sum stays {sum(design.weights):g}, as the config has it. Scores'
      ' are AUC on the test split, mean ± standard deviation over seeds, with'
      ' the parameters that the config selects. single_task is a network for'
      ' each task, conversions trained on clicked rows. A replay has the mean'
      ' of the weights that its method took.'
  )


def _plan(table: Any, config: Any, workdir: str) -> plans.Plan:
  """Makes the configs and the groups of runs."""
  from esmm_jax.sweeps import seesaw
  from esmm_jax.sweeps.points import run_name

  machine = seesaws.machine_keys(config)

  def change(configs):
    for tree in configs.values():
      for key, value in machine.items():
        if load.has_key(tree, key):
          load.set_key(tree, key, value)

  plan = plans.make(table, workdir, _REPLICAS.value, change)
  # By itself, as each method is: its examples/s are what theirs cost.
  alone = {
      run_name(p) for p in table.points if p[seesaw.ARM] == seesaw.CONFIG
  }
  groups = [
      part
      for group in plan.groups
      for part in (
          *([name] for name in group if name in alone),
          [name for name in group if name not in alone],
      )
      if part
  ]
  return dataclasses.replace(plan, groups=groups)


def _train(plan: plans.Plan, workdir: str) -> Mapping[str, Exception]:
  """Trains what is not finished; returns run -> its error."""
  from esmm_jax import ownership
  from esmm_jax.sweeps.saved_runs import find_run

  data_dir = flags.FLAGS.data_dir
  finished = [find_run(workdir, n).results is not None for n in plan.names]
  for error in checks.check(plan, workdir, data_dir).values():
    raise error  # Without one arm the page is not what was asked for.
  checks.check_data(plan, workdir, data_dir)
  if all(finished):
    console.say(f'All {len(finished)} runs are finished.')
    return {}
  ownership.claim(workdir, ownership.SWEEP)
  cli.make_folder('workdir', workdir, 'failed')
  command = cli.command(cli.typed())
  plans.write_table(command, plan, workdir, [])
  return runs.train(plan, workdir, command, data_dir, {})


def _write_page(
    design: Any, tables: Any, plan: plans.Plan, workdir: str
) -> None:
  """Writes the page and the files of its numbers."""
  from esmm_jax.reporting import text
  from esmm_jax.reporting.page import parts
  from esmm_jax.reporting.seesaw import page
  from esmm_jax.json_files import write_json
  from esmm_jax.whole_files import write_text
  from esmm_jax.workdir import folder

  configs = {
      name: folder.decisive(folder.record(tree))
      for name, tree in plan.configs.items()
  }
  command = cli.command(cli.typed())
  made = page.make(design, tables, workdir, command, configs)
  path = os.path.join(workdir, 'seesaw.html')
  scores = text.to_csv(tables.front, made.blocks)
  write_text(os.path.join(workdir, 'seesaw.csv'), scores)
  write_json(os.path.join(workdir, 'seesaw.json'), made.numbers)
  parts.write(made.page, path)
  for line in made.says:
    console.say(line)
  console.say(f'Written: {path}')


if __name__ == '__main__':
  cli.run(main)

"""Wrong values for every key of every config, and what becomes of each.

  python -m tests.configs.config_fuzz [CONFIG ...] > refused.md

prints a table of the keys with what they refuse and in which words.
"""

import functools
import math
import os
import sys
import tempfile

from esmm_jax.protocols import use as protocols
from esmm_jax.training import parts, program as programs
from esmm_jax.training.predict import SplitPredictor
from esmm_jax.training.replica_run import Run
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import init_state
from esmm_jax.training.step import train_step
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten
from experiments import load
import jax

from tests import ROOT

WRONG = {
    int: (-1, 0, 2**31, 10**12),
    float: (-1.0, 0.0, math.nan, math.inf, 1e300),
    str: ('', 'nonsense', 'a\nb', 'ü', '../x'),
    tuple: ((), (0,), (-1,), ('x',), (1.5,), (10**9,)),
    bool: (),
}
# Keys of which ten billion rows would be made.
SIZES = ('dataset.num_train', 'dataset.num_valid', 'dataset.num_test')
CONFIGS = sorted(
    path.name
    for path in (ROOT / 'configs').glob('*.py')
    # Parts that configs share have no config of their own.
    if 'def get_config' in path.read_text('utf-8')
)


def config(name):
  """The smoke variant, smaller still."""
  tree = load.config(os.path.join(ROOT, 'configs', f'{name}:smoke'))
  small = dict.fromkeys(SIZES, 1000) | {'batch_size': 512}
  for key, value in (small | {'eval_batch_size': 512}).items():
    load.set_key(tree, key, value)
  return tree


def cases(name):
  """Of a config all (key, wrong value), each of its key's type."""
  tree = config(name)
  for key in flatten(tree.to_dict()):
    section, _, last = key.rpartition('.')
    kind = (tree[section] if section else tree).get_type(last)
    for value in WRONG[kind]:
      if key not in SIZES or value < 1e6:
        yield key, value


def outcome(name, key, value, data_dir):
  """The words with which a value is refused, or None.

  A value is not refused if the run's parts can be built and a step of them
  traced; any error but an InputError is a fault of ours.
  """
  tree = config(name)
  try:
    load.set_key(tree, key, value)
    with tempfile.TemporaryDirectory() as folder:
      begin(protocols.resolve(tree), folder, data_dir)
  except InputError as e:
    return str(e)
  return None


def begin(tree, folder, data_dir):
  """All that `train_and_evaluate` does before it compiles."""
  settings = Settings.read(tree)
  program = programs.program([settings], data_dir)
  splits = parts.eval_splits(settings.dataset, program.builder)
  Run(settings, {}, folder, 'valid' in splits, program.schema.tasks)
  predictor = SplitPredictor(program, settings.run.eval_batch_size)
  for split in splits.values():
    predictor.split(split)
  example = program.batches(0)
  state = jax.eval_shape(functools.partial(
      init_state, program.plan, num_rows=program.schema.num_rows,
      embed_dim=settings.model.embed_dim,
      seeds=[settings.training.first_seed], example=example,
      term_names=list(program.hyper.loss_weights),
      embed_scale=settings.table.embed_init_scale))
  step = functools.partial(train_step, plan=program.plan)
  jax.eval_shape(step, state, example, program.hyper)


def main(names):
  seen = set()
  with tempfile.TemporaryDirectory() as data_dir:
    print('| key | values that are refused | in these words |\n|---|---|---|')
    for name in names or CONFIGS:
      found = {}
      for key, value in cases(name):
        words = key not in seen and outcome(name, key, value, data_dir)
        if words:
          found.setdefault(key, []).append((value, words))
      for key, refused in found.items():
        values = ', '.join(f'`{value!r}`' for value, _ in refused)
        words = refused[0][1].replace('|', '\\|').replace('\n', ' ')
        print(f'| {key} | {values} | {words} |')
      seen |= {key for key, _ in cases(name)}


if __name__ == '__main__':
  main(sys.argv[1:])

"""Who may import whom, read from the source of every module."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NUMERIC = ['numpy', 'scipy']
JAX = ['jax', 'numpy']
# What every layer may know.
LAYERS = [
    'esmm_jax.json_files',
    'esmm_jax.schema',
    'esmm_jax.tasks',
    'esmm_jax.types',
]
OWN = ('esmm_jax', 'configs', 'experiments', 'tests')

# Module or package -> what it may import of the project, and of other packages
# (None: anything). The first line that fits counts. `x` stands for x and all
# that is in it.
RULES = [
    ('esmm_jax.types', [], ['numpy']),
    ('esmm_jax.json_files', ['esmm_jax.types'], ['numpy']),
    ('esmm_jax.tasks', ['esmm_jax.types'], []),
    ('esmm_jax.schema', ['esmm_jax.tasks', 'esmm_jax.types'], []),
    ('esmm_jax.data.row_files', ['esmm_jax.types'], ['fsspec', 'pyarrow']),
    (
        'esmm_jax.data',
        ['esmm_jax.data', *LAYERS],
        # TensorFlow only inside the function that needs it; see below.
        [
            *NUMERIC, 'numba', 'pyarrow', 'tensorflow', 'tensorflow_datasets',
            'tqdm',
        ],
    ),
    (
        'esmm_jax.models',
        ['esmm_jax.models', *LAYERS],
        [*JAX, 'flax'],
    ),
    (
        'esmm_jax.estimators',
        ['esmm_jax.estimators', 'esmm_jax.tasks', 'esmm_jax.types'],
        JAX,
    ),
    ('esmm_jax.balancing', ['esmm_jax.types'], JAX),
    ('esmm_jax.sampling', ['esmm_jax.types'], JAX),
    ('esmm_jax.table_rows', ['esmm_jax.types'], JAX),
    (
        'esmm_jax.optim',
        ['esmm_jax.table_rows', 'esmm_jax.types'],
        [*JAX, 'optax'],
    ),
    ('esmm_jax.sharding', ['esmm_jax.types'], JAX),
    (
        'esmm_jax.gathering',
        ['esmm_jax.data.whole', 'esmm_jax.types'],
        JAX,
    ),
    (
        'esmm_jax.feeding',
        [
            'esmm_jax.data',
            'esmm_jax.gathering',
            'esmm_jax.sharding',
            'esmm_jax.train_state',
            'esmm_jax.train_step',
            'esmm_jax.types',
        ],
        JAX,
    ),
    ('esmm_jax.metrics', ['esmm_jax.metrics', 'esmm_jax.types'], NUMERIC),
    (
        'esmm_jax.evaluate',
        ['esmm_jax.metrics', 'esmm_jax.tasks', 'esmm_jax.types'],
        NUMERIC,
    ),
    (
        'esmm_jax.protocols.scoring',
        ['esmm_jax.metrics', 'esmm_jax.protocols', 'esmm_jax.types'],
        [],
    ),
    ('esmm_jax.protocols', ['esmm_jax.protocols', 'esmm_jax.types'], []),
    ('esmm_jax.sweep', ['esmm_jax.types'], []),
    ('esmm_jax.table_checks', ['esmm_jax.sweep', 'esmm_jax.types'], []),
    ('esmm_jax.choice', ['esmm_jax.metrics.significance'], []),
    (
        'esmm_jax.test_noise',
        [
            'esmm_jax.metrics.significance',
            'esmm_jax.types',
            'esmm_jax.workdir',
        ],
        ['numpy', 'pyarrow'],
    ),
    (
        'esmm_jax.results',
        [
            'esmm_jax.choice',
            'esmm_jax.json_files',
            'esmm_jax.metrics.significance',
            'esmm_jax.sweep',
            'esmm_jax.table_checks',
            'esmm_jax.test_noise',
            'esmm_jax.types',
            'esmm_jax.workdir',
        ],
        [],
    ),
    ('esmm_jax.replicas', ['esmm_jax.types'], []),
    (
        'esmm_jax.plots',
        ['esmm_jax.metrics', 'esmm_jax.plots', 'esmm_jax.types'],
        [*NUMERIC, 'matplotlib'],
    ),
    (
        'esmm_jax.serving.inputs',
        ['esmm_jax.data', *LAYERS],
        ['numpy', 'pyarrow'],
    ),
    ('esmm_jax.grid', [], []),
    (
        'esmm_jax.gain_grid',
        ['esmm_jax.grid', 'esmm_jax.results', 'esmm_jax.table_checks'],
        [],
    ),
    (
        'esmm_jax.front_grid',
        [
            'esmm_jax.grid',
            'esmm_jax.metrics.fronts',
            'esmm_jax.results',
            'esmm_jax.table_checks',
        ],
        ['numpy'],
    ),
    (
        'esmm_jax.figures',
        [
            'esmm_jax.front_grid',
            'esmm_jax.grid',
            'esmm_jax.plots',
            'esmm_jax.results',
            'esmm_jax.table_checks',
            'esmm_jax.types',
        ],
        ['numpy'],
    ),
    (
        'esmm_jax.report',
        [
            'esmm_jax.front_grid',
            'esmm_jax.gain_grid',
            'esmm_jax.grid',
            'esmm_jax.metrics.significance',
            'esmm_jax.results',
            'esmm_jax.table_checks',
        ],
        [],
    ),
    ('esmm_jax.page.predicted', ['esmm_jax'], None),
    (
        'esmm_jax.page',
        [
            'esmm_jax.figures',
            'esmm_jax.grid',
            'esmm_jax.json_files',
            'esmm_jax.metrics',
            'esmm_jax.page',
            'esmm_jax.plots',
            'esmm_jax.report',
            'esmm_jax.results',
            'esmm_jax.sweep',
            'esmm_jax.table_checks',
            'esmm_jax.tasks',
            'esmm_jax.types',
            'esmm_jax.workdir',
        ],
        [*NUMERIC, 'jinja2', 'pyarrow'],
    ),
    ('esmm_jax', ['esmm_jax'], None),
    (
        'configs',
        [
            'configs',
            'esmm_jax.protocols',
            'esmm_jax.sweep',
            'esmm_jax.table_checks',
        ],
        ['ml_collections'],
    ),
    ('experiments', ['configs', 'esmm_jax', 'experiments'], None),
]
# Only these may import what stands on the left.
ONLY = [
    ('esmm_jax.train', ['experiments']),
    ('experiments', ['experiments']),
    ('tests', []),
    ('absl.flags', ['experiments']),
    ('absl.app', ['experiments']),
    ('tensorflow', ['esmm_jax.data.columnar']),
]


def within(name, packages):
  return any(name == p or name.startswith(p + '.') for p in packages)


def imports(source):
  """(name, whether at module level) of all imports, those of functions too.

  `from a import b` counts as a.b: b may be a module.
  """
  tree = ast.parse(source)
  found = []
  for node in ast.walk(tree):
    top = node in tree.body
    if isinstance(node, ast.Import):
      found += [(alias.name, top) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      assert not node.level, 'relative import'
      found += [(f'{node.module}.{a.name}', top) for a in node.names]
  return found


def modules():
  """Module name -> path, of the project without its tests."""
  found = {}
  for package in ('esmm_jax', 'configs', 'experiments'):
    for path in sorted((ROOT / package).rglob('*.py')):
      parts = path.relative_to(ROOT).with_suffix('').parts
      parts = parts[:-1] if parts[-1] == '__init__' else parts
      found['.'.join(parts)] = path
  return found


def violations(module, source):
  """One text for each import that the rules do not allow."""
  own, others = next(
      (own, others) for name, own, others in RULES if within(module, [name])
  )
  bad = []
  for name, top in imports(source):
    if within(name, OWN):
      allowed = within(name, own)
    else:
      allowed = (
          others is None
          or within(name, others)
          or name.split('.')[0] in sys.stdlib_module_names
      )
    if not allowed:
      bad.append(f'{module} may not import {name}')
    for what, importers in ONLY:
      if within(name, [what]) and not within(module, importers):
        bad.append(f'only {importers} may import {what}, not {module}')
    if within(name, ['tensorflow']) and top:
      bad.append(f'{module} imports {name} outside a function')
  return bad


@pytest.mark.parametrize('module', modules())
def test_imports(module):
  source = modules()[module].read_text('utf-8')
  assert violations(module, source) == []


def test_there_are_modules():
  assert {
      'esmm_jax', 'esmm_jax.types', 'esmm_jax.train', 'esmm_jax.data.columnar',
      'configs.esmm', 'experiments.train',
  } <= set(modules())


def test_models_know_no_loss_and_no_other_model():
  """Of `models` a model imports its parts only."""
  parts = [
      f'esmm_jax.models.{part}'
      for part in ('architecture', 'embedding', 'experts', 'layers')
  ]
  for module, path in modules().items():
    if not within(module, ['esmm_jax.models']) or module == 'esmm_jax.models':
      continue
    for name, _ in imports(path.read_text('utf-8')):
      if within(name, ['esmm_jax.models']):
        assert within(name, parts), module


@pytest.mark.parametrize(
    'module, source, count',
    [
        ('esmm_jax.data.batches', 'import jax', 1),
        ('esmm_jax.data.batches', 'def f():\n  import jax.numpy as jnp', 1),
        ('esmm_jax.data.batches', 'from esmm_jax import optim', 1),
        ('esmm_jax.tasks', 'import esmm_jax.schema', 1),
        ('esmm_jax.data.batches', 'from esmm_jax.types import Batch', 0),
        ('esmm_jax.data.columnar', 'import tensorflow as tf', 1),
        ('esmm_jax.data.columnar', 'def f():\n  import tensorflow as tf', 0),
        ('esmm_jax.data.batches', 'def f():\n  import tensorflow as tf', 1),
        ('esmm_jax.types', 'from jax import Array', 1),
        ('esmm_jax.types', 'import esmm_jax.schema', 1),
        ('esmm_jax.models.mmoe', 'from esmm_jax.estimators import funnel', 1),
        ('esmm_jax.estimators.dr', 'from esmm_jax import models', 1),
        ('esmm_jax.estimators.dr', 'import flax.linen as nn', 1),
        ('esmm_jax.balancing', 'from esmm_jax.estimators import ESTIMATORS', 1),
        ('esmm_jax.evaluate', 'import jax', 1),
        ('esmm_jax.predict', 'from esmm_jax.train import train', 1),
        ('esmm_jax.predict', 'from esmm_jax import train', 1),
        ('esmm_jax.predict', 'from esmm_jax.train_step import x', 0),
        ('esmm_jax.build', 'from absl import flags', 1),
        ('esmm_jax.build', 'from experiments import cli', 2),
        ('configs.esmm', 'import jax', 1),
        ('configs.esmm', 'from esmm_jax import build', 1),
        ('configs.tables.x', 'from esmm_jax.sweep import product', 0),
        ('configs.tables.x', 'from esmm_jax.results import Run', 1),
        ('esmm_jax.sweep', 'import numpy as np', 1),
        ('esmm_jax.sweep', 'from esmm_jax import results', 1),
        ('esmm_jax.sweep', 'from esmm_jax import table_checks', 1),
        ('esmm_jax.results', 'from esmm_jax.metrics import significance', 0),
        ('esmm_jax.results', 'from esmm_jax.metrics import ranking', 1),
        ('esmm_jax.results', 'from esmm_jax import train', 2),
        ('experiments.train', 'from absl import flags, app', 0),
    ],
)
def test_the_check_itself(module, source, count):
  assert len(violations(module, source)) == count


@pytest.mark.parametrize(
    'module, absent',
    [
        ('esmm_jax', ['jax', 'numpy', 'ml_collections', 'pyarrow']),
        ('esmm_jax.data', ['jax', 'flax', 'optax', 'tensorflow']),
        ('esmm_jax.schema', ['jax', 'tensorflow_datasets', 'tensorflow']),
        ('esmm_jax.evaluate', ['jax', 'tensorflow']),
        ('esmm_jax.sweep', ['jax', 'scipy', 'tqdm', 'ml_collections']),
        ('esmm_jax.table_checks', ['jax', 'scipy', 'tqdm']),
        ('esmm_jax.report', ['jax', 'tensorflow_datasets', 'tensorflow']),
        ('esmm_jax.page.run_page', ['jax', 'matplotlib', 'jinja2']),
        ('configs.esmm', ['jax', 'esmm_jax', 'tensorflow']),
        ('configs.tables.architectures', ['jax', 'scipy', 'tensorflow']),
    ],
)
def test_what_an_import_brings_along(module, absent):
  program = (
      f'import {module}, sys\n'
      f'print([m for m in {absent} if m in sys.modules])'
  )
  done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True, text=True, cwd=ROOT, check=False)
  assert (done.returncode, done.stdout.strip()) == (0, '[]'), done.stderr

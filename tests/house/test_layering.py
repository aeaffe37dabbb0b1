"""Who may import whom, read from the source of every module."""

import ast
import re
import subprocess
import sys

import pytest

from tests import ROOT

NUMERIC = ['numpy', 'scipy']
JAX = ['jax', 'numpy']
STORE = ['pyarrow', 'tensorflow_datasets', 'tqdm']
FILES = ['fsspec', 'numpy', 'pyarrow']
# The ground floor, which every layer may use.
LAYERS = [
    f'esmm_jax.{module}'
    for module in ('checksums', 'cores', 'engines', 'entry', 'histories',
                   'json_files', 'late_callbacks', 'locks', 'metric_names',
                   'no_effect', 'options', 'ownership', 'paths', 'plugins',
                   'printable', 'replaceable', 'schema', 'shared_tables',
                   'signatures', 'storage', 'streams', 'system_errors',
                   'tasks', 'types', 'whole_files')
]
# What a data set is made of.
SET = [
    *(
        f'esmm_jax.data.{f}'
        for f in ('csv_files', 'files', 'history', 'store', 'values')
    ),
    *LAYERS,
]
FOLDERS = re.compile(r'^esmm_jax\.(?=(configs|experiments)\b)')
OWN = ('esmm_jax', 'configs', 'experiments', 'benchmarks', 'tests')

# Folder or module -> what it may import of the project, and of other packages
# (None: anything). The first line that fits counts. `x` stands for x and all
# that is in it, '=x' for the module x alone. Each folder may import itself.
RULES = [
    ('esmm_jax.types', [], ['numpy']),
    ('esmm_jax.tasks', ['esmm_jax.types'], []),
    ('esmm_jax.shared_tables', ['esmm_jax.types'], []),
    (
        'esmm_jax.schema',
        ['esmm_jax.shared_tables', 'esmm_jax.tasks', 'esmm_jax.types'],
        [],
    ),
    (
        'esmm_jax.engines',
        [
            'esmm_jax.cores',
            'esmm_jax.options',
            'esmm_jax.streams',
            'esmm_jax.system_errors',
            'esmm_jax.types',
        ],
        ['numpy', 'pyarrow', 'ray'],
    ),
    (
        'esmm_jax.entry.shipped',
        ['esmm_jax.entry', 'esmm_jax.paths', 'esmm_jax.types'],
        [],
    ),
    # Before it is known whether any other package is there.
    ('esmm_jax.entry', [], []),
    ('esmm_jax.cores', [], []),
    ('esmm_jax.late_callbacks', [], []),
    ('esmm_jax.histories', [], []),
    ('esmm_jax.metric_names', ['esmm_jax.plugins.registry'], []),
    ('esmm_jax.plugins.registry', ['esmm_jax.types'], []),
    (
        'esmm_jax.plugins',
        ['esmm_jax.checksums', 'esmm_jax.streams', 'esmm_jax.types'],
        [],
    ),
    (
        'esmm_jax.checksums',
        ['esmm_jax.json_files', 'esmm_jax.types', 'esmm_jax.whole_files'],
        [],
    ),
    (
        'esmm_jax.json_files',
        ['esmm_jax.system_errors', 'esmm_jax.types', 'esmm_jax.whole_files'],
        ['numpy'],
    ),
    ('esmm_jax.whole_files', ['esmm_jax.system_errors'], ['numpy']),
    (
        'esmm_jax.streams',
        ['esmm_jax.printable', 'esmm_jax.system_errors'],
        ['tqdm'],
    ),
    (
        'esmm_jax.locks',
        [
            'esmm_jax.streams',
            'esmm_jax.system_errors',
            'esmm_jax.types',
            'esmm_jax.whole_files',
        ],
        [],
    ),
    ('esmm_jax.system_errors', ['esmm_jax.types'], []),
    (
        'esmm_jax.ownership',
        [
            'esmm_jax.json_files',
            'esmm_jax.locks',
            'esmm_jax.system_errors',
            'esmm_jax.types',
            'esmm_jax.whole_files',
        ],
        [],
    ),
    ('esmm_jax.options', ['esmm_jax.types'], []),
    ('esmm_jax.signatures', ['esmm_jax.options', 'esmm_jax.types'], []),
    (
        'esmm_jax.replaceable',
        ['esmm_jax.checksums', 'esmm_jax.types', 'esmm_jax.whole_files'],
        [],
    ),
    (
        'esmm_jax.no_effect',
        ['esmm_jax.types'],
        [],
    ),
    ('esmm_jax.paths', ['esmm_jax.types'], ['fsspec']),
    (
        'esmm_jax.storage',
        [
            'esmm_jax.checksums',
            'esmm_jax.json_files',
            'esmm_jax.ownership',
            'esmm_jax.paths',
            'esmm_jax.streams',
            'esmm_jax.types',
            'esmm_jax.whole_files',
        ],
        [],
    ),
    ('esmm_jax.printable', [], []),
    ('esmm_jax.data.csv_files', LAYERS, FILES),
    ('esmm_jax.data.values', ['esmm_jax.data.csv_files', *LAYERS], FILES),
    (
        'esmm_jax.data.files',
        [
            'esmm_jax.data.csv_files',
            'esmm_jax.data.store',
            'esmm_jax.data.values',
            *LAYERS,
        ],
        [*FILES, 'tqdm'],
    ),
    ('esmm_jax.data.store', LAYERS, [*NUMERIC, *STORE]),
    (
        'esmm_jax.data.history',
        [
            'esmm_jax.data.csv_files',
            'esmm_jax.data.store',
            'esmm_jax.data.values',
            *LAYERS,
        ],
        [*NUMERIC, *STORE, 'numba'],
    ),
    (
        'esmm_jax.data.batching',
        ['esmm_jax.data.store', *LAYERS],
        [*NUMERIC, 'numba'],
    ),
    # No data set imports another.
    ('esmm_jax.data.tabular', SET, [*NUMERIC, *STORE, *FILES]),
    ('esmm_jax.data.kuairand', SET, [*NUMERIC, *STORE, *FILES]),
    ('esmm_jax.data.ali_ccp', SET, [*NUMERIC, *STORE, 'numba']),
    (
        'esmm_jax.data.simulator.raw',
        # Writes its log as raw files of Ali-CCP.
        ['esmm_jax.data.ali_ccp', 'esmm_jax.data.simulator', *SET],
        NUMERIC,
    ),
    ('esmm_jax.data.simulator', SET, [*NUMERIC, *STORE]),
    ('esmm_jax.data', ['esmm_jax.data', 'esmm_jax.plugins.registry'], []),
    ('esmm_jax.embeddings', LAYERS, JAX),
    ('esmm_jax.models', ['esmm_jax.embeddings', *LAYERS], [*JAX, 'flax']),
    ('esmm_jax.estimators', LAYERS, JAX),
    (
        'esmm_jax.balancing',
        [
            'esmm_jax.options',
            'esmm_jax.plugins.registry',
            'esmm_jax.signatures',
            'esmm_jax.tasks',
            'esmm_jax.types',
        ],
        JAX,
    ),
    (
        'esmm_jax.optim',
        ['esmm_jax.embeddings', *LAYERS],
        [*JAX, 'optax'],
    ),
    (
        'esmm_jax.metrics',
        [
            'esmm_jax.cores',
            'esmm_jax.metric_names',
            'esmm_jax.plugins.registry',
            'esmm_jax.tasks',
            'esmm_jax.types',
        ],
        NUMERIC,
    ),
    (
        'esmm_jax.first_look',
        [
            'esmm_jax.data.store',
            'esmm_jax.data.tabular.unseen',
            'esmm_jax.metrics.ranking',
            *LAYERS,
        ],
        ['numpy'],
    ),
    ('esmm_jax.parallel', LAYERS, JAX),
    ('esmm_jax.protocols', ['esmm_jax.metrics', 'esmm_jax.types'], []),
    (
        'esmm_jax.workdir.table_checkpoint',
        ['esmm_jax.embeddings.files'],
        ['jax', 'orbax'],
    ),
    (
        'esmm_jax.workdir.read_back',
        ['esmm_jax.embeddings.files'],
        [*JAX, 'tensorstore'],
    ),
    ('esmm_jax.workdir.soundness', ['esmm_jax.workdir', *LAYERS], ['pyarrow']),
    ('esmm_jax.workdir.trees', ['esmm_jax.parallel'], ['jax']),
    ('esmm_jax.workdir.without_wildcards', [], []),
    (
        'esmm_jax.workdir.chosen',
        [
            'esmm_jax.embeddings.files',
            'esmm_jax.parallel',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        ['jax'],
    ),
    (
        'esmm_jax.workdir.checkpoint',
        ['esmm_jax.parallel', 'esmm_jax.workdir', *LAYERS],
        [*JAX, 'orbax'],
    ),
    (
        'esmm_jax.workdir.mirrors',
        ['esmm_jax.parallel', 'esmm_jax.workdir', *LAYERS],
        [],
    ),
    ('esmm_jax.workdir', LAYERS, [*JAX, 'pyarrow', 'tensorboardX', 'tqdm']),
    ('esmm_jax.sweeps.points', ['esmm_jax.types'], []),
    ('esmm_jax.sweeps.table_parts', ['esmm_jax.metric_names'], []),
    (
        'esmm_jax.sweeps.table',
        [
            'esmm_jax.metric_names',
            'esmm_jax.sweeps.points',
            'esmm_jax.sweeps.table_parts',
            'esmm_jax.types',
        ],
        [],
    ),
    (
        'esmm_jax.sweeps.replicas',
        ['esmm_jax.balancing', 'esmm_jax.estimators', 'esmm_jax.types'],
        [],
    ),
    ('esmm_jax.sweeps.progress', LAYERS, ['tqdm']),
    (
        'esmm_jax.sweeps.config_keys',
        ['esmm_jax.types', 'esmm_jax.workdir'],
        ['ml_collections'],
    ),
    (
        'esmm_jax.sweeps',
        ['esmm_jax.metrics.significance', 'esmm_jax.workdir', *LAYERS],
        ['numpy', 'pyarrow'],
    ),
    (
        'esmm_jax.pretrained',
        [
            'esmm_jax.data.csv_files',
            'esmm_jax.data.store',
            'esmm_jax.data.tabular',
            'esmm_jax.data.values',
            'esmm_jax.embeddings',
            *LAYERS,
        ],
        [*JAX, 'pyarrow'],
    ),
    (
        'esmm_jax.warm_start',
        [
            'esmm_jax.data.store',
            'esmm_jax.data.tabular',
            'esmm_jax.embeddings',
            'esmm_jax.metrics.choosing',
            'esmm_jax.optim',
            'esmm_jax.parallel',
            'esmm_jax.pretrained',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        JAX,
    ),
    ('esmm_jax.tracking', LAYERS, []),
    # Training asks it.
    ('esmm_jax.tuning.early_end', [], []),
    ('esmm_jax.tuning', ['esmm_jax.types'], ['optuna']),
    (
        'esmm_jax.training',
        [
            'esmm_jax.balancing',
            'esmm_jax.data',
            'esmm_jax.embeddings',
            'esmm_jax.estimators',
            'esmm_jax.first_look',
            'esmm_jax.metrics',
            'esmm_jax.models',
            'esmm_jax.optim',
            'esmm_jax.parallel',
            'esmm_jax.pretrained',
            'esmm_jax.protocols',
            'esmm_jax.tracking',
            'esmm_jax.tuning.early_end',
            'esmm_jax.warm_start',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        [*JAX, 'flax', 'optax', 'pyarrow', 'scipy'],
    ),
    (
        'esmm_jax.serving',
        [
            'esmm_jax.data',
            'esmm_jax.estimators',
            'esmm_jax.metrics',
            'esmm_jax.models',
            'esmm_jax.sweeps',
            'esmm_jax.training',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        [*JAX, *FILES, 'ml_collections', 'scipy', 'tqdm'],
    ),
    (
        'esmm_jax.reporting.plots',
        ['esmm_jax.metrics', *LAYERS],
        [*NUMERIC, 'matplotlib'],
    ),
    (
        'esmm_jax.reporting',
        [
            'esmm_jax.metrics',
            # The other modules of serving import JAX.
            'esmm_jax.serving.calibrators',
            'esmm_jax.sweeps',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        ['jinja2', *NUMERIC, 'pyarrow'],
    ),
    (
        'esmm_jax.easyrec',
        [
            'esmm_jax.data.tabular.cells.buckets',
            'esmm_jax.data.values',
            'esmm_jax.options',
            'esmm_jax.printable',
            'esmm_jax.types',
        ],
        [],
    ),
    (
        'esmm_jax.doctor',
        [
            'esmm_jax.embeddings',
            'esmm_jax.estimators',
            'esmm_jax.models',
            'esmm_jax.optim',
            'esmm_jax.parallel',
            'esmm_jax.training',
            'esmm_jax.workdir',
            *LAYERS,
        ],
        None,
    ),
    ('=esmm_jax', ['esmm_jax'], []),
    (
        'configs',
        [
            'esmm_jax.balancing',
            'esmm_jax.entry.checkout',
            'esmm_jax.estimators',
            'esmm_jax.protocols',
            'esmm_jax.sweeps',
        ],
        ['ml_collections'],
    ),
    ('experiments', ['configs', 'esmm_jax'], None),
    ('benchmarks', ['configs', 'esmm_jax', 'experiments'], None),
]
# Only these may import what stands on the left.
ONLY = [
    ('esmm_jax.training.loop', ['experiments', 'benchmarks', '=esmm_jax']),
    ('experiments', ['experiments', 'benchmarks']),
    ('benchmarks', ['benchmarks']),
    ('tests', []),
    ('absl.flags', ['experiments', 'benchmarks']),
    ('absl.app', ['experiments', 'benchmarks']),
    ('tensorflow', []),
]


def within(name, packages):
  return any(
      name == p[1:] if p[0] == '=' else f'{name}.'.startswith(f'{p}.')
      for p in packages)


def imports(source):
  """(name, whether at module level) of all imports, those of functions too.

  `from a import b` counts as a.b: b may be a module. `esmm_jax.configs` counts
  as `configs`, its folder.
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
  return [(FOLDERS.sub('', name), top) for name, top in found]


def modules():
  """Module name -> path, of the project without its tests."""
  found = {}
  for package in ('esmm_jax', 'configs', 'experiments', 'benchmarks'):
    for path in sorted((ROOT / package).rglob('*.py')):
      parts = path.relative_to(ROOT).with_suffix('').parts
      parts = parts[:-1] if parts[-1] == '__init__' else parts
      found['.'.join(parts)] = path
  return found


def violations(module, source):
  """One text for each import that the rules do not allow."""
  rule, own, others = next(
      rule for rule in RULES if within(module, [rule[0]])
  )
  own = [*own, rule]
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


@pytest.mark.parametrize('module', [
    m for m in modules() if within(m, ['configs', 'experiments'])])
def test_folders_of_the_wheel_are_named_as_there(module):
  """An installed package has no `configs`, but `esmm_jax.configs`."""
  source = modules()[module].read_text('utf-8')
  wrong = r'^\s*(from|import) (configs|experiments)\b'
  assert not re.search(wrong, source, re.MULTILINE)


def test_there_are_modules():
  assert {
      'esmm_jax', 'esmm_jax.types', 'esmm_jax.training.loop',
      'esmm_jax.data.store.columnar', 'configs.esmm', 'experiments.train',
  } <= set(modules())


def test_models_know_no_loss_and_no_other_model():
  """Of `models` a model imports its parts only."""
  parts = [
      f'esmm_jax.models.{part}'
      for part in (
          'architecture', 'attention', 'embedding', 'experts',
          'interactions', 'layers')
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
        ('data.batching.batches', 'import jax', 1),
        ('data.batching.batches', 'def f():\n  import jax.numpy as jnp', 1),
        ('data.batching.batches', 'from esmm_jax import optim', 1),
        ('data.batching.batches', 'from esmm_jax.types import Batch', 0),
        ('data.batching.batches', 'def f():\n  import tensorflow as tf', 2),
        ('data.batching.batches', 'from esmm_jax.data import kuairand', 1),
        ('data.kuairand.raw', 'from esmm_jax.data.files import csv', 0),
        ('data.kuairand.raw', 'from esmm_jax.data.ali_ccp import text', 1),
        ('data.store.columnar', 'import tensorflow as tf', 3),
        ('data.store.columnar', 'def f():\n  import tensorflow as tf', 2),
        ('data.store.columnar', 'from esmm_jax.data import batching', 1),
        ('tasks', 'import esmm_jax.schema', 1),
        ('types', 'from jax import Array', 1),
        ('types', 'import esmm_jax.schema', 1),
        ('models.mmoe', 'from esmm_jax.estimators import funnel', 1),
        ('models.mmoe', 'from esmm_jax.models.layers import Tower', 0),
        ('estimators.dr', 'from esmm_jax import models', 1),
        ('estimators.dr', 'import flax.linen as nn', 1),
        ('balancing.static', 'from esmm_jax.estimators import FUNNEL', 1),
        ('metrics.by_space', 'import jax', 1),
        ('training.predict', 'from esmm_jax.training.loop import train', 1),
        ('training.predict', 'from esmm_jax.training import loop', 1),
        ('training.predict', 'from esmm_jax.training.step import x', 0),
        ('training.program', 'from esmm_jax.sweeps.replicas import x', 1),
        ('training.program', 'from absl import flags', 2),
        ('training.program', 'from experiments import cli', 2),
        ('workdir.folder', 'from esmm_jax.training.state import x', 1),
        ('sweeps.points', 'import numpy as np', 1),
        ('sweeps.points', 'from esmm_jax.sweeps import results', 1),
        ('sweeps.results', 'from esmm_jax.metrics import significance', 0),
        ('sweeps.results', 'from esmm_jax.metrics import ranking', 1),
        ('sweeps.results', 'from esmm_jax.training import loop', 2),
        ('reporting.text', 'from esmm_jax.training import loop', 2),
        ('reporting.text', 'from esmm_jax.training import predict', 1),
        ('reporting.text', 'from esmm_jax.serving import restore', 1),
        ('reporting.text', 'from esmm_jax.serving import calibrators', 0),
        ('reporting.text', 'import jax', 1),
        ('configs.esmm', 'import jax', 1),
        ('configs.esmm', 'from esmm_jax import training', 1),
        ('configs.tables.x', 'from esmm_jax.sweeps.points import product', 0),
        ('configs.tables.x', 'from esmm_jax.training import program', 1),
        ('experiments.train', 'from absl import flags, app', 0),
        ('experiments.train', 'from benchmarks import step', 2),
    ],
)
def test_the_check_itself(module, source, count):
  if not within(module, OWN):
    module = f'esmm_jax.{module}'
  assert len(violations(module, source)) == count


@pytest.mark.parametrize(
    'module, absent',
    [
        ('esmm_jax', ['jax', 'numpy', 'ml_collections', 'pyarrow']),
        ('esmm_jax.data', ['jax', 'flax', 'optax', 'tensorflow']),
        ('esmm_jax.schema', ['jax', 'tensorflow_datasets', 'tensorflow']),
        ('esmm_jax.metrics.by_space', ['jax', 'tensorflow']),
        ('esmm_jax.sweeps.points', ['jax', 'scipy', 'tqdm', 'ml_collections']),
        ('esmm_jax.reporting.text', ['jax', 'tensorflow_datasets']),
        ('esmm_jax.reporting.page.run_page', ['jax', 'matplotlib', 'jinja2']),
        ('esmm_jax.serving.calibrators', ['jax', 'ml_collections', 'flax']),
        (
            'esmm_jax.training.loop',
            ['scipy.stats', 'scipy.optimize', 'pandas', 'tensorflow'],
        ),
        ('configs.esmm', ['jax', 'numpy', 'esmm_jax.types', 'tensorflow']),
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

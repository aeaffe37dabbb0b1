"""The exported model: the same scores without the package."""

import dataclasses
import functools
import importlib
import json
import os
import subprocess
import sys

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.store.feature_columns import cut
from esmm_jax.models import MODELS
from esmm_jax.schema import Schema
from esmm_jax.serving import calibrate, exporting, inputs, restore
from esmm_jax.serving.model_inputs import features as features_of
from esmm_jax.serving.predictor import Predictor
from esmm_jax.tasks import CART_FUNNEL, FUNNEL, Task
from esmm_jax.training.settings import Settings
from esmm_jax.training.prediction import predict_step
from esmm_jax.types import InputError
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import toy as toys
from tests.data.batching import test_groups as groups
from tests.serving.served import small_config

SCORES = ('p_ctr', 'p_cvr', 'p_ctcvr')
FORBIDDEN = (
    'esmm_jax', 'configs', 'experiments', 'flax', 'optax', 'orbax', 'pyarrow',
    'tensorflow', 'tensorflow_datasets', 'ml_collections')
pytestmark = pytest.mark.slow
PROGRAM = '''
import sys

class Refuse:
  def find_spec(self, name, path=None, target=None):
    if name.split('.')[0] in FORBIDDEN:
      raise ImportError(f'{name} is not there')

FORBIDDEN = %r
sys.meta_path.insert(0, Refuse())
%s
model = load('exported')
for size in (3, 50):
  features = dict(np.load(f'features{size}.npz'))
  np.savez(f'scores{size}.npz', **model(features))
print([m for m in FORBIDDEN if m in sys.modules])
'''


@pytest.fixture(scope='module')
def exported(finished, tmp_path_factory):
  folder = tmp_path_factory.mktemp('export')
  sizes = exporting.export(finished.predictor(), str(folder / 'exported'))
  return folder, sizes


def snippet(root):
  """The lines of the documentation that load an export."""
  text = (root / 'docs' / 'predictions.md').read_text('utf-8')
  (found,) = [
      block.split('```')[0]
      for block in text.split('```python\n')[1:]
      if 'def load' in block]
  return found


def test_it_runs_without_the_package(finished, exported, root):
  folder, _ = exported
  columns = finished.columns(0, 60)
  schema = finished.predictor().schema
  for size in (3, 50):
    rows = {n: cut(c, 5, 5 + size) for n, c in columns.items()}
    np.savez(folder / f'features{size}.npz', **features_of(schema, rows))
  program = PROGRAM % (FORBIDDEN, snippet(root))
  done = subprocess.run(
      [sys.executable, '-I', '-c', program],
      cwd=folder, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout) == (0, '[]\n'), done.stderr
  for size in (3, 50):
    scores = np.load(folder / f'scores{size}.npz')
    saved = finished.saved().slice(5, size)
    assert set(scores) == set(SCORES)
    for name in SCORES:
      np.testing.assert_allclose(
          scores[name], saved[name].to_numpy(), rtol=1e-5, atol=1e-7)


def test_what_is_written(exported, finished):
  folder, sizes = exported
  folder = folder / 'exported'
  about = json.loads((folder / 'description.json').read_text())
  schema = finished.predictor().schema
  assert [i['name'] for i in about['inputs']] == inputs.needed(schema)
  assert [o['name'] for o in about['outputs']] == list(SCORES)
  assert sizes['model'] == os.path.getsize(folder / 'model.jax_export')
  on_disk = [np.load(folder / p['file']) for p in about['params']]
  assert sum(a.nbytes for a in on_disk) == sizes['params']
  assert [list(a.shape) for a in on_disk] == [
      p['shape'] for p in about['params']]
  by_name = {i['name']: i for i in about['inputs']}
  assert by_name['history']['shape'] == ['b', 8]
  assert by_name['user']['vocab_size'] == schema.field('user').vocab_size
  assert by_name['seen_count']['dtype'] == 'float32'
  # No table is in the program.
  table = max(a.nbytes for a in on_disk)
  assert sizes['model'] < 100_000 < table
  with pytest.raises(InputError, match='exported exists'):
    exporting.export(finished.predictor(), str(folder))


def test_ids_that_are_not_in_the_vocabulary(exported, finished):
  """Read as rare and as missing, never as a row of another field."""
  call, params = exporting.load(str(exported[0] / 'exported'))
  schema = finished.predictor().schema
  features = features_of(schema, finished.columns(0, 4))
  size = schema.field('gender').vocab_size
  given = features | {'gender': np.array([size, 10**6, -1, -9], np.int32)}
  meant = features | {'gender': np.array([1, 1, 0, 0], np.int32)}
  a, b = call(params, given), call(params, meant)
  for name in SCORES:
    np.testing.assert_array_equal(a[name], b[name])
  # Behind the end of a list nothing counts, whatever its weight.
  past = features['history'] < 0
  assert past.any()
  heavy = np.where(past, 9, features['history.weight']).astype(np.float32)
  c = call(params, features | {'history.weight': heavy})
  d = call(params, features)
  np.testing.assert_array_equal(c['p_cvr'], d['p_cvr'])


@pytest.mark.parametrize(
    'kind', [pytest.param('platt', marks=pytest.mark.long), 'isotonic'])
def test_calibrated(kind, finished, tmp_path):
  run = finished.copy(tmp_path / 'run')
  calibrate.calibrate(str(run.folder), str(run.data))
  predictor = run.predictor()
  folder = str(tmp_path / kind)
  exporting.export(predictor, folder, kind, 'own')
  call, params = exporting.load(folder)
  columns = run.columns(0, 200)
  got = call(params, features_of(predictor.schema, columns))
  want = predictor.predict(columns, kind, 'own')
  plain = predictor.predict(columns)
  for name in SCORES:
    # Isotonic steps are steep: they enlarge the rounding of the log-odds.
    np.testing.assert_allclose(got[name], want[name], rtol=1e-4)
    assert np.abs(want[name] / plain[name] - 1).max() > 0.01


def test_not_calibrated(finished, tmp_path):
  with pytest.raises(InputError, match='run python -m experiments.calibrate'):
    exporting.export(finished.predictor(), str(tmp_path / 'x'), 'platt')
  assert os.listdir(tmp_path) == []


def test_a_link_to_nothing(finished, tmp_path):
  """It is there, though what is behind it is not."""
  (tmp_path / 'x').symlink_to(tmp_path / 'nothing')
  with pytest.raises(InputError, match='--output=.*x exists. Name another'):
    exporting.export(finished.predictor(), str(tmp_path / 'x'))
  assert os.listdir(tmp_path) == ['x']


def params_of(plan, table, batch):
  """Random parameters of one replica."""
  variables = plan.model.init(jax.random.key(0), table[:, 0], batch)
  one = lambda tree: jax.tree.map(lambda x: x[None], tree)
  return {
      'table': jnp.asarray(table),
      'net': one(variables['params']),
      'stats': one(variables.get('batch_stats', {})),
  }


@pytest.fixture(scope='module')
def grouped(tmp_path_factory):
  return groups.Grouped(data_dir=str(tmp_path_factory.mktemp('g'))).prepare()


@pytest.mark.usefixtures('quick_test')
def test_fields_of_groups_and_weights_of_ids(grouped, tmp_path):
  """A row that brings its group's fields scores as it does in its split."""
  fields = tuple(
      dataclasses.replace(f, weighted=True) if f.name == 'tags' else f
      for f in groups.FIELDS)
  schema = Schema(fields, group='session')
  config = small_config(**{'eval_batch_size': 32})
  plan = restore.plan(Settings.read(config), schema)
  batches = Batches(
      grouped.as_data_source('test'), schema, 32, shuffle=False,
      compacted=False)
  batch = batches(0)
  rng = np.random.default_rng(0)
  table = rng.normal(size=(schema.num_rows, 1, 4)).astype(np.float32)
  one = batch._replace(slots=batch.slots * 0)
  params = params_of(plan, table, one)
  step = jax.jit(functools.partial(predict_step, plan=plan))
  want, _ = step(params['table'], params['net'], {}, batch)
  predictor = Predictor(restore.Trained(config, schema, plan, params))
  columns = grouped.as_data_source('test').joined(0, 30)
  got = predictor.outputs(columns)
  exporting.export(predictor, str(tmp_path / 'x'))
  call, arrays = exporting.load(str(tmp_path / 'x'))
  scores = call(arrays, features_of(schema, columns))
  plain = predictor.scores(got, 'none', 'product')
  for name in ('ctr', 'cvr', 'ctcvr'):
    np.testing.assert_allclose(got[name], want[name][0, :30], rtol=1e-5)
    assert np.ptp(got[name]) > 0.1
    np.testing.assert_allclose(
        scores[f'p_{name}'], plain[f'p_{name}'], rtol=1e-5)


PLAY = (*FUNNEL, Task('play_time', 'play_time', 'ctr', 'regression'))


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize(
    'name, tasks',
    [(name, FUNNEL) for name in MODELS]
    + [('mmoe', CART_FUNNEL), ('ple', PLAY), ('aitm', CART_FUNNEL)])
def test_every_model(name, tasks, tmp_path):
  """With norms, cross layers and interactions, for any number of rows."""
  file = {'shared_embedding': 'esmm'}.get(name, name)
  config = importlib.import_module(f'configs.{file}').get_config('smoke')
  config.update_from_flattened_dict({
      'eval_batch_size': 64,
      'model.norm': 'batch',
      'model.activation': 'dice',
      'model.cross_layers': 1,
      'model.interaction': 'deepfm',
      'model.dropout': 0.5,
  })
  schema = dataclasses.replace(toys.SCHEMA, tasks=tasks)
  plan = restore.plan(Settings.read(config), schema)
  width = plan.model.row_width(config.model.embed_dim)
  rng = np.random.default_rng(0)
  table = rng.normal(0, 0.4, (schema.num_rows, 1, width)).astype(np.float32)
  params = params_of(plan, table, toys.random_batch(2, num_rows=9))
  predictor = Predictor(restore.Trained(config, schema, plan, params))
  columns = toys.columns('test')
  want = predictor.predict(columns)
  exporting.export(predictor, str(tmp_path / 'x'))
  call, arrays = exporting.load(str(tmp_path / 'x'))
  features = features_of(schema, columns)
  for num in (75, 1):
    got = call(arrays, {k: v[:num] for k, v in features.items()})
    assert set(got) == set(want)
    for key, value in want.items():
      assert np.ptp(value) > 0.01
      np.testing.assert_allclose(got[key], value[:num], rtol=1e-4, atol=1e-6)

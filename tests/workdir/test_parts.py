"""Every part of a run x every harm x every reader: told, or the same.

A part is changed, comes from another run, is absent or is damaged. A reader
then gives what it gives of the whole run, or one line names the part. What a
reader gives is all that decides its numbers; nothing is predicted.
"""

import json
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from esmm_jax import checksums
from esmm_jax.data.tabular import encoder_hashes
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.serving import predictor
from esmm_jax.sweeps.saved_runs import read_run
from esmm_jax.training import parts, phases
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.types import InputError
from esmm_jax.warm_start import takeover
from esmm_jax.warm_start.base import Base
from esmm_jax.workdir import end_note, folder, identity, manifest
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from configs import esmm
from tests.damaged import damage

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


def log(prefix='u'):
  """600 rows; another prefix makes other values with the same ids."""
  r = np.random.default_rng(0)
  user, item = r.integers(0, 9, 600), r.integers(0, 5, 600)
  click = (r.random(600) < 0.5).astype(int)
  return pa.table({
      'user': [f'{prefix}{u}' for u in user],
      'item': item,
      'tags': ['|'.join(map(str, range(i % 4))) for i in item],
      'price': np.round(r.random(600), 3),
      'click': click,
      'conversion': click * (r.random(600) < 0.5),
  })


class Trained(NamedTuple):
  """Runs that differ in one thing, and their prepared data."""

  config: Any
  run: pathlib.Path
  seed: pathlib.Path
  log: pathlib.Path
  data: str
  other_data: str


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  home = tmp_path_factory.mktemp('parts')
  config = esmm.get_config('tabular')
  config.dataset.update(
      id='user,item', ids='tags:max_len=3:combiner=sum', float='price',
      click='click', conversion='conversion')
  config.update(batch_size=64, num_epochs=1, eval_batch_size=64)
  config.model.update(embed_dim=2, tower_units=(4,))
  runs = []
  for name, prefix, seed in (
      ('run', 'u', 0), ('seed', 'u', 1), ('log', 'v', 0)):
    path = str(home / f'{prefix}.parquet')
    own = config.copy_and_resolve_references()
    parquet.write_table(log(prefix), path)
    own.dataset.files, own.seed = path, seed
    data = str(home / f'data_{prefix}')
    train_and_evaluate(own, str(home / name), data)
    runs.append((own, home / name, data))
  return Trained(
      runs[0][0], *(run for _, run, _ in runs), runs[0][2], runs[2][2])


def last(run):
  steps = [p for p in (run / 'checkpoints').iterdir() if p.name.isdigit()]
  return max(steps, key=lambda p: int(p.name))


# Readers: what decides the numbers of a program.


def load(run, trained):
  model = predictor.load(str(run))
  encoder = Encoder.load(str(run / 'encoder'))
  hashes = encoder_hashes.hashes(encoder, str(run / 'encoder'))
  # A value per column, so that an encoder that is not checked shows.
  rows = model.encode(log().slice(0, 9), 'rows')
  encoded = {k: str(getattr(v, 'values', v)) for k, v in rows.items()}
  assert model.stamp.params_sha256 == identity.hash_params(
      model.trained.params)
  return (
      model.stamp.params_sha256, model.schema, folder.decisive(
          json.loads((run / 'config.json').read_text())),
      hashes, encoded, json.dumps(model.results, sort_keys=True))


def split(run, trained):
  builder = parts.dataset(trained.config.dataset, trained.data)
  manifest.require_data(str(run), builder)
  return load(run, trained)


def table(run, trained):
  return json.dumps(read_run(str(run)).results, sort_keys=True)


def page(run, trained):
  if wrong := end_note.metrics_damage(str(run)):
    raise InputError(wrong)
  lines = (run / 'metrics.jsonl').read_text()
  return table(run, trained), lines


def finished(run, trained):
  record = folder.record(trained.config)
  results = folder.finished(record, str(run))
  return json.dumps(results, sort_keys=True)


def begin(run, trained):
  base = Base.open(str(run))
  takeover.read_checkpoint(base)
  return base.config, base.schema, base.data, base.sha256


ENCODER = 'encoder/encoder.json'
READERS = (load, split, table, page, finished, begin)


# Harms: (part, what is done to the run).


def put(name, text):
  return lambda run, trained: (run / name).write_text(text)


def edit(name, change):
  def do(run, trained):
    path = run / name
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))
  return do


def take(name, other):
  """A file or folder of another run."""
  def do(run, trained):
    source, target = getattr(trained, other) / name, run / name
    if source.is_dir():
      shutil.rmtree(target)
      shutil.copytree(source, target)
    else:
      shutil.copy(source, target)
  return do


def remove(name):
  def do(run, trained):
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
  return do


def harm(name, function):
  return lambda run, trained: function(run / name)


def change(name, *path, to):
  """Another value at a path of keys and numbers in a JSON file."""
  return edit(name, set_key(*path, to=to))


def swap(values, a, b):
  values[a], values[b] = values[b], values[a]


def set_key(*path, to):
  def change(value):
    for key in path[:-1]:
      value = value[key]
    value[path[-1]] = to
  return change


def vocabulary(run, trained):
  """Two values change places: each has the id of the other one."""
  path = run / 'encoder' / 'vocabulary-000.parquet'
  values = parquet.read_table(path)['value'].to_pylist()
  swap(values, 0, 1)
  parquet.write_table(pa.table({'value': values}), path)


def table_of_seed(run, trained):
  """The parameters of another seed, in a checkpoint that says it is sound."""
  for name in ('tables', 'arrays'):
    target = last(run) / name
    shutil.rmtree(target)
    shutil.copytree(last(trained.seed) / name, target)
  checksums.seal(str(last(run)))


CHANGED = {
    'config.json': {
        'activation': change('config.json', 'model', 'activation', to='tanh'),
        'dtype': change('config.json', 'model', 'dtype', to='bfloat16'),
        'rate': change('config.json', 'learning_rate', to=0.5),
        'seed': change('config.json', 'seed', to=7),
        'files': change('config.json', 'dataset', 'files', to='x.csv'),
        'less': edit('config.json', lambda v: v.pop('batch_size')),
        'more': change('config.json', 'more', to=1),
        'seed run': take('config.json', 'seed'),
        'log run': take('config.json', 'log'),
    },
    'schema.json': {
        'order': edit('schema.json', lambda v: v['fields'].reverse()),
        'combiner': change('schema.json', 'fields', 2, 'combiner', to='mean'),
        'max_len': change('schema.json', 'fields', 2, 'max_len', to=1),
        'size': change('schema.json', 'fields', 0, 'vocab_size', to=10),
        'table': change('schema.json', 'fields', 1, 'table', to='user'),
        'less': edit('schema.json', lambda v: v['fields'].pop()),
        'tasks': edit('schema.json', lambda v: v['tasks'].pop()),
    },
    'encoder': {
        'log run': take('encoder', 'log'),
        'values': vocabulary,
        'mean': change(ENCODER, 'scalings', 'price', 'mean', to=9.5),
        'max_len': change(ENCODER, 'inputs', 2, 'max_len', to=1),
        'separator': change(ENCODER, 'inputs', 2, 'separator', to=';'),
        'scaling': change(ENCODER, 'inputs', 3, 'scaling', to='log'),
        'size': change(ENCODER, 'schema', 'fields', 3, 'table', to='x'),
        'counts': change('encoder/unseen.json', 'user', 0, to=1),
    },
    'manifest.json': {
        'config': change('manifest.json', 'config_sha256', to='0' * 64),
        'schema': change('manifest.json', 'schema_sha256', to='0' * 64),
        'encoder': change('manifest.json', 'encoder_sha256', to='0' * 64),
        'data': change('manifest.json', 'data', to='toy, sha256 0123'),
        'identity': change('manifest.json', 'identity', to='0' * 64),
        'results': change('manifest.json', 'ended', 'results_sha256', to=['0']),
        'params': change('manifest.json', 'ended', 'params_sha256', to='0'),
        'seed run': take('manifest.json', 'seed'),
        'log run': take('manifest.json', 'log'),
    },
    'results.json': {
        'number': change('results.json', 'test/ctr/auc', to=0.99),
        'less': edit('results.json', lambda v: v.pop('test/ctr/auc')),
        'step': change('results.json', 'selected_step', to=1),
        'seed run': take('results.json', 'seed'),
        'log run': take('results.json', 'log'),
    },
    'metrics.jsonl': {
        'number': harm('metrics.jsonl', lambda p: p.write_text(
            p.read_text().replace('0.', '1.', 1))),
        'line': harm('metrics.jsonl', lambda p: p.write_text(
            ''.join(p.read_text().splitlines(True)[:-1]))),
        'seed run': take('metrics.jsonl', 'seed'),
    },
    'checkpoints': {
        'seed run': take('checkpoints', 'seed'),
        'log run': take('checkpoints', 'log'),
        'resealed': table_of_seed,
    },
}
FILES = (
    'config.json', 'schema.json', 'manifest.json', 'results.json',
    'metrics.jsonl', ENCODER, 'encoder/unseen.json',
    'encoder/vocabulary-000.parquet')
TORN = {
    **{h.__name__: h for h in damage.HARMS},
    'list': lambda p: p.write_text('[]'),
    'object': lambda p: p.write_text('{}'),
    'null': lambda p: p.write_text('null'),
}
CASES = [
    *((part, f'changed: {n}', do)
      for part, harms in CHANGED.items() for n, do in harms.items()),
    *((file, n, harm(file, do)) for file in FILES for n, do in TORN.items()),
    *((name, 'gone', remove(name)) for name in ('encoder', 'checkpoints')),
]


def told(error, part):
  """One line that names the part, or what it is compared with."""
  lines = [line for line in error.splitlines() if line]
  names = [
      *pathlib.Path(part).parts, part.partition('.')[0].rstrip('s'),
      'manifest.json']
  return bool(lines) and any(n in line for line in lines for n in names)


@pytest.mark.parametrize('reader', READERS)
def test_the_whole_run(reader, trained, capfd):
  assert reader(trained.run, trained) == reader(trained.run, trained)
  assert 'warning' not in capfd.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize(
    'part, name, do', CASES,
    ids=lambda v: '' if callable(v) else str(v)[:30])
def test_a_part_that_is_not_the_runs(part, name, do, trained, tmp_path, capfd):
  run = tmp_path / 'run'
  wrong = []
  shutil.copytree(trained.run, run)
  do(run, trained)
  for reader in READERS:
    identity._said.clear()
    whole = reader(trained.run, trained)
    capfd.readouterr()
    try:
      now = reader(run, trained)
      said = capfd.readouterr().err
      # A run without results is an unfinished one.
      unfinished = part == 'results.json' and 'null' in (now, now[0])
      same = now == whole or unfinished
      if not same and not told(said, part):
        wrong.append((reader.__name__, 'silent', said))
    except InputError as e:
      text = str(e)
      if '\n' in text or not told(text, part):
        wrong.append((reader.__name__, text))
  assert not wrong


def test_the_parts_that_no_reader_can_miss(trained, tmp_path):
  """An error, not a warning: other numbers would follow."""
  missed = []
  for k, (part, name, do) in enumerate(CASES):
    run = tmp_path / str(k)
    changed = name.startswith('changed') and part != 'metrics.jsonl'
    if not changed or part == 'manifest.json':
      continue
    shutil.copytree(trained.run, run)
    do(run, trained)
    try:
      load(run, trained)
      missed.append((part, name))
    except InputError:
      pass
    shutil.rmtree(run)
  assert not missed


@pytest.mark.parametrize('part', ['checkpoints', 'manifest.json'])
def test_a_run_resumes_from_its_own_checkpoint_only(part, trained, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(trained.run, run)
  os.remove(run / 'results.json')
  take(part, 'seed')(run, trained)
  before = {p: p.read_bytes() for p in run.rglob('*') if p.is_file()}
  with pytest.raises(InputError, match='config_sha256') as e:
    train_and_evaluate(trained.config, str(run), trained.data)
  assert '\n' not in str(e.value)
  now = {p: p.read_bytes() for p in run.rglob('*') if p.is_file()}
  now.pop(run / '.lock')
  assert now == {p: b for p, b in before.items() if p.name != '.lock'}


@pytest.mark.parametrize('harm', [os.remove, damage.noise])
def test_a_manifest_is_made_again(harm, trained, tmp_path, capfd):
  """Of what the checkpoint carries, when the run resumes."""
  run = tmp_path / 'run'
  shutil.copytree(trained.run, run)
  whole = json.loads((run / 'manifest.json').read_text())
  results = json.loads((run / 'results.json').read_text())
  os.remove(run / 'results.json')
  harm(run / 'manifest.json')
  again = train_and_evaluate(trained.config, str(run), trained.data)
  assert again['test/ctr/auc'] == results['test/ctr/auc']
  assert 'It is made again' in capfd.readouterr().err
  now = json.loads((run / 'manifest.json').read_text())
  assert {**now, 'ended': 0} == {**whole, 'ended': 0}
  assert now['ended']['params_sha256'] == whole['ended']['params_sha256']


def test_replicas_resume_from_their_own_checkpoint_only(
    trained, tmp_path, monkeypatch):
  configs = [trained.config.copy_and_resolve_references() for _ in range(2)]
  configs[1].learning_rate = 0.1
  folders = [str(tmp_path / name) for name in 'ab']
  home = str(tmp_path / 'group')

  def stop(*unused):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(phases, 'write_results', stop)
    with pytest.raises(KeyboardInterrupt):
      train_replicas(configs, folders, trained.data, home)
  others = [str(tmp_path / name) for name in 'cd']
  with pytest.raises(InputError, match='d cannot go on: config_sha256') as e:
    configs[1].learning_rate = 0.2
    train_replicas(configs, others, trained.data, home)
  assert '\n' not in str(e.value) and not os.path.exists(others[0] + '/config')
  configs[1].learning_rate = 0.1
  first, second = train_replicas(configs, folders, trained.data, home)
  whole = json.loads((trained.run / 'results.json').read_text())
  assert first['test/ctr/auc'] == pytest.approx(whole['test/ctr/auc'], abs=1e-4)
  assert first['test/ctr/auc'] != second['test/ctr/auc']
  for folder_ in folders:  # Each has its own identity and stamp.
    model = predictor.load(folder_)
    assert model.stamp == end_note.stamp(folder_)
    assert model.stamp.params_sha256 == identity.hash_params(
        model.trained.params)
  assert end_note.stamp(folders[0]).identity == end_note.stamp(
      str(trained.run)).identity != end_note.stamp(folders[1]).identity


def as_of_old(run):
  """A run as earlier versions wrote it: nothing of its identity."""
  path = run / 'manifest.json'
  old = json.loads(path.read_text())
  keys = ('config_sha256', 'data', 'encoder_sha256', 'versions')
  path.write_text(json.dumps({k: old[k] for k in keys}))
  for position in run.glob('checkpoints/*/position/metadata'):
    value = json.loads(position.read_text())
    for one in value['runs']:
      one.pop('began')
    position.write_text(json.dumps(value))
    checksums.seal(str(position.parent.parent))


@pytest.mark.parametrize('reader', READERS)
def test_a_run_of_an_earlier_version(reader, trained, tmp_path, capfd):
  run = tmp_path / 'run'
  shutil.copytree(trained.run, run)
  as_of_old(run)
  here, there = reader(run, trained), reader(trained.run, trained)
  assert here == there or reader is begin  # The seal's hash is another one.
  assert 'warning' not in capfd.readouterr().err


def test_a_run_of_an_earlier_version_resumes_with_an_identity(
    trained, tmp_path):
  run = tmp_path / 'run'
  shutil.copytree(trained.run, run)
  whole = json.loads((run / 'manifest.json').read_text())
  as_of_old(run)
  os.remove(run / 'results.json')
  train_and_evaluate(trained.config, str(run), trained.data)
  now = json.loads((run / 'manifest.json').read_text())
  assert now['identity'] == whole['identity']
  assert now['ended']['params_sha256'] == whole['ended']['params_sha256']
  change('config.json', 'model', 'activation', to='tanh')(run, trained)
  with pytest.raises(InputError, match='config.json is not that of the run'):
    load(run, trained)


def test_an_earlier_version_with_another_config_warns(
    trained, tmp_path, capfd):
  run = tmp_path / 'run'
  shutil.copytree(trained.run, run)
  as_of_old(run)
  change('config.json', 'learning_rate', to=0.5)(run, trained)
  load(run, trained)
  said = capfd.readouterr().err
  assert said.startswith('warning: ') and 'config.json is not that' in said


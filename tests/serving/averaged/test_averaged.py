"""Several runs as one model: the mean of their log-odds."""

import dataclasses
import importlib
import json
import os
import pathlib
import shutil

import esmm_jax
from esmm_jax.json_files import read_json
from esmm_jax.schema import Field, Schema
from esmm_jax.serving import evaluation, exporting, members, restore
from esmm_jax.serving import run_predictions, scoring
from esmm_jax.serving.averaged import Averaged, distinct_names, mean_outputs
from esmm_jax.serving.model_inputs import features
from esmm_jax.serving.predictor import Predictor
from esmm_jax.tasks import CART_FUNNEL, CLICKED, FUNNEL, Task
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, predictions
from esmm_jax.workdir.identity import of_members, Stamp
import numpy as np
from pyarrow import parquet
import pytest
from scipy import special

from tests import toy as toys
from tests.serving import test_export
from tests.serving.served import Finished

SCORES = ('p_ctr', 'p_cvr', 'p_ctcvr')
PLAY = (*FUNNEL, Task('play_time', 'play_time', 'ctr', 'regression'))


@pytest.fixture(scope='module')
def folders(finished, group):
  """Three runs: one that was trained alone, and the two replicas."""
  return [str(finished.folder), *group[1]]


@pytest.fixture(scope='module')
def mean(folders):
  return esmm_jax.load(folders)


def logits(folders, finished):
  """The mean log-odds, of what training itself saved, in float64."""
  every = []
  for folder in folders:
    saved = Finished(pathlib.Path(folder), finished.data).saved()
    every.append([
        special.logit(saved[name].to_numpy().astype(np.float64))
        for name in SCORES[:2]])
  return np.mean(every, axis=0)


@pytest.mark.parametrize('num', [2, 3])
def test_the_mean_of_the_log_odds(num, folders, finished):
  """And p_ctcvr is the product, not the mean of its own log-odds."""
  ctr, cvr = logits(folders[:num], finished)
  predictor = esmm_jax.load(folders[:num])
  assert isinstance(predictor, Predictor)
  outputs = predictor.split_outputs(finished.builder(), 'test')
  np.testing.assert_allclose(outputs['ctr'], ctr, rtol=2e-6, atol=2e-6)
  np.testing.assert_allclose(outputs['cvr'], cvr, rtol=2e-6, atol=2e-6)
  assert all(value.dtype == np.float32 for value in outputs.values())
  got = predictor.predict(finished.columns())
  assert list(got) == list(SCORES)
  p = special.expit(ctr), special.expit(cvr)
  for name, want in zip(SCORES, (*p, p[0] * p[1])):
    np.testing.assert_allclose(got[name], want, rtol=3e-6)
  np.testing.assert_allclose(
      got['p_ctcvr'], got['p_ctr'].astype(np.float64) * got['p_cvr'], rtol=1e-6)
  # It is none of the members, and another one than the mean of the joint.
  alone = [Finished(f, finished.data).predictor() for f in folders[:num]]
  joint = special.expit(np.mean([
      p.outputs(finished.columns())['ctcvr'] for p in alone], axis=0))
  assert np.abs(got['p_ctcvr'] / joint - 1).max() > 1e-3


def test_the_order_changes_no_bit(mean, finished):
  columns = finished.columns(0, 1000)
  want = mean.predict(columns)
  for order in ((2, 1, 0), (1, 2, 0)):
    other = Averaged([mean.members[k] for k in order])
    assert other.stamp == mean.stamp
    for name, value in other.predict(columns).items():
      np.testing.assert_array_equal(value, want[name])


def test_one_run_is_itself_to_the_bit(folders, finished):
  saved = finished.saved()
  for one in (
      esmm_jax.load(folders[0]), esmm_jax.load([folders[0]]),
      Averaged([restore.restore(folders[0])])):
    outputs = one.split_outputs(finished.builder(), 'test')
    scores = one.scores(outputs, 'none', 'product')
    for name in SCORES:
      np.testing.assert_array_equal(scores[name], saved[name].to_numpy())
    assert one.stamp == finished.predictor().stamp
    assert list(one.about()) == ['run'] and one.results['steps']


def test_the_face_of_a_predictor(mean, folders, finished):
  alone = finished.predictor()
  assert mean.names == alone.names and mean.schema == alone.schema
  assert mean.sizes == alone.sizes and mean.folder == alone.folder
  table = finished.table(0, 100)
  assert mean.unseen(table) == alone.unseen(table)
  assert mean.predict(table)['p_cvr'].shape == (100,)
  # One compilation for each size, whatever the number of members.
  once = esmm_jax.load(folders, 20)
  assert once.sizes == [1, 20] and once.results == {}
  for num in (1, 20, 30):
    once.predict(table.slice(0, num))
  assert once.num_compiled == 2
  assert once.predict(table.slice(0, 0))['p_ctr'].shape == (0,)
  with pytest.raises(InputError, match='batch_size is -1'):
    Averaged(mean.members, -1)


def test_evaluation(mean, folders, finished):
  """Of a split, and of the same rows in memory: metrics of the mean."""
  ctr, _ = logits(folders, finished)
  saved = finished.saved()
  want = esmm_jax.auc(ctr, saved['click'].to_numpy())
  builder = finished.builder()
  result = evaluation.evaluate_split(mean, builder, 'test')
  assert result['ctr/auc'] == pytest.approx(want, abs=1e-6)
  assert result['rows'] == 3000 and 'cvr_entire/kl' in result
  table = finished.table()
  for name in ('click', 'conversion'):
    if name not in table.column_names:
      table = table.append_column(name, saved[name])
  assert mean.evaluate(table)['ctr/auc'] == pytest.approx(want, abs=1e-6)


def test_metrics_of_the_test_split(mean, finished, tmp_path):
  """Those of one run are those of its results.json, to the digit."""
  path = str(tmp_path / 'p.parquet')
  data = str(finished.data)
  got = run_predictions.score_test(finished.predictor(), data, path)
  results = read_json(str(finished.folder / 'results.json'))
  assert len(got) > 15
  for name, value in got.items():
    assert np.isnan(value) if results[name] is None else value == results[name]
  of_mean = run_predictions.score_test(mean, data, path)
  assert of_mean.keys() == got.keys()
  assert of_mean['test/ctr/auc'] != got['test/ctr/auc']
  assert predictions.stamp_of(path) == mean.stamp


SHAPES = {
    'cart': (CART_FUNNEL, ('ctr', 'atr', 'ptr')),
    'regression': (PLAY, ('ctr', 'cvr', 'play_time')),
    'clicks': (CLICKED, ('cvr',)),
}


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('num', [1, 2, 5])
def test_funnels(shape, num):
  """Means in float64; what is over all impressions is the product."""
  tasks, names = SHAPES[shape]
  rng = np.random.default_rng(num)
  every = [
      {name: rng.normal(size=7).astype(np.float32) for name in names}
      for _ in range(num)
  ]
  if num == 1:
    assert mean_outputs(every, tasks) == every[0]
    return
  got = {n: np.asarray(v) for n, v in mean_outputs(every, tasks).items()}
  raw = {n: np.mean([m[n].astype(np.float64) for m in every], 0) for n in names}
  p = {n: special.expit(v) for n, v in raw.items()}
  want = dict(raw)
  if shape == 'cart':
    want['ctatr'] = special.logit(p['ctr'] * p['atr'])
    want['ctcvr'] = special.logit(p['ctr'] * p['atr'] * p['ptr'])
    want['cvr'] = special.logit(p['atr'] * p['ptr'])
  if shape == 'regression':
    want['ctcvr'] = special.logit(p['ctr'] * p['cvr'])
    want['ctplay_time'] = p['ctr'] * raw['play_time']
  if shape == 'clicks':
    want['cvr_clicked'] = raw['cvr']
  assert got.keys() == want.keys()
  for name, value in want.items():
    np.testing.assert_allclose(got[name], value, rtol=2e-6, atol=1e-6)


def in_memory(file, seed, tasks=FUNNEL, fields=None):
  """A model with random parameters, of no run."""
  config = importlib.import_module(f'configs.{file}').get_config('smoke')
  config.update_from_flattened_dict({'eval_batch_size': 64})
  fields = fields or toys.SCHEMA.fields
  schema = dataclasses.replace(toys.SCHEMA, tasks=tasks, fields=fields)
  plan = restore.plan(Settings.read(config), schema)
  rng = np.random.default_rng(seed)
  width = config.model.embed_dim * plan.model.num_tables
  table = rng.normal(size=(schema.num_rows, 1, width)).astype(np.float32)
  params = test_export.params_of(
      plan, table, toys.random_batch(2, num_rows=9))
  return restore.Trained(config, schema, plan, params)


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize(
    'files', [('esmm', 'esmm'), pytest.param(
        ('esmm', 'mmoe', 'esmm'), marks=pytest.mark.long)])
def test_models_of_other_kinds_and_their_export(files, tmp_path):
  """One program, which has the parameters of each and the same scores."""
  every = [in_memory(file, k) for k, file in enumerate(files)]
  mean = Averaged(every)
  columns = toys.columns('test')
  got = mean.outputs(columns)
  alone = [Predictor(member).outputs(columns) for member in every]
  for name in ('ctr', 'cvr'):
    want = np.mean([a[name].astype(np.float64) for a in alone], axis=0)
    np.testing.assert_allclose(got[name], want, rtol=1e-6, atol=1e-6)
    assert np.ptp(want) > 0.1
  scores = mean.predict(columns)
  exporting.export(mean, str(tmp_path / 'x'))
  call, params = exporting.load(str(tmp_path / 'x'))
  assert {name.split('.')[0] for name in params} == set('012'[:len(files)])
  inputs = features(mean.schema, columns)
  for num in (75, 1):
    exported = call(params, {k: v[:num] for k, v in inputs.items()})
    for name in SCORES:
      np.testing.assert_allclose(
          exported[name], scores[name][:num], rtol=1e-5, atol=1e-7)
  # One of the programs alone has the names of before.
  assert 'table' in exporting.flat_params(Averaged(every[:1]))


@pytest.mark.long
def test_what_an_export_says(mean, folders, tmp_path):
  """Its description names every member."""
  sizes = exporting.export(mean, str(tmp_path / 'x'))
  about = json.loads((tmp_path / 'x' / 'description.json').read_text())
  assert about['run'] == mean.stamp.to_dict()
  alone = [Finished(f, '').predictor() for f in folders]
  assert about['members'] == {
      os.path.basename(f): p.stamp.to_dict() for f, p in zip(folders, alone)}
  one = sum(
      np.asarray(v).nbytes for v in exporting.flat_params(alone[0]).values())
  assert sizes['params'] == 3 * one
  assert np.array_equal(
      np.load(tmp_path / 'x' / 'params' / '2.table.npy'),
      alone[2].trained.params['table'])


class Breaking:
  """A data set whose second part cannot be read."""

  def __init__(self, builder):
    self._builder = builder

  def __getattr__(self, name):
    return getattr(self._builder, name)

  def as_data_source(self, split):
    source = self._builder.as_data_source(split)

    class Source:
      def __len__(self):
        return len(source)

      def joined(self, low, high):
        if low:
          raise KeyboardInterrupt
        return source.joined(low, high)

    return Source()


def test_scores_name_their_members(mean, folders, finished, tmp_path):
  """A job resumes with the same members only, in any order, under any name."""
  output, builder = str(tmp_path / 's.parquet'), finished.builder()

  def score(predictor, builder=builder):
    return scoring.score_split(
        predictor, builder, 'test', output, part_rows=1024)

  with pytest.raises(KeyboardInterrupt):
    score(mean, Breaking(builder))
  for other in (folders[:2], folders[:1]):
    with pytest.raises(InputError, match='of another job: members is .* here'):
      score(esmm_jax.load(other))
  moved = str(tmp_path / 'moved')
  shutil.copytree(folders[2], moved)
  assert score(esmm_jax.load([moved, *folders[:2]])) == 3000
  about = json.loads(parquet.read_schema(output).metadata[predictions.KEY])
  assert about['run'] == mean.stamp.to_dict()
  names = ['moved', *map(os.path.basename, folders[:2])]
  assert list(about['members']) == names
  got = parquet.read_table(output)['p_ctr'].to_numpy()
  outputs = mean.split_outputs(builder, 'test')
  want = mean.scores(outputs, 'none', 'product')['p_ctr']
  np.testing.assert_array_equal(got, want)
  # And the other way round: parts of one run are not those of several.
  shutil.rmtree(f'{output}.parts', ignore_errors=True)
  os.remove(output)
  with pytest.raises(KeyboardInterrupt):
    score(esmm_jax.load(folders[0]), Breaking(builder))
  with pytest.raises(InputError, match='of another job'):
    score(mean)


def changed(member, tmp_path, **facts):
  """The same run in a folder whose manifest says something else."""
  folder = str(tmp_path / 'changed')
  os.mkdir(folder)
  began = manifest.read(member.folder) | facts
  del began[manifest.IDENTITY]
  manifest.write(folder, began)
  return member._replace(folder=folder)


def of_schema(member, **changes):
  schema = dataclasses.replace(member.schema, **changes)
  return member._replace(schema=schema)


def of_dataset(member, **changes):
  config = member.config.copy_and_resolve_references()
  config.dataset.update(changes)
  return member._replace(config=config)


def larger(schema):
  first, *rest = schema.fields
  first = dataclasses.replace(first, vocab_size=first.vocab_size + 1)
  return (first, *rest)


OTHERS = {
    'tasks': (
        lambda m, _: of_schema(m, tasks=FUNNEL[:1]),
        'their tasks are ctr of click, cvr of conversion and ctr of click'),
    'field': (
        lambda m, _: of_schema(m, fields=m.schema.fields[1:]),
        "only one of them has the field 'user'"),
    'vocabulary': (
        lambda m, _: of_schema(m, fields=larger(m.schema)),
        "of the field 'user' vocab_size is"),
    'order': (
        lambda m, _: of_schema(m, fields=m.schema.fields[::-1]),
        'their schemas differ'),
    'encoder': (
        lambda m, t: changed(m, t, encoder_sha256='f' * 64),
        'encoders of raw values differ .encoder_sha256 is absent and fff'),
    'options': (
        lambda m, t: changed(m, t, encoder_options_sha256='f' * 64),
        'encoders of raw values differ .encoder_options_sha256 is'),
    'data': (
        lambda m, t: changed(m, t, data='x, sha256 0123456789abcdef'),
        'other data .*sha256 .* and x, sha256 0123456789abcdef'),
    'dataset': (
        lambda m, _: of_dataset(m, test_split='test[:50%]'),
        r'dataset.test_split is test here and test\[:50%\] there'),
}


@pytest.mark.parametrize('case', OTHERS)
def test_runs_that_are_not_averaged(case, mean, tmp_path):
  """Refused with the names of both and what differs."""
  change, text = OTHERS[case]
  one, two = mean.members[:2]
  other = change(two, tmp_path)
  names = f'{one.folder} and {other.folder} cannot be averaged: '
  with pytest.raises(InputError, match=f'^{names}.*{text}'):
    Averaged([one, other])


def test_runs_that_may_differ(mean, finished):
  """In what they were trained on of the same data, and in the model."""
  one, two = mean.members[:2]
  other = of_dataset(two, train_split='train[:50%]', raw_dir='elsewhere')
  other.config.learning_rate = 0.5
  got = Averaged([one, other]).predict(finished.columns(0, 9))
  want = Averaged([one, two]).predict(finished.columns(0, 9))
  np.testing.assert_array_equal(got['p_cvr'], want['p_cvr'])


def test_a_run_counts_once(folders, mean, tmp_path):
  copy = str(tmp_path / 'copy')
  shutil.copytree(folders[1], copy)
  with pytest.raises(InputError, match='copy have the same parameters, so'):
    esmm_jax.load([*folders, copy])
  with pytest.raises(InputError, match='one is a copy of the other'):
    Averaged([mean.members[0], mean.members[1], mean.members[0]])
  with pytest.raises(InputError, match='is there twice; name each run once'):
    esmm_jax.load([folders[0], folders[1], folders[0]])
  link = str(tmp_path / 'link')
  os.symlink(folders[0], link)
  with pytest.raises(InputError, match='link is the same folder as .*run'):
    esmm_jax.load([folders[0], link])


def test_calibrated_scores_are_refused(mean, finished, tmp_path):
  columns, text = finished.columns(0, 5), 'calibrated=platt: .* mean of 3'
  with pytest.raises(InputError, match=text):
    mean.predict(columns, 'platt')
  with pytest.raises(InputError, match=text):
    exporting.export(mean, str(tmp_path / 'x'), 'platt')
  with pytest.raises(InputError, match=text):
    scoring.score_split(
        mean, finished.builder(), 'test', str(tmp_path / 's.csv'), 'platt')


def test_common_ctr(mean, finished):
  """That of one member is not that of the mean, unless it is itself."""
  one, two = mean.members[:2]
  configs = [m.config.copy_and_resolve_references() for m in (one, two)]
  for config in configs:
    config.common_ctr = '.'
  pair = [one._replace(config=configs[0]), two._replace(config=configs[1])]
  result = evaluation.evaluate_split(
      Averaged(pair), finished.builder(), 'test')
  assert result['ctcvr_common/auc'] == pytest.approx(result['ctcvr/auc'])
  configs[1].common_ctr = '../base'
  result = evaluation.evaluate_split(
      Averaged(pair), finished.builder(), 'test')
  assert 'ctcvr_common/auc' not in result


def test_names_that_tell_folders_apart():
  assert distinct_names(['runs/a', 'runs/b/']) == ['a', 'b']
  assert distinct_names(['x/1/run', 'y/1/run']) == ['x/1/run', 'y/1/run']
  assert distinct_names(['x/1/run', 'x/2/run', 'x/2/go']) == [
      '1/run', '2/run', '2/go']


def test_a_row_of_a_sweep(group, finished):
  """Its runs were trained in one program; the only row needs no name."""
  root, runs = group
  columns = finished.columns(0, 20)
  want = esmm_jax.load(runs).predict(columns)
  got = esmm_jax.load(str(root), row='ESMM')
  assert got.member_names == list(map(os.path.basename, runs))
  np.testing.assert_array_equal(got.predict(columns)['p_ctr'], want['p_ctr'])
  assert members.folders(str(root)) == runs
  with pytest.raises(InputError, match='names none of the rows of .*: ESMM'):
    esmm_jax.load(str(root), row='MMoE')
  with pytest.raises(InputError, match='has no sweep.json|is not the folder'):
    esmm_jax.load(runs[0], row='ESMM')
  with pytest.raises(InputError, match='is of one sweep, and .* 2 folders'):
    esmm_jax.load(runs, row='ESMM')
  with pytest.raises(InputError, match='is the folder of a sweep. Name it al'):
    esmm_jax.load([str(root), runs[0]])


def test_the_stamp_of_several(mean):
  """Knows what all of them know."""
  known = [Stamp('a', 1, 'x'), Stamp('b', 2, 'y')]
  both = of_members(known)
  assert both == of_members(known[::-1]) and both.step == 0
  assert len({both.identity, both.params_sha256, 'a', 'b', 'x', 'y'}) == 6
  assert of_members(known[:1]) == known[0]
  assert of_members([known[0], Stamp('', 2, 'y')])[::2] == (
      '', both.params_sha256)
  assert of_members([known[0], Stamp('b', 2, '')])[::2] == (both.identity, '')
  assert mean.stamp.identity and mean.stamp.params_sha256


def test_schema_of_no_run():
  """Models without folders are compared by their schemas."""
  one = in_memory('esmm', 0)
  other = in_memory('esmm', 1)
  assert Averaged([one, other]).about()['members'].keys()
  fields = (*toys.SCHEMA.fields[:-1], Field('z', 'float'))
  assert isinstance(Schema(fields), Schema)
  with pytest.raises(InputError, match='only one of them has the field'):
    members.require_alike([one, of_schema(other, fields=fields)])

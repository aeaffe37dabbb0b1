"""Runs that are trained anew on their rows of training and of validation."""

import json
import math
import os
import shutil

from esmm_jax.optim.network import schedule, ScheduleOptions
from esmm_jax.training import parts
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.types import InputError
from esmm_jax.warm_start import refit, refit_steps
from esmm_jax.warm_start.options import RefitOptions
from esmm_jax.warm_start.resolve import resolve
from esmm_jax.workdir import end_note, manifest, provenance
import jax.numpy as jnp
import numpy as np
from pyarrow import parquet
import pytest

from experiments import load
from tests.serving.served import small_config
from tests.training.test_end_to_end import command, fingerprint, metrics
from tests.training.test_end_to_end import results, run
from tests.training.test_killed import finish, start
from tests.warm_start import days

pytestmark = pytest.mark.usefixtures('quick_compilation')
BOTH = 'train+valid'
# The highest log loss is that of the first evaluation: it is half an epoch.
CHANGES = dict(
    num_epochs=2, evals_per_epoch=2, selection__metric='valid/ctcvr/logloss',
    selection__mode='max', schedule__name='cosine', schedule__warmup_steps=4,
    model__dropout=0.1)
BATCH = 64


def refit_options(step, split='train', data=''):
  return RefitOptions(
      refit_of='runs/a', refit_step=step, refit_split=split, refit_data=data)


@pytest.mark.parametrize('step, before, now, epochs, warmup, expected', [
    (20, 10, 12, 3, 0, (24, 36, 0)),  # Whole epochs stay whole.
    (5, 10, 12, 3, 5, (6, 36, 6)),
    (3, 7, 8, 1, 3, (3, 8, 3)),  # 3.43
    (4, 7, 8, 1, 4, (5, 8, 5)),  # 4.57
    (1, 2, 3, 1, 1, (2, 3, 2)),  # 1.5: a half is rounded up.
    (3, 2, 3, 2, 0, (5, 6, 0)),  # 4.5
    (1, 1000, 1001, 9, 0, (1, 9009, 0)),
    (4, 4, 4, 1, 2, (4, 4, 2)),  # No step more.
])
def test_steps(step, before, now, epochs, warmup, expected):
  length = refit_steps.length(
      refit_options(step, 'train[:50%]'), epochs, warmup, now,
      lambda split: {'train[:50%]': before}[split])
  assert length == expected


def test_steps_of_a_run_that_is_no_refit():
  length = refit_steps.length(RefitOptions(), 3, 5, 12, lambda split: 1 / 0)
  assert length == (36, 36, 5)


@pytest.mark.parametrize('name', ['constant', 'cosine', 'exponential'])
def test_learning_rate_of_the_same_share_of_an_epoch(name):
  """With twice as many steps in an epoch, at twice the step."""
  before, now = 200, 400
  options = ScheduleOptions(name=name, warmup_steps=50)
  length = refit_steps.length(
      refit_options(301), 3, 50, now, lambda split: before)
  assert length == (602, 1200, 100)
  old = schedule(options, 3 * before)
  new = schedule(
      ScheduleOptions(name=name, warmup_steps=100), length.schedule)
  for step in (0, 49, 50, 99, 300, 301, 599):
    np.testing.assert_allclose(
        new(jnp.asarray(2 * step)), old(jnp.asarray(step)), atol=0.011)


@pytest.mark.parametrize('split, names', [
    ('train', ['train']), ('train[:10%]+valid', ['train', 'valid']),
    ('all[5:] + valid[50%:]', ['all', 'valid'])])
def test_names_of_splits(split, names):
  assert refit_steps.names(split) == names


@pytest.fixture(scope='module')
def toy_hash(toy):
  return manifest.data_hash(provenance.data(toy))


class Splits:
  """The settings of a section `dataset`."""

  def __init__(self, train, test, **more):
    self.section = {'name': 'toy', **more}
    self.train_split, self.test_split, self.valid_split = train, test, ''


@pytest.mark.parametrize('train, test, words', [
    ('train[:50%]+train[40%:]', 'test', '15 rows occur twice .* so it sele'),
    ('train+all', 'test', '150 rows occur twice'),
    ('train+test', 'test', 'share 75 rows with dataset.test_split'),
    ('train+valid', 'valid[50%:]', 'share 10 rows with'),
    ('all', 'test', 'share 75 rows with'),
])
def test_rows_that_must_be_others(toy, toy_hash, train, test, words):
  with pytest.raises(InputError, match=words) as error:
    refit_steps.check_data(
        refit_options(1, data=toy_hash), Splits(train, test),
        lambda section: toy)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('train, test', [
    (BOTH, 'test'), ('train[:90%]+train[90%:]', 'test'), (BOTH, ''),
    ('train+valid[:50%]', 'valid[50%:]')])
def test_rows_that_may_be(toy, toy_hash, train, test):
  """The data is that of the run, fitted on its rows of training."""
  opened = []
  refit_steps.check_data(
      refit_options(1, data=toy_hash), Splits(train, test, fit_on=BOTH),
      lambda section: opened.append(section) or toy)
  assert opened == [{'name': 'toy'}]


def test_other_data(toy):
  with pytest.raises(InputError, match='runs/a was trained on data with the'):
    refit_steps.check_data(
        refit_options(1, data='ab'), Splits(BOTH, 'test'), lambda section: toy)


@pytest.mark.parametrize('valid, test, key', [
    ('valid', 'test', 'valid'), ('valid[:50%]', 'test', 'valid'),
    ('', 'valid[50%:]', 'test'), ('train[90%:]+valid', 'test', 'valid')])
def test_fitted_rows_are_not_held_out(valid, test, key):
  splits = Splits('train', test, fit_on=BOTH)
  splits.valid_split = valid
  words = f'dataset.{key}_split .* are not held out'
  with pytest.raises(InputError, match=words):
    refit_steps.check_held_out(splits)
  splits.section['fit_on'] = 'train'
  refit_steps.check_held_out(splits)


# Below, runs are trained.
slow = [
    pytest.mark.long, pytest.mark.usefixtures('quick_compilation')]


def marked(function):
  for mark in slow:
    function = mark(function)
  return function


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('days'))


@pytest.fixture(scope='module')
def first(root):
  """The run, and its results."""
  return days.train(root, 'first', 1, **CHANGES)


@pytest.fixture(scope='module')
def second(root, first):
  """Its refit, and the results of that."""
  return days.train(root, 'second', 1, refit_of=first[0], **CHANGES)


def config_json(workdir):
  with open(os.path.join(workdir, 'config.json'), encoding='utf-8') as f:
    return json.load(f)


def builders(root, *workdirs):
  return [
      parts.dataset(config_json(w)['dataset'], os.path.join(root, 'data'))
      for w in workdirs]


@marked
def test_rows_and_steps(root, first, second):
  """Those of training and of validation, for the epochs that were selected."""
  (workdir, then), (refit_dir, now) = first, second
  before, after = builders(root, workdir, refit_dir)
  sizes = [before.info.splits[s].num_examples for s in ('train', 'valid')]
  length, longer = (math.ceil(n / BATCH) for n in (sizes[0], sum(sizes)))
  assert length < longer
  assert then['selected_step'] == math.ceil(length / 2) < then['steps']
  assert now['steps'] == now['selected_step'] == (
      math.floor(then['selected_step'] * longer / length + 0.5))
  tree = days.config(
      days.write(root, 1), refit_of=workdir, **CHANGES)
  with days.before_the_first_step(root, 'rows', tree) as (job, _):
    batches = job.program.batches
    assert job.program.total_steps == now['steps']
    assert sorted(batches.order(0)) == list(range(sum(sizes)))
    source = job.program.builder.as_data_source(job.common.dataset.train_split)
    assert len(source) == batches.num_rows == sum(sizes)
    # The rate of the last step that was selected, not the lowest.
    rate = float(job.program.plan.schedule(jnp.asarray(now['steps'] - 1)))
    warmup, last = round(4 * longer / length), 2 * longer - 1
    share = (now['steps'] - 1 - warmup) / (last - warmup)
    cosine = (1 + math.cos(math.pi * share)) / 2
    assert rate == pytest.approx(0.01 + 0.99 * cosine)
  numbers = source.read(0, len(source))['row_number']
  expected = [
      s.read(0, len(s))['row_number']
      for s in map(before.as_data_source, ('train', 'valid'))]
  assert sorted(numbers) == sorted(np.concatenate(expected))
  for old, new in zip(*(
      [b.as_data_source('test') for _ in 'x'] for b in (before, after))):
    old, new = (s.read(0, len(s)) for s in (old, new))
    for name in ('row_number', 'click', 'conversion', 'group_key'):
      np.testing.assert_array_equal(old[name], new[name])


@marked
def test_what_it_says(first, second, root):
  (workdir, then), (refit_dir, now) = first, second
  stamp = end_note.stamp(workdir)
  assert now['refit_of'] == {
      'identity': stamp.identity, 'step': then['selected_step'],
      'params_sha256': stamp.params_sha256, 'metric': 'valid/ctcvr/logloss'}
  assert 'refit_of' not in then
  lines = metrics(refit_dir)
  keys = [set(line) for line in lines]
  assert not any(k.startswith('valid/') for k in set().union(now, *keys))
  # The test split is seen once, at the end.
  assert [any(k.startswith('test/') for k in line) for line in keys] == (
      [False] * (len(lines) - 1) + [True])
  assert lines[-1]['step'] == now['steps']
  config = config_json(refit_dir)
  dataset = config['dataset']
  assert [dataset[k] for k in ('train_split', 'valid_split', 'fit_on')] == [
      BOTH, '', BOTH]
  assert config['selection'] == {'metric': '', 'patience': 0}
  assert config['refit_split'] == 'train'


@marked
def test_equals_a_run_that_is_made_by_hand(root):
  """Where the last parameters were taken, with its own steps."""
  changes = dict(num_epochs=2, selection__metric='')
  workdir, then = days.train(root, 'last', 1, **changes)
  refit_dir, now = days.train(
      root, 'last refit', 1, refit_of=workdir, **changes)
  assert now['refit_of']['metric'] == '' and now['steps'] > then['steps']
  assert then['selected_step'] == then['steps']
  hand, by_hand = days.train(
      root, 'by hand', 1, dataset__train_split=BOTH, dataset__valid_split='',
      dataset__fit_on=BOTH, **changes)
  assert fingerprint(refit_dir) == fingerprint(hand)
  expected = results(hand)
  assert results(refit_dir) == expected | {'refit_of': now['refit_of']}
  assert by_hand['test/ctr/auc'] != then['test/ctr/auc']


@marked
def test_again_and_without_the_other_run(root, first, second, tmp_path):
  """The same call again; the folder may lie elsewhere or be gone."""
  copy = str(tmp_path / 'copy')
  shutil.copytree(first[0], copy)
  workdir, now = days.train(root, 'of a copy', 1, refit_of=copy, **CHANGES)
  same = lambda r: {k: v for k, v in r.items() if 'second' not in k}
  assert same(now) == same(second[1])
  moved = days.train(
      root, 'of a copy', 1, refit_of=f'{copy}/../copy/', **CHANGES)
  shutil.rmtree(copy)
  gone = days.train(root, 'of a copy', 1, refit_of=copy, **CHANGES)
  assert moved == gone == (workdir, now)
  with pytest.raises(InputError, match='refit_of=.* not the folder of a run'):
    days.train(root, 'not begun', 1, refit_of=copy, **CHANGES)
  with pytest.raises(InputError, match='belongs to a run with another config'):
    days.train(root, 'of a copy', 1, **CHANGES)


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_another_run_at_the_path(root, first, second, tmp_path):
  """Trained with another seed, it is another run."""
  path = str(tmp_path / 'run')
  shutil.copytree(first[0], path)
  days.train(str(tmp_path), 'again', 1, refit_of=path, **CHANGES)
  shutil.rmtree(path)
  days.train(str(tmp_path), 'run', 1, seed=1, **CHANGES)
  with pytest.raises(InputError, match='refit_of=.*: seed is 0 here and 1 the'):
    days.train(str(tmp_path), 'new', 1, refit_of=path, **CHANGES)
  with pytest.raises(InputError, match='belongs to a run with another config'):
    days.train(str(tmp_path), 'again', 1, refit_of=path, seed=1, **CHANGES)


CONTRADICTIONS = [
    ({'seed': 1}, 'seed is 1 here and 0 there'),
    ({'num_epochs': 3}, 'num_epochs is 3 here and 2 there'),
    ({'batch_size': 32}, 'batch_size is 32 here and 64 there'),
    ({'learning_rate': 0.1}, 'learning_rate is 0.1 here and 0.01 there'),
    ({'init_seed': 7}, 'init_seed is 7 here and absent there'),
    ({'init_from': '{first}'}, 'init_from is .* here but no run in that'),
    ({'model__embed_dim': 8}, 'model.embed_dim is 8 here and 4 there'),
    ({'model__tower_units': (4,)}, r'model.tower_units is \[4\] here'),
    ({'schedule__warmup_steps': 0}, 'schedule.warmup_steps is 0 here and 4'),
    ({'selection__metric': 'valid/ctr/auc', 'selection__mode': 'max'},
     'selection.metric is valid/ctr/auc here'),
    ({'selection__patience': 1}, 'selection.patience is 1 here and 0 there'),
    ({'dataset__id': 'user,item'}, 'dataset.id is user,item here'),
    ({'dataset__min_count': 1}, 'dataset.min_count is 1 here and 2 there'),
    ({'dataset__split_seed': 1}, 'dataset.split_seed is 1 here and 0 there'),
    ({'dataset__test_share': 0.2}, 'dataset.test_share is 0.2 here and 0.1'),
    ({'dataset__train_split': 'train[:50%]'}, 'dataset.train_split is train'),
    ({'dataset__valid_split': ''}, 'dataset.valid_split is  here and valid'),
    ({'dataset__fit_on': BOTH}, 'dataset.fit_on is train.valid here and abs'),
]


@marked
@pytest.mark.parametrize('changes, words', CONTRADICTIONS)
def test_other_keys(root, first, changes, words):
  changes = {
      k: v.format(first=first[0]) if isinstance(v, str) else v
      for k, v in changes.items()}
  tree = days.config(
      days.write(root, 1), refit_of=first[0], **(CHANGES | changes))
  with pytest.raises(InputError, match=words) as error:
    train_and_evaluate(tree, os.path.join(root, 'refused'))
  assert '\n' not in str(error.value)
  assert not os.path.exists(os.path.join(root, 'refused'))


@marked
@pytest.mark.parametrize('name, words', [
    ('absent', 'refit_of=.*absent is not the folder of a run'),
    ('unfinished', 'unfinished is not finished: there is no results.json'),
    ('changed', 'results.json differs from what this run wrote'),
    ('torn', 'results.json is not JSON'),
    ('other config', 'config.json is not that of the run'),
    ('other schema', 'schema.json is not that of the run'),
    ('early', 'did not record its data and results'),
    ('refit', 'is itself a refit'),
    ('no validation', 'had no validation split'),
    ('refused', 'is the folder of the run itself'),
])
def test_no_run_to_refit(root, first, second, name, words):
  path = os.path.join(root, name)
  tree = days.config(days.write(root, 1), **CHANGES)
  if name == 'refit':
    path = second[0]
  elif name == 'no validation':
    tree.dataset.valid_split, tree.selection.metric = '', ''
    tree.selection.mode = None
    train_and_evaluate(tree, path, os.path.join(root, 'data'))
  elif name not in ('absent', 'refused'):
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(first[0], path)
    damage(path, name)
  tree.refit_of = path
  with pytest.raises(InputError, match=words) as error:
    train_and_evaluate(tree, os.path.join(root, 'refused'))
  assert '\n' not in str(error.value)
  assert not os.path.exists(os.path.join(root, 'refused'))


def damage(path, name):
  """Damages a copy of a run."""
  edited = {
      'changed': ('results.json', lambda v: v | {'selected_step': 3}),
      'other config': ('config.json', lambda v: v | {'seed': 5}),
      'other schema': ('schema.json', lambda v: v | {'group': ''}),
      'early': ('manifest.json', lambda v: {
          'config_sha256': v['config_sha256'], 'data': v['data'],
          'versions': v['versions']}),
  }
  file, change = edited.get(name, ('results.json', None))
  file = os.path.join(path, file)
  if name == 'unfinished':
    os.remove(file)
    return
  with open(file, encoding='utf-8') as f:
    text = f.read()
  text = json.dumps(change(json.loads(text))) if change else text[:99]
  with open(file, 'w', encoding='utf-8') as f:
    f.write(text)


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_other_rows_in_the_files(first, root, tmp_path):
  """Of another day at the same path, whose data is prepared anew or not."""
  log, data = str(tmp_path / 'log.parquet'), str(tmp_path / 'data')
  parquet.write_table(days.day(1), log)
  workdir = str(tmp_path / 'run')
  tree = days.config(log, **CHANGES)
  train_and_evaluate(tree, workdir, data)
  parquet.write_table(days.day(2), log)
  tree.refit_of = workdir
  with pytest.raises(InputError, match='log.parquet'):
    train_and_evaluate(tree, str(tmp_path / 'new'), data)
  with pytest.raises(InputError, match='was trained on data with the sha256'):
    train_and_evaluate(tree, str(tmp_path / 'new'), str(tmp_path / 'other'))
  assert not os.path.exists(tmp_path / 'new')
  # The rows of before, also where their prepared data is gone.
  parquet.write_table(days.day(1), log)
  shutil.rmtree(tmp_path / 'other')
  now = train_and_evaluate(
      tree, str(tmp_path / 'new'), str(tmp_path / 'other'))
  assert now['steps'] > 0


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_begins_as_its_run_did(root, first, capsys):
  """With the parameters that the run began with, not with its own."""
  begun, then = days.train(root, 'begun', 2, init_from=first[0])
  capsys.readouterr()
  _, now = days.train(
      root, 'begun refit', 2, init_from=first[0], refit_of=begun)
  said = capsys.readouterr().out
  assert f'Beginning with {first[0]}: parameters of step 10' in said
  assert now['steps'] > then['steps'] == now['refit_of']['step']
  with pytest.raises(InputError, match='init_from is no run here but'):
    days.train(root, 'refused', 2, refit_of=begun)


@marked
def test_not_beside_others(root, first):
  trees = [
      days.config(days.write(root, 1), refit_of=first[0], **CHANGES)
      for _ in range(2)]
  folders = [os.path.join(root, f'beside {k}') for k in range(2)]
  with pytest.raises(InputError, match='a refit is trained alone, not beside'):
    train_replicas(
        trees, folders, os.path.join(root, 'data'), os.path.join(root, 'home'))
  assert not any(map(os.path.exists, folders))


@marked
def test_data_that_fits_nothing(finished, tmp_path):
  """The simulator: the same prepared data, more rows of it."""
  data, other = str(finished.data), str(finished.folder)
  tree = small_config(refit_of=other)
  now = train_and_evaluate(tree, str(tmp_path / 'new'), data)
  with open(finished.folder / 'results.json', encoding='utf-8') as f:
    step = json.load(f)['selected_step']
  # 6,000 rows and 12,000 in batches of 512.
  assert now['steps'] == math.floor(step * 24 / 12 + 0.5)
  config = config_json(tmp_path / 'new')
  assert 'fit_on' not in config['dataset']
  assert config['dataset']['train_split'] == BOTH
  data_of = [
      json.loads((folder / 'manifest.json').read_text('utf-8'))['data']
      for folder in (finished.folder, tmp_path / 'new')]
  assert data_of[0] == data_of[1]


@marked
def test_config_of_the_run(root, first, second, tmp_path):
  """As the command line has it: all of the run, but for the machine."""
  tree = days.config('nothing.parquet', seed=5, refit_of=first[0])
  tree.run.log_every = 7
  filled = load.refitted(tree, '', {'run.log_every': 7, 'num_epochs': 2})
  assert (filled.seed, filled.run.log_every, filled.num_epochs) == (0, 7, 2)
  moved = load.refitted(tree, '', {'dataset.files': 'moved.parquet'})
  assert moved.dataset.files == 'moved.parquet'
  assert filled.dataset.files == days.write(root, 1)
  resolved = resolve(filled).to_dict()
  expected = config_json(second[0])
  assert resolved['dataset']['train_split'] == BOTH
  assert resolved['refit_step'] == expected['refit_step']
  for keys, words in (
      ({'seed': 5}, 'seed is 5 here and 0 there'),
      ({'seed': 0, 'dataset.id': 'user'}, 'dataset.id is user here'),
      ({'dataset.fit_on': BOTH}, 'dataset.fit_on is train.valid here and abs'),
      ({'dataset.split_by': 'user'}, 'dataset.split_by is user here and  the'),
      ({'init_from': 'runs/x'}, 'init_from is runs/x here and absent there'),
      ({'model.tower_units': (9,)}, r'tower_units is \[9\] here')):
    with pytest.raises(InputError, match=words):
      load.refitted(tree, '', keys)
  with pytest.raises(InputError, match='is itself a refit'):
    days_tree = days.config('nothing.parquet', refit_of=second[0])
    load.refitted(days_tree, '', {})
  tree.model.name = 'mmoe'
  with pytest.raises(InputError, match='model.name is mmoe in --config and sh'):
    load.refitted(tree, '', {})
  assert refit.config_of(first[0], str(tmp_path), {}) == config_json(first[0])


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
def test_killed_and_resumed(root, tmp_path):
  """Before its first checkpoint and, without the other run, after it."""
  base, log = str(tmp_path / 'base'), days.write(root, 1)
  step = days.train(root, base, 1, **(CHANGES | {'selection__mode': 'min'}))[1][
      'selected_step']
  (tmp_path / 'my_log.py').write_text(
      'from tests.warm_start import days\n'
      'def get_config(variant=""):\n'
      f'  return days.config({log!r})\n')
  flags = [f'--config={tmp_path}/my_log.py', f'--refit_of={base}']
  data = os.path.join(root, 'data')
  whole, killed = (str(tmp_path / name) for name in ('whole', 'killed'))
  said = finish(command(whole, data, *flags, '--config.log_every=3'))
  assert f'Refit of {base}, whose step {step} was chosen' in said
  arguments = command(killed, data, *flags, '--config.log_every=3')
  for number in (1, 7):  # Pieces of training between two reports.
    dying = [arguments[0], '-m', 'tests.training.killing', 'stepping',
             str(number), *arguments[3:]]
    process = start(dying)
    process.communicate(timeout=300)
    assert process.returncode == -9
  assert os.listdir(os.path.join(killed, 'checkpoints'))
  shutil.rmtree(base)
  finish(arguments)
  assert fingerprint(killed) == fingerprint(whole)
  assert metrics(killed) == metrics(whole)
  assert results(killed) == results(whole)
  done = run(whole, data, '--split=valid', program='evaluate')
  assert done.returncode == 0, done.stderr
  assert "is a refit, trained on 'train+valid'" in done.stderr

"""The seesaw laboratory as a program, from a config to its page."""

import csv
import importlib
import json
import re

from esmm_jax.types import InputError
from experiments.sweeping import seesaws
import pytest

from tests.parallel import forking
from tests.reporting import test_page

OPTIONS = dict(
    tasks='', scores='', ratios='1,2', methods='', single='', seeds=1, evals=4)


def config(name, variant='smoke', **keys):
  tree = importlib.import_module(f'configs.{name}').get_config(variant)
  tree.update_from_flattened_dict(keys)
  return tree


def design(name, keys=None, variant='smoke', **options):
  spec = f'configs/{name}.py:{variant}'
  return seesaws.design(
      config(name, variant, **keys or {}), spec, keys or {},
      OPTIONS | options, 'none')


def test_a_config_of_the_simulator():
  made = design('esmm', {'learning_rate': 0.5, 'run.log_every': 3})
  # Keys of the machine are no part of a run, so its name lacks them.
  assert made.base == {
      'config': 'configs/esmm.py:smoke', 'learning_rate': 0.5,
      'evals_per_epoch': 4}
  assert made.single == {
      'config': 'configs/single_task.py:smoke', 'learning_rate': 0.5,
      'model.tower_units': (16, 8), 'evals_per_epoch': 4}
  assert made.terms == ('ctr', 'ctcvr') and made.weights == (1.0, 1.0)
  assert made.scores == ('ctr', 'cvr_clicked')
  assert made.others == ('ctcvr', 'cvr_entire')
  keys = seesaws.machine_keys(config('esmm', **{'run.log_every': 3}))
  assert keys['run.log_every'] == 3


def test_three_tasks():
  """Click and purchase by default; cart and purchase where they are named."""
  keys = {'dataset.stages': 3}
  made = design('esmm', keys)
  assert made.terms == ('ctr', 'ctcvr')
  assert made.scores == ('ctr', 'ptr_carted')
  assert set(made.others) >= {'atr_clicked', 'ctatr', 'cvr_clicked', 'ctcvr'}
  assert made.single['dataset.stages'] == 3
  made = design('esmm', keys, tasks='ctatr,ctcvr')
  assert made.scores == ('atr_clicked', 'ptr_carted')


def test_evaluations_are_those_of_the_run():
  """At least four: two in each of two epochs, five where the config has so."""
  two = design('esmm', {'num_epochs': 2})
  assert two.base['evals_per_epoch'] == 2
  five = design('esmm', {'num_epochs': 2, 'selection.patience': 1}, evals=9)
  assert five.base['evals_per_epoch'] == five.single['evals_per_epoch'] == 5


@pytest.mark.parametrize('name, units', [
    ('shared_bottom', ('shared_units', 'tower_units')),
    ('mmoe', ('expert_units', 'tower_units')),
    ('single_task', ('tower_units',)),
])
def test_single_task_models_are_as_wide_as_the_path_of_a_task(name, units):
  tree = config(name)
  point = seesaws.single(tree, 'smoke')
  path = sum((tuple(tree.model[u]) for u in units), ())
  assert point['model.tower_units'] == path and path


def test_levels_of_experts_make_the_path_longer():
  tree = config('ple', **{'model.levels': 2})
  path = tuple(tree.model.expert_units) * 2 + tuple(tree.model.tower_units)
  assert seesaws.single(tree, 'smoke')['model.tower_units'] == path


def test_single_task_models_have_the_data_of_the_config():
  """Of a file of one's own, whose variants single_task.py has not."""
  tree = config(
      'mmoe', 'tabular', **{
          'dataset.id': 'user,item', 'dataset.files': 'log.csv',
          'model.dropout': 0.5, 'loss_weights.ctr': 2.0, 'seed': 3})
  point = seesaws.single(tree, 'mine')
  assert point.pop('model.tower_units')
  assert point == {
      'config': 'configs/single_task.py:tabular', 'dataset.id': 'user,item',
      'model.dropout': 0.5}
  assert seesaws.machine_keys(tree)['dataset.files'] == 'log.csv'
  tree.dataset.name = 'of_a_plugin'
  with pytest.raises(InputError, match='give --single=FILE:variant'):
    seesaws.single(tree)
  with pytest.raises(InputError, match='--single=configs/no.py: there is no'):
    seesaws.single(tree, spec='configs/no.py')


@pytest.mark.parametrize('key, words', [
    ('seed', 'set --seeds'), ('init_seed', 'set --seeds'),
    ('evals_per_epoch', 'set --evals'), ('balancing.name', 'set --methods'),
    ('balancing.of', 'set --methods'), ('init_from', 'names another run'),
    ('refit_of', 'names another run'), ('common_ctr', 'names another run'),
])
def test_keys_that_the_laboratory_sets(key, words):
  with pytest.raises(InputError, match=f'--config.{key} .*{words}'):
    seesaws.check_keys({'learning_rate': 0.1, key: 1})


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.seesaw') as made:
    yield made


FEW = (
    '--config.dataset.num_train=3000', '--config.dataset.num_valid=2000',
    '--config.dataset.num_test=3000', '--config.batch_size=256')


@pytest.mark.slow
@pytest.mark.parametrize('flags, words', [
    (['--methods=pcgard'], "Did you mean 'pcgrad'?"),
    (['--methods=cagrad:d=1'], "balancing.d"),
    (['--tasks=ctr'], 'name two'),
    (['--ratios=1,1'], 'all different'),
    (['--replicas=0'], '--replicas=0'),
    (['--config.optimizer.momentum=.5'], 'has no effect'),
])
def test_refused_before_the_first_run(program, tmp_path, flags, words):
  done = program.run(
      '--config=configs/esmm.py:smoke', *FEW, f'--workdir={tmp_path}/lab',
      f'--data_dir={tmp_path}/data', *flags)
  assert done.returncode == 1 and words in done.stderr, done.stderr
  assert done.stderr.count('\n') == 1 and 'Traceback' not in done.stderr
  assert not (tmp_path / 'lab' / 'runs').exists()


@pytest.mark.long
def test_a_log_of_ones_own(program, tmp_path):
  """Two seeds, a method and its replay; the same command again trains none."""
  write_log(tmp_path / 'log.csv', 4000)
  command = (
      '--config=configs/mmoe.py:tabular', '--config.dataset.id=user,item',
      f'--config.dataset.files={tmp_path}/log.csv',
      '--config.dataset.labels=like:after=click', '--tasks=ctr,ctlike',
      '--config.model.expert_units=(4,)', '--config.model.tower_units=(4,)',
      '--config.model.embed_dim=2', '--config.batch_size=512',
      '--methods=pcgrad', '--ratios=.5,2', '--evals=2',
      f'--workdir={tmp_path}/lab', f'--data_dir={tmp_path}/data')
  done = program.run(*command, '--seeds=1')
  assert done.returncode == 0, done.stderr
  assert 'Written:' in done.stdout and 'Front of static' in done.stdout
  done = program.run(*command, '--seeds=2')
  trained = re.findall(r'^\[\d+/12\]', done.stdout, re.MULTILINE)
  assert done.returncode == 0 and len(trained) == 6, done.stdout
  folder = tmp_path / 'lab'
  page = test_page.Page((folder / 'seesaw.html').read_text('utf-8'))
  assert 'Seesaw of ctr and ctlike' in page.text
  assert len([x for x in page.links if x.startswith('data:image')]) == 4
  numbers = json.loads((folder / 'seesaw.json').read_text('utf-8'))
  assert numbers['scores'] == ['ctr', 'like_clicked']
  results = {
      path.parent.name: json.loads(path.read_text('utf-8'))
      for path in folder.glob('runs/*/results.json')}
  assert len(results) == 12
  (method,) = [a for a in numbers['arms'] if a['ratio'] == 'method']
  aucs = {r['test/ctr/auc'] for n, r in results.items() if 'name=pcgrad-' in n
          and 'replay' not in n}
  assert {x for x, _ in method['test_auc'].values()} == aucs
  with open(folder / 'seesaw.csv', encoding='utf-8') as f:
    rows = list(csv.DictReader(f))
  assert {r['arm'] for r in rows} == {
      'single_task', 'static', 'pcgrad', 'config'}
  again = program.run(*command, '--seeds=2')
  assert again.stdout.startswith('All 12 runs are finished.'), again.stderr
  write_log(tmp_path / 'log.csv', 4100)
  other = program.run(*command, '--seeds=3')
  assert other.returncode == 1 and 'other files' in other.stderr, other.stderr
  other = program.run(*command, '--seeds=3', f'--data_dir={tmp_path}/new')
  assert other.returncode == 1 and 'on other data' in other.stderr, other.stderr


def write_log(path, rows):
  lines = ['user,item,click,conversion,like']
  for k in range(rows):
    user, item = k * 7 % 40, k * 13 % 31
    click = int((user + item + k % 5) % 3 == 0)
    like, bought = click * (item % 2), click * (user % 3 == k % 3)
    lines.append(f'{user},{item},{click},{bought},{like}')
  path.write_text('\n'.join(lines) + '\n')

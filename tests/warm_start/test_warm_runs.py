"""Runs that begin with another one: how good, how identified, what is refused.
"""

import os
import shutil

import esmm_jax
from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.dataset import Tabular
from esmm_jax.data.tabular.encoder import Encoder
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests.serving.served import small_config
from tests.training.test_end_to_end import command, fingerprint, metrics
from tests.training.test_end_to_end import results, run
from tests.training.test_killed import finish, start
from tests.warm_start import days
from tests.warm_start.test_takeover import ids, saved

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
  return str(tmp_path_factory.mktemp('days'))


@pytest.fixture(scope='module')
def yesterday(root):
  return days.train(root, 'yesterday', 1, num_epochs=3)[0]


@pytest.fixture(scope='module')
def today(root, yesterday):
  return days.train(root, 'today', 2, num_epochs=3, init_from=yesterday)[0]


def test_trained_on_with_todays_log(root, yesterday, today):
  """Near training on both days, on people of both; and far above yesterday's.
  """
  both, _ = days.train(root, 'both', 1, 2, num_epochs=3)
  of_days = [days.day(k, 3000, seed=1) for k in (1, 2)]
  tomorrow = pa.concat_tables(of_days)
  auc, seen = {}, {}
  for workdir in (yesterday, today, both):
    evaluation = esmm_jax.load(workdir).evaluate(tomorrow)
    auc[workdir] = evaluation['ctr/auc']
    seen[workdir] = 1 - evaluation['unseen/user']
  assert seen[yesterday] < 0.8 < 0.97 < seen[today]
  assert auc[today] > auc[yesterday] + 0.03
  assert abs(auc[today] - auc[both]) < 0.03
  assert auc[both] > 0.8
  # Of the people and things that came yesterday alone nothing is forgotten.
  predictor = esmm_jax.load(today)
  assert predictor.evaluate(of_days[0])['ctr/auc'] > (
      esmm_jax.load(yesterday).evaluate(of_days[0])['ctr/auc'] - 0.03)


@pytest.mark.long
def test_from_day_to_day(root, yesterday, today):
  """A chain: rows that a day does not touch are those of the day before."""
  third, _ = days.train(root, 'third', 3, init_from=today)
  tables = [saved(run)[('table',)] for run in (yesterday, today, third)]
  came = [set(days.day(k)['user'].to_pylist()) for k in (1, 2, 3)]
  (first, a), (second, b), (last, c) = (
      ids(run)['user'] for run in (yesterday, today, third))
  assert first == second[:len(first)] and second == last[:len(second)]
  gone = [k for k, user in enumerate(first, 2) if user not in came[1]]
  assert len(gone) > 20
  np.testing.assert_array_equal(
      tables[0][a + np.array(gone)], tables[1][b + np.array(gone)])
  np.testing.assert_array_equal(
      tables[0][a + np.array(gone)], tables[2][c + np.array(gone)])
  back = [k for k, user in enumerate(first, 2) if user in came[1]]
  assert (tables[0][a + np.array(back)] != tables[1][b + np.array(back)]).any()


@pytest.mark.long
def test_the_other_run_may_be_deleted(root, yesterday, tmp_path):
  """Once a run has begun; its path may change, its content not."""
  copy = str(tmp_path / 'copy')
  shutil.copytree(yesterday, copy)
  workdir, first = days.train(root, 'of a copy', 2, init_from=copy)
  moved = days.train(root, 'of a copy', 2, init_from=f'{copy}/../copy/')
  elsewhere = days.train(root, 'of a copy', 2, init_from=yesterday)
  shutil.rmtree(copy)
  gone = days.train(root, 'of a copy', 2, init_from=copy)
  assert moved == elsewhere == gone == (workdir, first)
  predictor = esmm_jax.load(workdir)
  assert predictor.evaluate(days.day(2))['rows'] == days.ROWS
  with pytest.raises(InputError, match='init_from=.*not the folder of a run'):
    days.train(root, 'not begun', 2, init_from=copy)
  with pytest.raises(InputError, match='init_from is absent here|init_sha256'):
    days.train(root, 'of a copy', 2)


@pytest.mark.long
def test_another_run_at_the_path_is_another(root, tmp_path):
  base, _ = days.train(str(tmp_path), 'base', 1)
  days.train(str(tmp_path), 'new', 2, init_from=base)
  shutil.rmtree(base)
  again, _ = days.train(str(tmp_path), 'base', 1)
  days.train(str(tmp_path), 'new', 2, init_from=again)  # The same.
  shutil.rmtree(base)
  days.train(str(tmp_path), 'base', 1, seed=1)
  with pytest.raises(InputError, match='init_sha256 is .* here and .* there'):
    days.train(str(tmp_path), 'new', 2, init_from=base)


REFUSED = [
    ({'model__embed_dim': 8}, 'model.embed_dim is 8 here but 4 in that run'),
    ({'model__tower_units': (4,)}, r'model.tower_units is \[4\] here'),
    ({'model__activation': 'tanh'}, 'model.activation is tanh here'),
    ({'estimator': 'click_space'}, 'estimator is click_space here but entire'),
    ({'optimizer__name': 'adagrad'}, 'optimizer.name is adagrad here but adam'),
    ({'table_optimizer': 'sgd'}, 'table_optimizer is sgd here but adam in'),
    ({'table_moments': 'bfloat16'}, 'table_moments is bfloat16 here'),
    ({'dataset__fields': ('user',)}, r"dataset.fields is \['user'\] here"),
    ({'dataset__tasks': ('ctr',)}, r"dataset.tasks is \['ctr'\] here"),
    ({'dataset__cart': 'seen'}, 'the tasks are ctr, atr, ptr here but ctr,'),
    ({'dataset__id': 'user,item'}, "has a column 'hour', which is not named"),
    ({'dataset__id': 'user,item,hour,page'}, "has no column 'page'"),
    ({'dataset__id': 'item,user,hour'}, "'item' is at the position .* 'user'"),
    ({'dataset__id': 'user:table=item,item,hour'}, "'user' has the options"),
    ({'dataset__ids': 'tags:max_len=3'}, "'tags' has the options"),
    ({'dataset__ids': 'tags:combiner=sum'}, "'tags' has the options"),
    ({'dataset__ids': 'tags:weights=colon'}, ', weights, but .*, no weights'),
    ({'dataset__float': 'price:scaling=log'}, "'price' has the options"),
    ({'dataset__vocabulary_of': 'runs/x'}, 'vocabulary_of=runs/x and init_'),
]


@pytest.mark.parametrize('changes, words', REFUSED)
def test_what_does_not_fit(root, yesterday, changes, words):
  """Before the log is opened: there is none."""
  tree = days.config('nothing.parquet', init_from=yesterday, **changes)
  with pytest.raises(InputError, match=words) as error:
    train_and_evaluate(tree, os.path.join(root, 'refused'))
  assert '\n' not in str(error.value)
  assert not os.path.exists(os.path.join(root, 'refused'))


@pytest.mark.parametrize('base, words', [
    ('runs/absent', 'init_from=runs/absent is not the folder of a run'),
    ('{root}', 'is not the folder of a run'),
    ('{root}/unfinished', 'unfinished is not finished: there is no results'),
    ('{root}/bare', 'bare has no checkpoint of its last step'),
    ('{root}/mixed', 'mixed/encoder is not the one that the run was trained'),
    ('{root}/refused', 'is the folder of the run itself'),
    ('file://{root}/refused', 'is the folder of the run itself'),
])
def test_what_is_no_run_to_begin_with(root, yesterday, base, words):
  for name in ('unfinished', 'bare', 'mixed'):
    folder = os.path.join(root, name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(yesterday, folder)
    if name == 'bare':
      shutil.rmtree(os.path.join(folder, 'checkpoints'))
    elif name == 'mixed':  # As many values in another order.
      path = os.path.join(folder, 'encoder', 'vocabulary-000.parquet')
      parquet.write_table(parquet.read_table(path)[::-1], path)
    else:
      os.remove(os.path.join(folder, 'results.json'))
  tree = days.config('nothing.parquet', init_from=base.format(root=root))
  with pytest.raises(InputError, match=words):
    train_and_evaluate(tree, os.path.join(root, 'refused'))
  assert not os.path.exists(os.path.join(root, 'refused'))


def test_data_sets_whose_vocabulary_is_fixed(finished, tmp_path):
  """More rows of the same world are fine; another world is refused."""
  data, run = str(finished.data), str(finished.folder)
  tree = small_config(**{
      'init_from': f'file://{run}', 'dataset.num_train': 2000,
      'dataset.num_valid': 1000, 'dataset.num_test': 1000})
  results = train_and_evaluate(tree, str(tmp_path / 'new'), data)
  assert results['steps'] == 4
  tree.dataset.seed = 1
  with pytest.raises(InputError, match='dataset.seed is 1 here but unset in'):
    train_and_evaluate(tree, str(tmp_path / 'other'), data)
  tree.dataset.seed, tree.dataset.name = None, 'kuairand'
  with pytest.raises(InputError, match='dataset.name is kuairand here but syn'):
    train_and_evaluate(tree, str(tmp_path / 'other'), data)


def test_max_values_and_min_count_choose_the_new_values(root, yesterday):
  """Old values stay, whatever they are now."""
  old = Encoder.load(os.path.join(yesterday, 'encoder'))
  num = len(old.values('user'))
  options = dict(
      files=days.write(root, 2), ids='tags', float='price', click='clicked',
      conversion='bought', vocabulary_of=yesterday)
  for text, more in (
      (f'user:max_values={num + 3}', 3), ('user:max_values=1', 0),
      ('user:min_count=1000', 0), ('user', days.USERS // 2)):
    data = Tabular.from_options(
        os.path.join(root, 'data'), id=f'{text},item,hour', **options).prepare()
    new = Encoder.load(data.encoder_folder)
    assert new.values('user')[:num] == old.values('user')
    assert len(new.values('user')) == num + more == (
        data.report['new_values']['user'] + num)
    train = data.as_data_source('train')
    ids_of = train.read(0, len(train), ['user'])['user']
    known = set(new.values('user'))
    assert (ids_of == 1).any() == (more < days.USERS // 2)
    assert len(known) == num + more and ids_of.max() <= num + more + 1


def test_prepared_data_knows_the_vocabulary_and_not_its_path(root, yesterday):
  options = dict(
      files='s3://bucket/log.parquet', id='user,item', click='clicked',
      conversion='bought')
  # As it was before there was the option.
  assert TabularConfig.from_options(options).name == '05387a222530'
  names = {
      TabularConfig.from_options(options | {'vocabulary_of': run}).name
      for run in (yesterday, f'{root}/./yesterday')}
  assert len(names) == 1 and names != {'05387a222530'}


def config_file(folder, changes):
  """A config of the second day, with the changes of a call."""
  log = str(folder / 'log.parquet')
  parquet.write_table(days.day(2), log)
  (folder / 'my_log.py').write_text(
      'from tests.warm_start import days\n'
      'def get_config(variant=""):\n'
      f'  return days.config({log!r}, {changes})\n')
  return folder / 'my_log.py'


@pytest.mark.long
def test_killed_and_resumed(root, yesterday, tmp_path):
  """Before its first checkpoint and, without the other run, after it."""
  base = str(tmp_path / 'base')
  shutil.copytree(yesterday, base)
  file = config_file(
      tmp_path, f"init_from={base!r}, evals_per_epoch=4, model__dropout=0.1")
  flags = [f'--config={file}']
  data = os.path.join(root, 'data')
  whole, killed = (str(tmp_path / name) for name in ('whole', 'killed'))
  said = finish(command(whole, data, *flags))
  assert f'Beginning with {base}' in said
  arguments = command(killed, data, *flags)
  for number in (1, 4):  # Pieces of training between two reports.
    dying = [arguments[0], '-m', 'tests.training.killing', 'stepping',
             str(number), *arguments[3:]]
    process = start(dying)
    process.communicate(timeout=300)
    assert process.returncode == -9
  assert os.listdir(os.path.join(killed, 'checkpoints'))
  shutil.rmtree(base)
  said = finish(arguments)
  assert 'Beginning' not in said
  assert fingerprint(killed) == fingerprint(whole)
  assert metrics(killed) == metrics(whole)
  assert results(killed) == results(whole)


@pytest.mark.long
def test_a_mesh_that_divides_the_tables(root, yesterday, tmp_path):
  """The same run on two devices that share the rows of the tables."""
  file = config_file(tmp_path, f'init_from={yesterday!r}')
  found = {}
  for devices in (1, 2):
    workdir = str(tmp_path / str(devices))
    done = run(
        workdir, os.path.join(root, 'data'), f'--config={file}',
        f'--config.mesh.rows={devices}', devices=devices)
    assert done.returncode == 0, done.stderr
    found[devices] = results(workdir)['test/ctr/logloss']
  assert found[1] == pytest.approx(found[2], rel=1e-3)

"""Runs side by side: which may be, and that each gives what it gives alone."""

import json
import os

from esmm_jax.estimators import contract, ESTIMATORS
from esmm_jax.sweeps.replicas import bundles, group_name, replica_groups
from esmm_jax.training import phases
from esmm_jax.training.loop import train_and_evaluate, train_replicas
from esmm_jax.training.replica_run import check_alike
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
from esmm_jax.workdir.checkpoint import Checkpoints
from esmm_jax.workdir.folder import flatten, with_run_section
import jax
import numpy as np
from pyarrow import parquet
import pytest

from tests.training.test_end_to_end import fingerprint, metrics, results
from tests.training.test_whole_runs import smoke

# Which runs are of one group.

pytestmark = pytest.mark.usefixtures('quick_compilation')
BASE = {
    'seed': 0,
    'init_seed': None,
    'learning_rate': 1e-3,
    'batch_size': 512,
    'estimator': 'click_space',
    'loss_weights.ctr': None,
    'sampling.unclicked_rate': 0.0,
    'estimator_options.propensity_floor': None,
    'selection.metric': '',
    'run.save_predictions': False,
    'run.eval_batch_size': 8192,
    'run.mesh.data': -1,
    'common_ctr': '',
    'model.name': 'mmoe',
    'model.tower_units': (8, 4),
    'dataset.seed': 0,
}


@pytest.mark.parametrize(
    'key, value',
    [
        ('init_seed', 3),
        ('learning_rate', 1e-2),
        ('loss_weights.ctr', 0.5),
        ('sampling.unclicked_rate', 0.5),
        ('selection.metric', 'valid/ctr/auc'),
        ('run.save_predictions', True),
        ('common_ctr', '../a'),
    ],
)
def test_what_replicas_may_differ_in(key, value):
  assert key in BASE
  configs = {'a': BASE, 'b': BASE | {key: value}}
  assert replica_groups(configs, 8) == [['a', 'b']]


@pytest.mark.parametrize('estimator, key, free', [
    ('unbias', 'propensity_floor', True),
    ('unbias', 'form', False),
    ('click_space', 'propensity_floor', False),  # It has no such option.
    ('none_of_ours', 'propensity_floor', False),
])
def test_options_that_the_estimator_takes_as_arrays_are_free(
    estimator, key, free
):
  base = BASE | {'estimator': estimator, f'estimator_options.{key}': None}
  configs = {'a': base, 'b': base | {f'estimator_options.{key}': 0.1}}
  want = [['a', 'b']] if free else [['a'], ['b']]
  assert replica_groups(configs, 8) == want


@pytest.mark.parametrize(
    'key, value',
    [
        ('seed', 1),
        ('batch_size', 256),
        ('estimator', 'entire_space'),
        ('model.name', 'ple'),
        ('model.tower_units', (8,)),
        ('dataset.seed', 1),
        ('run.eval_batch_size', 64),
        ('run.mesh.data', 2),
    ],
)
def test_what_they_may_not_differ_in(key, value):
  assert key in BASE
  configs = {'a': BASE, 'b': BASE | {key: value}}
  assert replica_groups(configs, 8) == [['a'], ['b']]


@pytest.mark.parametrize('key, value, text', [
    ('estimator', 'ips', "'objective': estimator: 'click_space' and 'ips'."),
    ('estimator_options.cvr_normalization', 'impressions',
     "'objective': options: cvr_normalization: None and 'impressions'."),
    ('clip_norm', 0.5, "'training': clip_norm: 0.0 and 0.5."),
    ('dataset.rho', 0.25, "'dataset': section: rho: None and 0.25."),
])
def test_a_program_of_others_is_refused_with_what_differs(key, value, text):
  config = smoke('base')
  other = config.copy_and_resolve_references()
  other.update_from_flattened_dict({key: value})
  with pytest.raises(InputError) as e:
    check_alike([Settings.read(config), Settings.read(other)])
  assert text in str(e.value) and 'ObjectiveOptions' not in str(e.value)


@pytest.mark.parametrize(
    'key',
    [
        'init_seed_of_tables',
        'learning_rate_decay',
        'common_ctr_scale',
        'run.save_predictions_every',
        'estimator_options.propensity_floor_decay',
        'loss_weights_schedule',
        'sampling',
        'selections.metric',
        'model.learning_rate',
    ],
)
def test_a_key_is_free_by_its_whole_name(key):
  configs = {'a': BASE | {key: 0}, 'b': BASE | {key: 1}}
  assert replica_groups(configs, 8) == [['a'], ['b']]


def test_whole_configs_that_differ_in_saved_predictions_are_replicas():
  """The flat keys of a config file are those that the rule names."""
  groups = replica_groups(
      {
          str(k): flatten(with_run_section(smoke('esmm', **changes).to_dict()))
          for k, changes in enumerate([
              {},
              {'save_predictions': True},
              {'log_every': 7},
              {'log_every': 7, 'save_predictions': True},
          ])
      },
      8,
  )
  assert groups == [['0', '1'], ['2', '3']]


def test_groups_are_cut_and_keep_the_order():
  configs = {
      str(k): BASE | {'seed': k % 2, 'learning_rate': float(k)}
      for k in range(7)
  }
  assert replica_groups(configs, 2) == [
      ['0', '2'], ['1', '3'], ['4', '6'], ['5']]
  assert replica_groups(configs, 1) == [[str(k)] for k in range(7)]
  with pytest.raises(InputError, match='--replicas=0'):
    replica_groups(configs, 0)
  assert group_name('ab') == group_name(['a', 'b']) != group_name('ba')


def test_who_needs_predictions_comes_after_and_on_the_same_machine():
  common = dict.fromkeys('abcdef', '')
  common |= {'a': '../e', 'b': '../e', 'e': '.', 'f': '../elsewhere'}
  configs = {name: BASE | {'common_ctr': c} for name, c in common.items()}
  groups = [['a'], ['b', 'c'], ['d'], ['e'], ['f']]
  assert bundles(groups, configs) == [
      [['e'], ['a'], ['b', 'c']], [['d']], [['f']]]


# Whole runs. The tiny funnel, 15,000 rows, 30 steps an epoch.


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def paths(folder, num):
  return [os.path.join(folder, str(k)) for k in range(num)]


def side_by_side(configs, folder, data_dir):
  folders = paths(str(folder), len(configs))
  home = os.path.join(str(folder), 'home')
  return train_replicas(configs, folders, data_dir, home)


def test_others_are_refused_before_data_is_prepared(tmp_path):
  configs = [smoke('base'), smoke('base', **{'clip_norm': 0.5})]
  with pytest.raises(InputError, match="'training': clip_norm: 0.0 and 0.5"):
    side_by_side(configs, tmp_path / 'runs', str(tmp_path / 'data'))
  assert not (tmp_path / 'data').exists()


def parameters(workdir):
  """Arrays of a run's last checkpoint."""
  checkpoints = Checkpoints(workdir)
  arrays = checkpoints.restore_as_saved()
  checkpoints.close()
  return {k: arrays['state'][k] for k in ('table', 'net', 'step')}


NOT_ALIKE = ('replicas', 'examples_per_second', 'train_seconds', 'versions')


def assert_alike(a, b, tolerance):
  """Two results, up to the order of float32 sums."""
  assert a.keys() == b.keys()
  for key in a.keys() - set(NOT_ALIKE):
    np.testing.assert_allclose(
        a[key], b[key], rtol=tolerance, atol=tolerance, err_msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(
    'optimizer, tolerance, checked',
    [
        pytest.param('sgd', 1e-6, (2,), marks=pytest.mark.long),
        pytest.param('sgd', 1e-6, (0, 1, 3), marks=pytest.mark.long),
        pytest.param('adam', 1e-5, (1, 2), marks=pytest.mark.long),
    ],
)
def test_many_steps_side_by_side_are_as_alone(
    optimizer, tolerance, checked, data_dir, tmp_path
):
  """Loss weights, rates, initial keys, sampling and selection differ."""
  changes = [
      {},
      {'loss_weights.ctr': 0.25, 'init_seed': 7},
      {'learning_rate': 3e-3, 'sampling.unclicked_rate': 0.3},
      {'sampling.conversion_copies': 4.0, 'selection.metric': ''},
  ]
  configs = [
      smoke('base', **{
          'num_epochs': 3,
          'learning_rate': 1e-2,
          'optimizer.name': optimizer,
          'model.dropout': 0.1,
          **change,
      })
      for change in changes
  ]
  found = side_by_side(configs, tmp_path / 'all', data_dir)
  for k in checked:
    alone = train_and_evaluate(configs[k], str(tmp_path / f'{k}'), data_dir)
    assert alone['steps'] == found[k]['steps'] == 90
    assert found[k]['selected_step'] == alone['selected_step']
    assert found[k]['traces'] == 1 and found[k]['replicas'] == 4
    # AUCs count pairs of equal scores: float32 noise can split a tie.
    assert_alike(found[k], alone, 1e-3)
    ours, theirs = (
        parameters(str(folder))
        for folder in (tmp_path / 'all' / str(k), tmp_path / f'{k}')
    )
    assert ours['step'] == theirs['step'] == 90
    for a, b in zip(
        jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True
    ):
      np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
  assert len({r['test/cvr_clicked/logloss'] for r in found}) == 4
  assert not os.path.exists(tmp_path / 'all' / 'home')


@pytest.mark.slow
@pytest.mark.parametrize(
    'changes',
    [
        pytest.param(
            {'table_optimizer': 'adam', 'table_moments': 'bfloat16'},
            marks=pytest.mark.long),
        pytest.param(
            {'table_optimizer': 'rowwise_adagrad'}, marks=pytest.mark.long),
        pytest.param({'table_optimizer': 'adagrad'}, marks=pytest.mark.long),
        pytest.param({'table_optimizer': 'adam'}, marks=pytest.mark.long),
        pytest.param(
            {'optimizer.name': 'adam', 'table_optimizer': 'sgd'},
            marks=pytest.mark.long),
    ],
    ids=lambda changes: '-'.join(changes.values()),
)
def test_two_with_a_table_optimizer_are_as_alone(changes, data_dir, tmp_path):
  options = {
      'num_epochs': 1,
      'learning_rate': 1e-2,
      'optimizer.name': 'sgd',
      'dataset.num_train': 6000,
      'dataset.num_test': 1000,
      'selection.metric': '',
      **changes,
  }
  configs = [smoke('esmm', **options), smoke('esmm', **options, init_seed=7)]
  pair = side_by_side(configs, tmp_path / 'all', data_dir)
  for k, config in enumerate(configs):
    alone = train_and_evaluate(config, str(tmp_path / f'{k}'), data_dir)
    assert_alike(pair[k], alone, 1e-3)
    a = parameters(str(tmp_path / 'all' / str(k)))
    b = parameters(str(tmp_path / str(k)))
    assert a['step'] == b['step'] == pair[k]['steps'] > 5
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
      np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-5)
  assert len({r['test/ctcvr/logloss'] for r in pair}) == len(configs)


@pytest.mark.long
def test_one_that_breaks_and_one_that_stops(data_dir, tmp_path):
  """The others end as if they were alone; so does the one that stops early."""
  options = {
      'num_epochs': 2, 'evals_per_epoch': 3, 'optimizer.name': 'sgd'}
  stopping = {
      'selection.metric': 'valid/ctr/logloss',
      'selection.mode': 'max',
      'selection.patience': 2,
  }
  configs = [
      smoke('esmm', **options),
      smoke('esmm', **options, learning_rate=1e30),
      smoke('esmm', **options, **stopping),
  ]
  found = side_by_side(configs, tmp_path / 'all', data_dir)
  assert isinstance(found[1], FloatingPointError)
  assert 'not finite at step' in str(found[1])
  assert not os.path.exists(tmp_path / 'all' / '1' / 'results.json')
  for k in (0, 2):
    alone = train_and_evaluate(configs[k], str(tmp_path / f'{k}'), data_dir)
    assert_alike(found[k], alone, 1e-4)
  assert found[2]['steps'] < found[0]['steps'] == 60


class Killed(BaseException):
  """Ends a run between two steps, as a signal would."""


@pytest.mark.slow
def test_a_group_that_is_killed_goes_on(data_dir, tmp_path, monkeypatch):
  """Checkpoints, results and metrics to the bit."""
  configs = [
      smoke('esmm', **{
          'evals_per_epoch': 2, 'init_seed': k, 'model.dropout': 0.1,
          'selection.metric': ('', 'valid/ctr/logloss')[k],
          'selection.mode': 'max'})
      for k in range(2)
  ]
  side_by_side(configs, tmp_path / 'whole', data_dir)
  report, count = phases.report, []

  def killing(*arguments):
    count.append(1)
    if len(count) == 4:
      raise Killed
    return report(*arguments)

  monkeypatch.setattr(phases, 'report', killing)
  with pytest.raises(Killed):
    side_by_side(configs, tmp_path / 'killed', data_dir)
  monkeypatch.undo()
  assert os.listdir(tmp_path / 'killed' / 'home' / 'checkpoints')
  side_by_side(configs, tmp_path / 'killed', data_dir)
  for k in range(2):
    a, b = (str(tmp_path / f / str(k)) for f in ('whole', 'killed'))
    assert fingerprint(a) == fingerprint(b)
    assert results(a) == results(b)
    assert metrics(a) == metrics(b)
  assert results(a)['selected_step'] < results(a)['steps']
  # Finished: nothing is done again.
  before = os.stat(os.path.join(a, 'results.json')).st_mtime_ns
  side_by_side(configs, tmp_path / 'killed', data_dir)
  assert os.stat(os.path.join(b, 'results.json')).st_mtime_ns >= before


@pytest.mark.long
def test_ctcvr_with_the_common_ctr_network(data_dir, tmp_path):
  """pCVR of each times the pCTR of the first; in a group and from outside."""
  last = dict(save_predictions=True, evals_per_epoch=1)
  base = smoke('base', common_ctr='.', **last)
  aman = smoke('aman', common_ctr='../0', **last)
  found = side_by_side([base, aman], tmp_path, data_dir)
  esmm = smoke('esmm', common_ctr='../0', **last)
  found.append(train_and_evaluate(esmm, str(tmp_path / '2'), data_dir))
  tables = [
      parquet.read_table(os.path.join(p, 'predictions', 'test.parquet'))
      for p in paths(str(tmp_path), 3)
  ]
  column = lambda k, name: tables[k][name].to_numpy()
  for k in range(3):
    np.testing.assert_allclose(
        column(k, 'p_ctcvr_common'), column(0, 'p_ctr') * column(k, 'p_cvr'),
        rtol=1e-4)
  # The single networks' own CTR network is the common one; ESMM's is not.
  for k in range(2):
    assert found[k]['test/ctcvr_common/auc'] == pytest.approx(
        found[k]['test/ctcvr/auc'], abs=1e-4)
  assert np.abs(column(2, 'p_ctr') - column(0, 'p_ctr')).max() > 1e-3
  for k in range(3):
    score, y = column(k, 'p_ctcvr_common'), column(k, 'conversion') == 1
    pairs = score[y][:, None] - score[~y][None]
    auc = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
    assert found[k]['test/ctcvr_common/auc'] == pytest.approx(auc, abs=2e-5)


@pytest.mark.long
def test_predictions_that_are_not_there_or_not_of_these_rows(
    data_dir, tmp_path
):
  config = smoke('esmm', common_ctr='../0', num_epochs=1)
  with pytest.raises(InputError, match='common_ctr=../0.*First finish that'):
    train_and_evaluate(config, str(tmp_path / '1'), data_dir)
  other = smoke(
      'base', save_predictions=True, num_epochs=1,
      **{'dataset.test_split': 'test[:50%]'})
  train_and_evaluate(other, str(tmp_path / '0'), data_dir)
  with pytest.raises(InputError, match='other rows'):
    train_and_evaluate(config, str(tmp_path / '1'), data_dir)
  # A damaged file is refused before training.
  (tmp_path / '0' / 'predictions' / 'test.parquet').write_bytes(b'')
  with pytest.raises(InputError, match='test.parquet cannot be read'):
    train_and_evaluate(config, str(tmp_path / '2'), data_dir)
  assert not (tmp_path / '2').exists()


def test_a_value_that_is_wrong_names_its_key(data_dir, tmp_path):
  for changes, words in (
      ({'sampling.unclicked_rate': 2.0}, 'unclicked_rate is 2.0'),
      ({'learning_rate': -1.0}, 'learning_rate is -1.0'),
      ({'loss_weights.ctr': -1.0}, 'loss_weights.ctr is -1.0'),
  ):
    configs = [smoke('base'), smoke('base', **changes)]
    with pytest.raises(InputError, match=words):
      side_by_side(configs, tmp_path, data_dir)
  config = smoke(
      'unbias', **{'estimator_options.propensity_floor': 0.0})
  with pytest.raises(InputError, match='propensity_floor is 0.0'):
    train_and_evaluate(config, str(tmp_path / 'u'), data_dir)
  config = smoke('division', **{'sampling.unclicked_rate': 0.1})
  with pytest.raises(InputError, match="cvr_clicked, which estimator='end"):
    train_and_evaluate(config, str(tmp_path / 'u'), data_dir)
  config = smoke('unbias', **{'sampling.conversion_copies': 2.0})
  with pytest.raises(InputError, match='samples the clicked rows itself'):
    train_and_evaluate(config, str(tmp_path / 'u'), data_dir)


def test_the_rule_names_keys_that_configs_have():
  """A renamed key would quietly make every run its own group."""
  from esmm_jax.sweeps import replicas

  known = flatten(json.loads(smoke('base').to_json_best_effort()))
  for free in replicas.FREE:
    assert any(key.startswith(free) for key in known), free
  for estimator in ESTIMATORS.values():
    for option in contract.options(estimator.terms):
      assert f'estimator_options.{option}' in known


# Siblings that take each other's pCTR (common_ctr).


def tiny(estimator, common_ctr, **more):
  return smoke(estimator, common_ctr=common_ctr, **{
      'num_epochs': 1, 'evals_per_epoch': 1, 'optimizer.name': 'sgd',
      'dataset.num_train': 2000, 'save_predictions': True, **more})


@pytest.mark.long
def test_a_failed_replica_fails_only_those_that_take_its_pctr(
    data_dir, tmp_path
):
  """4 takes it from 3, 3 from 0, which fails; 1 and 2 have another one."""
  configs = [
      tiny('base', '', learning_rate=1e30), tiny('base', '../2'),
      tiny('base', ''), tiny('aman', '../0'), tiny('base', '../3')]
  ends = side_by_side(configs, tmp_path, data_dir)
  failed = [k for k, end in enumerate(ends) if isinstance(end, Exception)]
  assert failed == [0, 3, 4]
  assert 'not finite at step' in str(ends[0])
  for k, folder in ((3, '../0'), (4, '../3')):
    assert f'common_ctr={folder}: that run failed' in str(ends[k])
  written = [
      os.path.exists(os.path.join(p, 'results.json'))
      for p in paths(str(tmp_path), 5)]
  assert written == [False, True, True, False, False]
  assert ends[1]['test/ctcvr_common/auc'] > 0


@pytest.mark.long
def test_a_replica_may_take_the_pctr_of_a_later_one(data_dir, tmp_path):
  """0 from 1, 1 from 2: what each gets when the one that it needs is first."""
  names = ['esmm', 'esmm', 'esmm']
  backwards = [
      tiny(n, c, init_seed=k)
      for k, (n, c) in enumerate(zip(names, ('../1', '../2', '.')))]
  forwards = [
      tiny(n, c, init_seed=2 - k)
      for k, (n, c) in enumerate(zip(names, ('.', '../0', '../1')))]
  ends = side_by_side(backwards, tmp_path / 'a', data_dir)
  expected = side_by_side(forwards, tmp_path / 'b', data_dir)
  for end, wanted in zip(ends, reversed(expected)):
    assert_alike(end, wanted, 1e-5)
  assert len({end['test/ctcvr_common/logloss'] for end in ends}) == 3


@pytest.mark.parametrize('common, saves, words', [
    (('../1', '../0'), True, "use each other's pCTR"),
    (('', '../0'), False, 'does not save its predictions'),
    (('../1', ''), False, 'does not save its predictions'),
])
def test_a_common_ctr_that_cannot_be_is_refused_before_training(
    common, saves, words, data_dir, tmp_path
):
  configs = [tiny('esmm', c, save_predictions=saves) for c in common]
  with pytest.raises(InputError, match=words):
    side_by_side(configs, tmp_path, data_dir)
  assert os.listdir(tmp_path) == []


def test_groups_in_a_chain_come_in_its_order():
  common = {'a': '../b', 'b': '../c', 'c': ''}
  configs = {name: BASE | {'common_ctr': c} for name, c in common.items()}
  assert bundles([['a'], ['b'], ['c']], configs) == [[['c'], ['b'], ['a']]]
  assert bundles([['a', 'b'], ['c']], configs) == [[['c'], ['a', 'b']]]
  with pytest.raises(InputError, match='a, b need predictions or weights of'):
    bundles([['a', 'c'], ['b']], configs)


@pytest.mark.long
@pytest.mark.parametrize('alone', [False, True])
def test_a_group_killed_at_its_last_checkpoint_keeps_its_clock(
    alone, data_dir, tmp_path, monkeypatch, capfd
):
  """Resumed as a group, or each from its own checkpoint."""
  configs = [tiny('esmm', '', init_seed=k) for k in range(2)]
  whole = side_by_side(configs, tmp_path / 'whole', data_dir)
  write_json = phases.write_json

  def kill(path, value):
    if path.endswith('results.json'):
      raise Killed
    write_json(path, value)

  with monkeypatch.context() as m:
    m.setattr(phases, 'write_json', kill)
    with pytest.raises(Killed):
      side_by_side(configs, tmp_path / 'killed', data_dir)
  if alone:
    for config, folder in zip(configs, paths(str(tmp_path / 'killed'), 2)):
      train_and_evaluate(config, folder, data_dir)
  else:
    side_by_side(configs, tmp_path / 'killed', data_dir)
  for k in range(2):
    resumed = results(str(tmp_path / 'killed' / str(k)))  # Finite times.
    expected = results(str(tmp_path / 'whole' / str(k)))
    if alone:
      assert (resumed.pop('replicas'), expected.pop('replicas')) == (1, 2)
    assert resumed.pop('versions') == expected.pop('versions')
    tolerance = 1e-5 if alone else 0.0
    numbers = [
        {key: value for key, value in values.items() if value is not None}
        for values in (resumed, expected)]
    assert numbers[0] == pytest.approx(
        numbers[1], rel=tolerance, abs=tolerance)
    assert resumed['traces'] == whole[k]['traces'] == 1
  assert 'was changed' not in capfd.readouterr().out

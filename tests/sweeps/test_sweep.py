"""Sweeps: points, names, tables, and the program that runs them."""

import csv
import glob
import importlib
import io
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from esmm_jax.protocols import use as protocols
from esmm_jax.sweeps import names, points, table_json
from esmm_jax.sweeps.points import chain, fixed, product, run_name, runs
from esmm_jax.sweeps.points import settings
from esmm_jax.sweeps.points import sweep, zipped
from esmm_jax.sweeps.saved_runs import run_folder
from esmm_jax.sweeps.table import Choice, Column, Front, Table
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import claim, record
from experiments import load
from experiments.sweeping import checks, plans
from hypothesis import given, strategies as st
import pytest

from tests import ROOT
from tests.parallel import forking
from tests.serving import served
from tests.sweeps.unique import unique
from tests.training.test_end_to_end import fingerprint, metrics, results

TABLES = [
    os.path.relpath(f, ROOT)
    for f in sorted(glob.glob(os.path.join(ROOT, 'configs', 'tables', '*.py')))
    # Parts that tables share have no table of their own.
    if 'def get_table' in pathlib.Path(f).read_text('utf-8')
]
ESMM = fixed('config', 'configs/esmm.py:smoke')


def module(path):
  return importlib.import_module(path.removesuffix('.py').replace('/', '.'))


CASES = [(path, v) for path in TABLES for v in module(path).VARIANTS]
MANY_POINTS = [('configs/tables/balancing.py', v) for v in ('', 'kuairand')]

# The algebra.


def test_product_varies_the_last_fastest():
  assert product(sweep('a', [1, 2]), sweep('b', 'xy')) == [
      {'a': 1, 'b': 'x'}, {'a': 1, 'b': 'y'},
      {'a': 2, 'b': 'x'}, {'a': 2, 'b': 'y'},
  ]
  assert product() == [{}]
  assert product(sweep('a', []), fixed('b', 1)) == []


def test_chain_and_zipped():
  one, two = sweep('a', [1, 2]), sweep('b', [3, 4])
  assert chain(one, two) == [{'a': 1}, {'a': 2}, {'b': 3}, {'b': 4}]
  assert zipped(one, two) == [{'a': 1, 'b': 3}, {'a': 2, 'b': 4}]
  assert fixed('units', [3, 2]) == [{'units': (3, 2)}]


@pytest.mark.parametrize(
    'make, words',
    [
        (lambda: sweep('a', [1, 2, 1]), 'there twice'),
        (lambda: chain(fixed('a', 1), fixed('a', 1)), 'there twice'),
        (lambda: product(fixed('a', 1), fixed('a', 2)), "'a' is set twice"),
        (lambda: zipped(fixed('a', 1), sweep('b', [1, 2])), r'\[1, 2\] points'),
        (lambda: fixed('a', {1}), 'a is {1}'),
    ],
)
def test_what_a_sweep_refuses(make, words):
  with pytest.raises(InputError, match=words):
    make()


def test_equal_values_of_other_types_are_other_points():
  assert len(sweep('a', [1, 1.0, True, '1'])) == 4


# Names.

VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.floats(
    allow_nan=False) | st.tuples(st.integers(), st.integers())
POINTS = st.dictionaries(st.text(min_size=1).filter(lambda k: k[0] != '@'),
                         VALUES, max_size=4)


@given(POINTS, POINTS)
def test_a_name_is_safe_and_of_one_point(one, other):
  names = [run_name(one), run_name(other)]
  assert all(re.fullmatch(r'[\w=.+-]{8,120}', n, re.ASCII) for n in names)
  same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
  assert (names[0] == names[1]) == same
  assert run_name(dict(reversed(one.items()))) == names[0]
  assert run_name({**one, '@label': 'x'}) == names[0]


def test_a_name_can_be_read():
  point = {
      'seed': 3, 'config': 'configs/mmoe.py:kuairand', '@data': 'KuaiRand',
      'model.tower_units': (64, 32), 'dataset.train_split': 'train[:25%]',
  }
  assert run_name(point).rpartition('-')[0] == (
      'mmoe-kuairand-train_split=train__25__-tower_units=64x32-seed=3'
  )


def test_names_stay():
  """A new name would run finished sweeps again."""
  point = {'config': 'configs/esmm.py', 'learning_rate': 0.001, 'seed': 0}
  assert run_name(point) == 'esmm-learning_rate=0.001-seed=0-4089e9b5'


LONG = {
    'config': 'configs/esmm.py:kuairand', 'estimator': 'entire_space',
    'balancing.name': 'pcgrad', 'model.tower_units': (128, 64), 'seed': 3,
    'dataset.train_split': 'train[:50%]', 'batch_size': 4096,
    'loss_weights.ctr': 1.5,
}


def test_a_long_name_loses_its_middle():
  """And neither estimator, method and seed nor the hash of its settings."""
  name = run_name(LONG)
  assert len(name) == 108 and name.startswith('esmm-kuairand-batch_size=4096-')
  first, _, digest = name.rpartition('-')
  assert first.endswith('-estimator=entire_space-name=pcgrad-seed=3')
  replay = LONG | {'balancing.name': 'replay', 'balancing.of': f'../{name}'}
  assert f'-name=replay-of=rad-seed=3-{digest}-seed=3-' in run_name(replay)
  with points.naming(cut_at_end=True):
    before = run_name(LONG)
  assert before == (
      'esmm-kuairand-name=pcgrad-batch_size=4096-train_split=train__50__-'
      f'estimator=entire_space-ctr=1.5-tow-{digest}')
  assert run_name(LONG) == name


def test_a_sweep_goes_on_with_its_names(tmp_path):
  """One without a word of names is of an earlier version."""
  new = run_name(LONG)
  with points.naming(cut_at_end=True):
    old = run_name(LONG)
  table = Table('t', points=[LONG], rows=(), columns=(Column('a', 'seed'),))

  def name():
    with names.as_in(str(tmp_path)):
      return run_name(LONG)

  assert name() == new
  (tmp_path / 'runs' / old).mkdir(parents=True)  # sweep.json was lost.
  assert name() == old
  for is_old, expected in ((True, old), (False, new)):
    with points.naming(is_old):
      about = {'sweep': 'x', **table_json.dump(table), **names.about()}
    (tmp_path / 'sweep.json').write_text(json.dumps(about))
    assert name() == expected
    with names.as_in(str(tmp_path)):
      read, _ = table_json.read(str(tmp_path))
    assert read.points == [LONG]


def test_labels_share_a_run():
  points = product(ESMM, sweep('@method', ['ESMM', 'the same']))
  assert list(runs(points).values()) == [settings(points[0])]


# Tables.


def make(**changes):
  options = dict(
      title='T',
      points=product(
          sweep('@model', ['a', 'b']), ESMM, sweep('estimator', ['x', 'y']),
          sweep('seed', [0, 1])),
      columns=(Column('AUC', 'test/ctr/auc'),),
      rows=('@model',),
      blocks=('estimator',),
      baseline={'@model': 'a', 'estimator': 'y'},
      gain_columns=('test/ctr/auc',),
  )
  return Table(**(options | changes))


def test_the_baseline_is_at_the_same_seed():
  table = make()
  point = {'@model': 'b', 'estimator': 'x', 'seed': 1}
  assert dict(table.baseline_cell(point)) == {
      '@model': 'a', 'estimator': 'y', 'seed': 1}


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(points=[]), 'no points'),
        (dict(seed='init_seed'), "no 'init_seed'"),
        (dict(rows=('@modl',)), "no '@modl'"),
        (dict(blocks=(), baseline=None), 'two points are'),
        (dict(gain_columns=('test/ctr/acu',)), "'test/ctr/acu'.*test/ctr/auc"),
        (dict(baseline={'@model': 'c'}), 'no point is the baseline'),
        (dict(baseline={'model': 'a'}), 'neither in rows nor in blocks'),
        (dict(columns=(Column('AUC', 'test/ctr/auc', 4, 'up'),)), "'up'"),
        (dict(columns=(Column('AUC', 'test/ctr/auc', 4, 'lower'),)),
         'better when it is higher'),
        (dict(columns=(Column('loss', 'test/ctr/logloss', 4, 'higher'),)),
         'better when it is lower'),
        (dict(choice=Choice('x', 'valid/ctr/auc', 'min')),
         "'min' is not 'max'"),
        (dict(choice=Choice('x', 'valid/ctr/calibration')), "'max' or 'min'"),
        (dict(choice=Choice('x', 'test/ctr/auc')), "begin with 'valid/'"),
        (dict(columns=(Column('loss', 'test/ctr/logloss'),
                       Column('AUC', 'test/ctr/auc')),
              baseline=None, blocks=('seed',), seed='@seed',
              points=product(
                  sweep('@model', ['a', 'b']), ESMM, sweep('estimator', 'xy'),
                  sweep('seed', [0]), fixed('@seed', 0)),
              rows=('@model', 'estimator'),
              front=Front('@model', 'estimator', 'test/ctr/logloss',
                          'test/ctr/auc', 'a')),
         'test/ctr/logloss. is not'),
    ],
)
def test_what_a_table_refuses(changes, words):
  with pytest.raises(InputError, match=words):
    make(**changes)


@pytest.mark.parametrize('metric, better', [
    ('test/ctr/auc', 'higher'), ('test/ctr/gauc', 'higher'),
    ('test/cvr_entire/kl', 'lower'), ('valid/ctcvr/logloss', 'lower'),
    ('test/play_time_clicked/mse', 'lower'), ('test/ctr/calibration', None),
    ('test/cvr_entire/ratio', None), ('num_params', None)])
def test_a_column_is_better_as_its_metric_says(metric, better):
  assert Column('x', metric).better == better
  assert Column('x', metric, better=None).better is None


KEYS = ['test/ctr/auc', 'valid/ctr/auc', 'test/ctr/logloss', 'steps']


@pytest.mark.parametrize('changes, words', [
    (dict(columns=(Column('AUC', 'test/ctr/acu'),), gain_columns=()),
     "no run will have 'test/ctr/acu'. Did you mean 'test/ctr/auc'?"),
    (dict(extra_columns=(Column('s', 'step', 0),)), "Did you mean 'steps'?"),
    (dict(columns=(Column('AUC', 'test/cvr_clicked/auc'),), gain_columns=()),
     "'test/cvr_clicked/auc'.*There are: steps, test/ctr/auc"),
    (dict(choice=Choice('log_every', 'valid/ctr/logloss'),
          points=[p | {'log_every': 1} for p in make().points]),
     "'valid/ctr/logloss'"),
])
def test_a_column_that_no_run_can_have(changes, words):
  with pytest.raises(InputError, match=words):
    checks.check_columns(make(**changes), KEYS)
  gate = Column('load', 'test/gate_ctr/load_0')
  checks.check_columns(make(extra_columns=(gate,)), KEYS)


def test_a_run_with_a_key_that_nothing_reads_is_refused_first(tmp_path):
  config = protocols.resolve(served.small_config(**{'optimizer.momentum': 0.5}))
  columns = (Column('AUC', 'test/ctr/auc'),)
  plan = plans.Plan(
      make(columns=columns, gain_columns=()), {'a': {}}, {'a': config}, [['a']])
  (refused,) = checks.check(plan, str(tmp_path), 'none').values()
  assert 'optimizer.momentum is 0.5, which has no effect' in str(refused)
  # Of a run that has begun nothing is asked again.
  claim(record(config), run_folder(str(tmp_path), 'a'))
  assert checks.check(plan, str(tmp_path), 'none') == {}


def test_what_a_run_will_have(finished):
  """All that results.json holds, and nothing else."""
  config = served.small_config()
  keys = checks.run_keys(
      protocols.resolve(config), str(finished.data), {})
  results = json.loads((finished.folder / 'results.json').read_text())
  assert set(results) | {'train/skipped', 'versions'} == keys | {'versions'}


# Table -> its methods without a baseline: what has no replay.
ALONE = {
    'configs/tables/balancing.py': {'static', 'single_task'},
    'configs/tables/balancing.py:cpu_controls': {
        'static', 'single_task', 'rising rate', 'one length'},
}


@pytest.mark.parametrize('path, variant', [
    pytest.param(*case, marks=[pytest.mark.long] * (case in MANY_POINTS))
    for case in CASES])
def test_table_file(path, variant):
  """Every point is a config: its file, its variant and all its keys exist.

  And the columns are of what the runs will have.
  """
  table = load.table(f'{path}:{variant}' if variant else path)
  trees = [load.point(point) for point in unique(table.points)]
  assert runs(table.points)
  builders, sections, keys = {}, set(), set()
  for tree in trees:
    section = json.dumps(
        [tree.dataset.to_dict(), tree.protocol, bool(tree.common_ctr),
         tree.estimator, bool(tree.balancing.name)],
        default=str)
    if section not in sections:
      sections.add(section)
      tree = protocols.resolve(tree)
      keys |= checks.run_keys(tree, 'none', builders)
  checks.check_columns(table, keys)
  cells = {table.cell(point) for point in table.points}
  without = [
      point for point in table.points
      if table.baseline and table.baseline_cell(point) not in cells]
  alone = ALONE.get(f'{path}:{variant}', ALONE.get(path, set()))
  assert {p.get('@method') for p in without} == alone


@pytest.mark.parametrize('path', TABLES)
def test_table_file_says_how_to_run_it(path):
  doc = module(path).__doc__
  for program in ('sweep', 'table'):
    _, found, rest = doc.partition(f'python -m experiments.{program} ')
    assert found and f'--sweep={path}' in rest.partition('python')[0]
  with pytest.raises(ValueError, match="'smke'.*smoke"):
    module(path).get_table('smke')


# From points to configs.


def test_a_point_sets_the_keys_of_its_config():
  point = {
      'config': 'configs/esmm.py:smoke', '@model': 'x', 'seed': 3,
      'learning_rate': 1, 'model.tower_units': [8], 'dataset.rho': None,
      'loss_weights.ctr': 0.5,
  }
  config = load.point(point)
  assert (config.seed, config.model.tower_units) == (3, (8,))
  assert config.learning_rate == 1.0 and config.dataset.rho is None


@pytest.mark.parametrize(
    'point, words',
    [
        ({'config': 'configs/esm.py'}, ['no file', 'configs/esmm.py?']),
        ({'config': 'configs/esmm.py:smke'}, ["'smke'", 'smoke']),
        ({'config': 'configs/common.py'}, ['no get_config']),
        ({'lerning_rate': 1}, ["'lerning_rate'", "'learning_rate'?"]),
        ({'model': 3}, ['set one of its keys', 'embed_dim']),
        ({'model.name.x': 3}, ["no key 'x'"]),
        ({'seed': 1.5}, ['seed=1.5', 'int']),
        ({'seed': None}, ['seed=None', 'int']),
        ({'seed': True}, ['seed=True', 'int']),
        ({'estimator': 1}, ['estimator=1', 'str']),
        ({'model.tower_units': 3}, ['tower_units=3', 'tuple']),
    ],
)
def test_a_point_that_is_no_config(point, words):
  with pytest.raises(InputError) as e:
    load.point({'config': 'configs/esmm.py', **point})
  assert all(word in str(e.value) for word in words), e.value


def test_override_sets_what_has_the_key():
  trees = {
      'a': load.config('configs/esmm.py:kuairand'),
      'b': load.config('configs/esmm.py'),
  }
  load.override(trees, ['dataset.raw_dir=data=1', 'dataset.num_train=7'])
  assert trees['a'].dataset.raw_dir == 'data=1'
  assert trees['b'].dataset.num_train == 7
  for text, words in (
      ('dataset.raw', 'KEY=VALUE'),
      ('dataset.rawdir=x', "'dataset.rawdir'.*'dataset.raw_dir'?"),
      ('dataset.num_train=many', 'of type int'),
  ):
    with pytest.raises(InputError, match=words):
      load.override(trees, [text])


def test_raw_data_may_move(tmp_path):
  """Finished stays finished; an unfinished run gets the new place."""
  folder = os.fspath(tmp_path)
  config = load.config('configs/esmm.py:kuairand')
  assert not load.finished(config, folder) and not os.listdir(folder)
  config.dataset.raw_dir = 'here'
  claim(record(config), folder)
  config.dataset.raw_dir = 'there'
  assert not load.finished(config, folder)
  there = json.loads((tmp_path / 'config.json').read_text())
  assert there['dataset']['raw_dir'] == 'there'
  (tmp_path / 'results.json').write_text('{}')
  config.dataset.raw_dir = 'elsewhere'
  assert load.finished(config, folder)
  config.seed = 5
  with pytest.raises(InputError, match='seed is 5 here and 0 there'):
    load.finished(config, folder)


# The program.

FILE = """
from esmm_jax.sweeps.points import chain, fixed, product, sweep
from esmm_jax.sweeps.table import Column, Table


def get_table(variant=''):
  config = fixed('config', 'configs/esmm.py:smoke')
  rows = {rows}
  return Table(
      title='Small', rows=('@row',), baseline={{'@row': 'one'}},
      points=product(config, chain(*rows), sweep('seed', range({seeds})),
                     fixed('evals_per_epoch', 4),
                     fixed('dataset.num_train', {num_train}),
                     fixed('dataset.num_test', 3000)),
      columns=(Column('CTR AUC', 'test/ctr/auc'),
               Column('CTCVR log loss', 'test/ctcvr/logloss', 5, 'lower')),
      gain_columns=('test/ctr/auc',),
  )
"""


def write_table(folder, seeds, num_train=6000, **rows):
  """A table file whose rows set one key each."""
  texts = [
      f'product(fixed("@row", {name!r}), fixed({key!r}, {value!r}))'
      for name, (key, value) in rows.items()
  ]
  path = os.path.join(folder, 'small.py')
  with open(path, 'w', encoding='utf-8') as f:
    f.write(FILE.format(
        rows=f'[{", ".join(texts)}]', seeds=seeds, num_train=num_train))
  return path


def start(program, path, workdir, *more, **streams):
  """A process of its own, compiled as those of `run` are."""
  return subprocess.Popen(
      [sys.executable, '-m', f'experiments.{program}', f'--sweep={path}',
       f'--workdir={workdir}', *more],
      cwd=ROOT, **streams, env=dict(
          os.environ, JAX_PLATFORMS='cpu', JAX_DISABLE_MOST_OPTIMIZATIONS='1'))


def run(program, path, workdir, *more):
  return forking.Program(
      f'experiments.{program}', JAX_DISABLE_MOST_OPTIMIZATIONS='1').run(
          f'--sweep={path}', f'--workdir={workdir}', *more)


def run_and_kill(*arguments, workdir):
  """Kills a sweep when its second run has its second checkpoint."""
  process = start(
      *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  deadline = time.monotonic() + 250
  while time.monotonic() < deadline and process.poll() is None:
    steps = [
        f for f in glob.glob(f'{workdir}/runs/*seed=1*/checkpoints/*')
        if os.path.basename(f).isdigit()
    ]
    if len(steps) >= 2:
      break
    time.sleep(0.005)
  process.send_signal(signal.SIGKILL)
  assert process.wait() == -signal.SIGKILL, 'The sweep ended before the kill.'


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


@pytest.mark.long
def test_killed_and_run_again_gives_the_same_table(tmp_path, data_dir):
  """The Markdown and the CSV, every digit; what was finished stays."""
  path = write_table(tmp_path, 2, 40_000, one=('learning_rate', 1e-2))
  data = f'--data_dir={data_dir}'
  whole, killed = tmp_path / 'a' / 'sweep', tmp_path / 'b' / 'sweep'
  done = run('sweep', path, whole, data)
  assert done.returncode == 0, done.stderr
  lines = done.stdout.splitlines()
  assert len(lines) == 3 and lines[0].startswith('[1/2] esmm-smoke-')
  assert 'left)' in lines[1] and 'experiments.table' in lines[2]

  run_and_kill('sweep', path, str(killed), data, workdir=killed)
  results = glob.glob(f'{killed}/runs/*/results.json')
  assert len(results) == 1
  before = os.stat(results[0]).st_mtime_ns
  listed = run('sweep', path, killed, '--dry_run').stdout.splitlines()
  assert [line.split()[0] for line in listed] == ['finished', 'begun', '1']
  table = run('table', path, killed)
  assert '1, missing 1 of 2' in table.stdout

  done = run('sweep', path, killed, data)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('[2/2]')
  assert os.stat(results[0]).st_mtime_ns == before
  for workdir in (whole, killed):
    table = run('table', path, workdir)
    assert table.returncode == 0, table.stderr
    assert table.stdout == (workdir / 'table.md').read_text()
    assert str(tmp_path) not in table.stdout
  for name in ('table.md', 'table.csv', 'table.tex'):
    assert (whole / name).read_text() == (killed / name).read_text()


@pytest.mark.slow
def test_a_run_that_fails_does_not_end_the_sweep(tmp_path, data_dir):
  path = write_table(
      tmp_path, 1, two=('learning_rate', 1e30),
      three=('dataset.test_split', 'tst'), one=('log_every', 9))
  workdir = tmp_path / 'sweep'
  done = run('sweep', path, workdir, f'--data_dir={data_dir}')
  errors = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
  assert done.returncode == 1 and len(errors) == 1, done.stderr
  assert '2 of 3 runs failed' in errors[0] and 'not finite' in errors[0]
  assert "no split 'tst'" in errors[0]
  failed = [json.loads(p.read_text()) for p in (workdir / 'failed').iterdir()]
  assert {f['error'] for f in failed} == {'FloatingPointError', 'InputError'}
  table = run('table', path, workdir, '--format=csv')
  rows = list(csv.DictReader(io.StringIO(table.stdout)))
  counts = {r['row']: r['n'] for r in rows if r['metric'] == 'test/ctr/auc'}
  assert counts == {'two': '0', 'three': '0', 'one': '1'}
  text = (workdir / 'table.md').read_text()
  assert ', FloatingPointError, see failed/' in text and 'missing' in text


WRONG = {
    'no sweep': (['--workdir=x'], '--sweep is not set'),
    'no workdir': (
        ['--sweep=configs/tables/architectures.py:smoke'],
        '--workdir is not set',
    ),
    'no such table': (
        ['--sweep=configs/tables/architecture.py', '--workdir=x'],
        'did you mean configs/tables/architectures.py?',
    ),
    'no table': (['--sweep=configs/esmm.py', '--workdir=x'], 'no get_table'),
    'shard': (
        ['--sweep=configs/tables/architectures.py:smoke', '--workdir=x',
         '--shard=2/2', '--dry_run'],
        '--shard=2/2 is not i/n',
    ),
    'override': (
        ['--sweep=configs/tables/architectures.py:smoke', '--workdir=x',
         '--override=lerning_rate=1', '--dry_run'],
        "'learning_rate'?",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('case', WRONG)
def test_a_mistake_is_one_line(case, tmp_path):
  arguments, words = WRONG[case]
  arguments = [a.replace('=x', f'={tmp_path}') for a in arguments]
  done = forking.Program('experiments.sweep').run(*arguments)
  errors = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
  code = 2 if 'is not set' in words else 1
  assert done.returncode == code, done.stderr
  assert len(errors) == 1 and words in errors[0], done.stderr
  assert 'Traceback' not in done.stderr


@pytest.mark.slow
def test_shards_share_the_runs():
  spec = 'configs/tables/architectures.py:smoke'
  parts = [
      run('sweep', spec, 'none', '--dry_run', f'--shard={k}/3').stdout
      for k in range(3)
  ]
  names = [line.split()[2] for p in parts for line in p.splitlines()[:-1]]
  assert sorted(names) == sorted(runs(load.table(spec).points))
  assert max(len(p.splitlines()) for p in parts) == 5


@pytest.mark.long
def test_a_run_may_take_the_pctr_of_a_later_run(tmp_path, data_dir):
  """Both are replicas of one program: the later one is tested first."""
  later = run_name({
      'config': 'configs/esmm.py:smoke', 'common_ctr': '.', 'seed': 0,
      'evals_per_epoch': 4, 'dataset.num_train': 6000,
      'dataset.num_test': 3000})
  path = write_table(
      tmp_path, 1, one=('common_ctr', f'../{later}'), two=('common_ctr', '.'))
  done = run(
      'sweep', path, tmp_path / 'sweep', f'--data_dir={data_dir}',
      '--override=save_predictions=True', '--override=num_epochs=1')
  assert done.returncode == 0, done.stderr
  files = glob.glob(f'{tmp_path}/sweep/runs/*/results.json')
  ends = [json.loads(pathlib.Path(f).read_text('utf-8')) for f in files]
  assert [end['replicas'] for end in ends] == [2, 2]
  assert all(end['test/ctcvr_common/auc'] > 0 for end in ends)


def two_replicas(folder, data_dir):
  """Trains two side by side; returns the sweep's folder and its command."""
  table = write_table(
      folder, 1, one=('learning_rate', 1e-2), other=('learning_rate', 1e-3))
  workdir = folder / 'sweep'
  arguments = (
      'sweep', table, workdir, f'--data_dir={data_dir}',
      '--override=dataset.num_train=2000')
  assert run(*arguments).returncode == 0
  return workdir, arguments


@pytest.mark.long
def test_predictions_asked_for_afterwards(tmp_path, data_dir):
  """Finished replicas write them from their own checkpoints, alone."""
  workdir, arguments = two_replicas(tmp_path, data_dir)
  files = lambda name: list(workdir.glob(f'runs/*/{name}'))
  read = lambda: {p: json.loads(p.read_bytes()) for p in files('results.json')}
  before = read()
  assert [r.pop('replicas') for r in before.values()] == [2, 2]
  again = run(*arguments, '--override=save_predictions=True')
  assert again.returncode == 0, again.stderr
  assert len(files('predictions/test.parquet')) == 2
  after = read()
  assert [r.pop('replicas') for r in after.values()] == [1, 1]
  assert after == before
  assert 'finished' in run(*arguments, '--dry_run').stdout


@pytest.mark.long
def test_a_replica_that_is_damaged(tmp_path, data_dir):
  """It is trained again with the other one, so its bits are those it had."""
  workdir, arguments = two_replicas(tmp_path, data_dir)
  folders = sorted(workdir.glob('runs/*'))
  before = [(results(f), metrics(f), fingerprint(f)) for f in folders]
  harmed = next(folders[1].glob('checkpoints/*/tables/*.bin'))
  harmed.write_bytes(b'')
  again = run(*arguments)
  assert again.returncode == 0, again.stderr
  (line,) = [s for s in again.stderr.splitlines() if 'side by side' in s]
  assert folders[1].name in line and '2 runs' in line
  assert [(results(f), metrics(f), fingerprint(f)) for f in folders] == before
  assert 'finished' in run(*arguments, '--dry_run').stdout

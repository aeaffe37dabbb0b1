"""A run whose parts are those of plugins, from training to its report."""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys

import esmm_jax
from esmm_jax.json_files import read_jsonl
from esmm_jax.plugins import loading
from esmm_jax.serving import exporting
from esmm_jax.types import InputError
from experiments import load
import numpy as np
from pyarrow import parquet
import pytest

from tests.parallel import forking
from tests.plugins import package
from tests.plugins.conftest import forget

SHORT = ['--config.loss_weights.cvr_second=.25',
         '--config.estimator_options.gamma=2']


@pytest.fixture(scope='module')
def run(home):
  """A finished run of the Python API."""
  config = load.config(str(home / 'my_config.py'))
  config.loss_weights.cvr_second = 0.25
  config.estimator_options.gamma = 2.0
  folder = str(home / 'runs' / 'python')
  esmm_jax.train_and_evaluate(config, folder, str(home / 'data'))
  return folder


def read(folder, name):
  with open(os.path.join(folder, name), encoding='utf-8') as f:
    return json.load(f)


def test_the_run_keeps_its_plugins(run):
  config, results = read(run, 'config.json'), read(run, 'results.json')
  assert config['plugins'] == ['my_package.parts']
  (version,) = loading.versions(config).items()
  assert version[0] == 'plugin my_package.parts'
  for versions in (read(run, 'manifest.json')['versions'], results['versions']):
    assert version in versions.items()
  for key in ('test/ctr/brier', 'test/ctcvr/brier', 'valid/ctr/brier'):
    assert 0 < results[key] < 0.3
  lines = read_jsonl(os.path.join(run, 'metrics.jsonl'))
  assert all(x['train/cvr_second'] > 0 for x in lines if 'train/loss' in x)


def test_a_new_process_predicts_and_evaluates(run, home):
  forget()
  assert 'focal' not in esmm_jax.ESTIMATORS
  predictor = esmm_jax.load(run, data_dir=str(home / 'data'))
  assert 'focal' in esmm_jax.ESTIMATORS
  builder = esmm_jax.DATASETS['coins'].from_options(str(home / 'data'))
  columns = builder.as_data_source('test').joined(0, 600)
  got = predictor.predict(columns)
  saved = parquet.read_table(os.path.join(run, 'predictions', 'test.parquet'))
  np.testing.assert_allclose(got['p_ctr'], saved['p_ctr'], rtol=1e-6)
  scores = predictor.evaluate(columns)
  for key in ('ctr/brier', 'ctcvr/brier', 'ctr/auc'):
    assert scores[key] == pytest.approx(
        read(run, 'results.json')[f'test/{key}'])


def test_the_export_has_no_need_of_it(run, tmp_path):
  forget()
  predictor = esmm_jax.load(run)
  exporting.export(predictor, str(tmp_path / 'exported'))
  forget()
  model, params = exporting.load(str(tmp_path / 'exported'))
  about = read(tmp_path / 'exported', 'description.json')
  inputs = {i['name']: np.ones([3, *i['shape'][1:]], i['dtype'])
            for i in about['inputs']}
  outputs = model(params, inputs)
  assert {*outputs} == {'p_ctr', 'p_cvr', 'p_ctcvr'}
  assert not {'my_package', 'my_package.parts'} & {*sys.modules}


def test_where_the_module_is_not(run, home, monkeypatch):
  forget()
  monkeypatch.setattr(sys, 'path', [p for p in sys.path if p != str(home)])
  with pytest.raises(InputError) as error:
    esmm_jax.load(run)
  assert str(error.value) == (
      f"plugins: the module 'my_package.parts', which {run} needs, is not there"
      " (there is no 'my_package'). Run from the folder that holds my_package,"
      ' or add that folder to PYTHONPATH.')


def test_the_same_run_of_another_plugin(run, home, tmp_path):
  """Without its plugins, or with more of them, it is another run."""
  config = load.config(str(home / 'my_config.py'))
  config.loss_weights.cvr_second, config.estimator_options.gamma = 0.25, 2.0
  again = esmm_jax.train_and_evaluate(config, run, str(home / 'data'))
  assert again['test/ctr/brier'] == read(run, 'results.json')['test/ctr/brier']
  config.plugins = ('my_package.parts', 'my_package.model')
  with pytest.raises(InputError, match='another config: plugins is '):
    esmm_jax.train_and_evaluate(config, run, str(home / 'data'))
  config.plugins = ()
  with pytest.raises(
      InputError, match="'focal', which is of the plugin my_package.parts, and"
      ' this config does not name that; set plugins='):
    esmm_jax.train_and_evaluate(config, str(tmp_path / 'a'), str(home / 'data'))
  assert not os.path.exists(tmp_path / 'a')


@pytest.mark.long
def test_a_frozen_run_lends_no_plugin(run, home, tmp_path, monkeypatch):
  """Its predictions are taken, and the metrics are those of the run itself."""
  (tmp_path / 'only_metric.py').write_text(
      'from esmm_jax import DIRECTIONS, METRICS\n'
      'METRICS["other"] = lambda logits, labels, where: 0.5\n'
      'DIRECTIONS["other"] = "max"\n')
  monkeypatch.syspath_prepend(str(tmp_path))
  config = load.config(str(home / 'my_config.py'))
  config.plugins = ('my_package.parts', 'only_metric')
  config.estimator = 'ips'
  config.estimator_options.propensity = 'frozen'
  config.estimator_options.frozen_run = run
  config.selection.metric = 'valid/ctr/other'
  results = esmm_jax.train_and_evaluate(
      config, str(tmp_path / 'run'), str(home / 'data'))
  assert (results['test/ctr/other'], results['valid/ctr/other']) == (0.5, 0.5)
  # And a run without that plugin has not its metric, in this process too.
  config = load.config(str(home / 'my_config.py'))
  results = esmm_jax.train_and_evaluate(
      config, str(tmp_path / 'without'), str(home / 'data'))
  assert 'test/ctr/brier' in results and 'test/ctr/other' not in results


def test_keys_of_the_plugin_are_in_a_config_once_it_is_loaded():
  point = {'config': 'configs/esmm.py:smoke', 'seed': 1}
  mine = {'estimator': 'focal', 'loss_weights.cvr_second': 2.0,
          'estimator_options.gamma': 0.5}
  forget()
  with pytest.raises(InputError, match="no key 'cvr_second'"):
    load.point({**point, **mine})
  for value in ('my_package.parts', ['my_package.parts'],
                ('my_package.parts',)):
    forget()
    tree = load.point({**point, **mine, 'plugins': value})
    assert tree.plugins == ('my_package.parts',)
    assert tree.loss_weights.cvr_second == 2.0
    assert tree.estimator_options.gamma == 0.5
  with pytest.raises(InputError, match='gamma'):
    load.point({**point, 'plugins': 'my_package.parts',
                'estimator_options.gamma': 'high'})


def test_no_plugins_change_nothing():
  """Unset is absent; the empty tuple is the same run."""
  from esmm_jax.workdir import folder

  tree = load.config('configs/esmm.py:smoke')
  record = folder.record(tree)
  assert 'plugins' not in record
  tree.plugins = ()
  assert folder.config_hash(folder.record(tree)) == folder.config_hash(record)
  tree.plugins = ('a',)
  assert folder.config_hash(folder.record(tree)) != folder.config_hash(record)


@pytest.fixture(scope='module')
def programs(home):
  """Programs of a machine that has the package, and of one that has not."""
  root = str(home / 'runs')
  os.makedirs(root, exist_ok=True)

  def call(program, *arguments, path=str(home)):
    words = list(arguments)
    if program not in ('table', 'export'):
      words.append(f'--data_dir={home / "data"}')
    return forking.Program(f'experiments.{program}', PYTHONPATH=path).run(
        *words)

  return call


def sound(done):
  assert done.returncode == 0, done.stdout + done.stderr
  return done.stdout + done.stderr


@pytest.fixture(scope='module')
def typed(programs, home):
  """A run of a command line that names the plugin and its keys."""
  workdir = home / 'runs' / 'typed'
  sound(programs(
      'train', '--config=configs/esmm.py:smoke',
      '--config.dataset.num_train=4000', '--config.dataset.num_valid=9000',
      '--config.dataset.num_test=2000', '--config.plugins=my_package.parts',
      '--config.estimator=focal', *SHORT,
      '--config.selection.metric=valid/ctr/brier', f'--workdir={workdir}'))
  return str(workdir)


@pytest.mark.long
def test_programs_that_read_a_run(programs, typed, tmp_path):
  assert read(typed, 'config.json')['plugins'] == ['my_package.parts']
  assert read(typed, 'config.json')['loss_weights'] == {'cvr_second': 0.25}
  name = f'--workdir={typed}'
  sound(programs('predict', name, '--split=test',
                 f'--output={tmp_path / "scores.parquet"}'))
  sound(programs('evaluate', name, '--split=test'))
  assert read(typed, 'evaluation.json')['ctr/brier'] > 0
  sound(programs('calibrate', name))
  sound(programs('export', name, f'--output={tmp_path / "exported"}'))
  sound(programs('report', name))
  page = pathlib.Path(typed, 'report.html').read_text('utf-8')
  assert 'mean squared error of the probabilities.' in page
  for program, more in (
      ('predict', ['--split=test', f'--output={tmp_path / "b.parquet"}']),
      ('evaluate', ['--split=test']), ('calibrate', []),
      ('export', [f'--output={tmp_path / "b"}'])):
    done = programs(program, name, *more, path='')
    assert done.returncode == 1
    (line,) = [x for x in done.stderr.splitlines() if x.startswith('error:')]
    assert f"'my_package.parts', which {typed} needs, is not there" in line
  # Numbers are shown without it.
  (line,) = [x for x in sound(programs('report', name, path='')).splitlines()
             if x.startswith('warning: plugins:')]
  assert 'is not there' in line


@pytest.mark.long
def test_runs_that_begin_with_another(programs, typed, home):
  config = ['--config=configs/esmm.py:smoke', '--config.estimator=focal',
            '--config.plugins=my_package.parts']
  runs = home / 'runs'
  sound(programs('train', *config, f'--refit_of={typed}',
                 f'--workdir={runs / "refit"}'))
  assert read(runs / 'refit', 'config.json')['plugins'] == ['my_package.parts']
  for seed in (1, 2):
    sound(programs(
        'train', *config, *SHORT, '--config.dataset.num_train=4000',
        '--config.dataset.num_valid=9000', '--config.dataset.num_test=2000',
        f'--config.seed={seed}', f'--init_from={typed}',
        f'--workdir={runs / f"from{seed}"}'))
  both = f'--workdir={runs / "from1"},{runs / "from2"}'
  scored = home / 'both.json'
  sound(programs('evaluate', both, '--split=test', f'--output={scored}'))
  assert json.loads(scored.read_text())['ctr/brier'] > 0


@pytest.mark.long
def test_a_run_that_resumes_with_another_source(programs, home, tmp_path):
  other = package.write(tmp_path / 'home')
  workdir = tmp_path / 'run'
  arguments = ['train', f'--config={other / "my_config.py"}',
               f'--workdir={workdir}']
  sound(programs(*arguments, path=str(other)))
  (workdir / 'results.json').unlink()
  assert 'plugin' not in sound(programs(*arguments, path=str(other)))
  with open(other / 'my_package' / 'model.py', 'a', encoding='utf-8') as f:
    f.write('\n# Another version.\n')
  for words in (['evaluate', f'--workdir={workdir}', '--split=test'],
                ['export', f'--workdir={workdir}', f'--output={tmp_path / "e"}']
                ):
    (line,) = [x for x in sound(programs(*words, path=str(other))).splitlines()
               if 'was trained with the plugin my_package.parts' in x]
    assert line.startswith('warning: ')
  (workdir / 'results.json').unlink()
  assert (
      'warning: This run began with plugin my_package.parts sha256'
      in sound(programs(*arguments, path=str(other))))


@pytest.mark.long
def test_a_sweep(programs, home, tmp_path):
  """Points that set keys of the plugin; replicas; what names no plugin."""
  table = (home / 'my_table.py').read_text()
  config = home / 'my_config.py'
  (home / 'my_table.py').write_text(
      table.replace("'my_config.py'", repr(str(config))))
  words = [f'--sweep={home / "my_table.py"}', f'--workdir={tmp_path / "sweep"}']
  for shard in ('1/2', '0/2'):
    sound(programs('sweep', *words, f'--shard={shard}'))
  results = [
      read(tmp_path / 'sweep' / 'runs' / name, 'results.json')
      for name in os.listdir(tmp_path / 'sweep' / 'runs')]
  # gamma and the weight differ between replicas of one program.
  assert [r['replicas'] for r in results] == [4] * 4
  assert len({r['test/ctr/brier'] for r in results}) == 4
  assert 'Brier ↓' in sound(programs('table', *words))
  sound(programs('report', f'--workdir={tmp_path / "sweep"}'))
  shutil.rmtree(tmp_path / 'sweep')
  sound(programs('sweep', *words, '--override=run.log_every=5',
                 '--override=plugins=my_package.parts',
                 '--override=loss_weights.cvr_second=0.125'))
  (name, *_) = os.listdir(tmp_path / 'sweep' / 'runs')
  saved = read(tmp_path / 'sweep' / 'runs' / name, 'config.json')
  assert saved['loss_weights']['cvr_second'] == 0.125
  done = programs('sweep', *words, path='')
  assert done.returncode == 1
  assert 'is not there (there is no' in done.stderr
  done = programs('sweep', *words, '--override=plugins=absent')
  assert done.returncode == 1
  assert "error: plugins: the module 'absent' is not there" in done.stderr


@pytest.mark.long
@pytest.mark.parametrize('value, part', [
    ('absent', "plugins: the module 'absent' is not there. Run from"),
    ('a/b.py', "plugins: 'a/b.py' is no name of a module"),
])
def test_a_wrong_flag_is_one_line(programs, tmp_path, value, part):
  done = programs('train', '--config=configs/esmm.py:smoke',
                  f'--config.plugins={value}', f'--workdir={tmp_path / "a"}')
  (line,) = [x for x in done.stderr.splitlines() if x]
  assert done.returncode == 1 and line.startswith(f'error: {part}')


@pytest.mark.long
def test_several_processes(home, root, tmp_path):
  with socket.socket() as s:
    s.bind(('localhost', 0))
    port = s.getsockname()[1]
  env = dict(os.environ, PYTHONPATH=f'{root}{os.pathsep}{home}')
  both = [
      subprocess.Popen(
          [sys.executable, '-m', 'experiments.train',
           f'--config={home / "my_config.py"}', f'--workdir={tmp_path / "run"}',
           f'--data_dir={home / "data"}', f'--coordinator=localhost:{port}',
           '--num_processes=2', f'--process_id={number}'],
          env=env, cwd=tmp_path, text=True, stdout=subprocess.PIPE,
          stderr=subprocess.STDOUT)
      for number in range(2)]
  said = [process.communicate()[0] for process in both]
  assert [process.returncode for process in both] == [0, 0], said
  assert read(tmp_path / 'run', 'results.json')['test/ctr/brier'] > 0


@pytest.mark.long
def test_data_is_prepared_before(programs, home):
  text = sound(programs('prepare_data', f'--config={home / "my_config.py"}'))
  assert 'coins' in text and 'test: 600 rows' in text

"""Mistakes on the command line: one line each, with what to do."""

import json
import os
import re

import pytest

from tests.parallel import forking

SMOKE = '--config=configs/esmm.py:smoke'

# Arguments -> exit code and parts of the message.
WRONG = {
    'no config': ([], 2, ['--config is not set', 'configs/esmm.py:smoke']),
    'no workdir': ([SMOKE, '--workdir='], 2, ['--workdir is not set']),
    'no such file': (
        ['--config=configs/esm.py'],
        2,
        ['there is no file configs/esm.py', 'configs/esmm.py?'],
    ),
    'no such variant': (
        ['--config=configs/esmm.py:smke'],
        2,
        [":smke: No variant 'smke'", 'smoke'],
    ),
    'unknown key': (
        [SMOKE, '--config.lerning_rate=1'],
        2,
        ["--config.lerning_rate: the config has no key 'lerning_rate'",
         "'learning_rate'?"],
    ),
    'unknown nested key': (
        [SMOKE, '--config.model.towr_units=3'],
        2,
        ["no key 'towr_units'", "'tower_units'?"],
    ),
    'section set': (
        [SMOKE, '--config.model=3'],
        2,
        ['--config.model=3: set one of its keys: activation'],
    ),
    'not a number': ([SMOKE, '--config.batch_size=abc'], 2, ['batch_size=abc']),
    'unknown flag': ([SMOKE, '--worckdir=x'], 2, ["'worckdir'", 'workdir']),
    'argument': ([SMOKE, 'x'], 2, ["unexpected argument 'x'"]),
    'unknown model': (
        [SMOKE, '--config.model.name=shared_embeding'],
        1,
        ["model.name is 'shared_embeding'", "'shared_embedding'?"],
    ),
    'unknown data set': (
        [SMOKE, '--config.dataset.name=kuairnd'],
        1,
        ["dataset.name is 'kuairnd'", "'kuairand'?"],
    ),
    'unknown preset': (
        [SMOKE, '--config.dataset.preset=tny'],
        1,
        ["'tny'", "'tiny'?"],
    ),
    'no raw files': (
        ['--config=configs/esmm.py:kuairand', '--config.dataset.raw_dir=/no'],
        1,
        ['/no', 'raw_dir'],
    ),
    'empty split': (
        [SMOKE, '--config.dataset.train_split=train[:0%]'],
        1,
        ['train[:0%]', 'no rows'],
    ),
    'no such split': (
        [SMOKE, '--config.dataset.test_split=tst'],
        1,
        ["no split 'tst'", 'test'],
    ),
    'option of another estimator': (
        [
            SMOKE,
            '--config.estimator=click_space',
            '--config.loss_weights.ctcvr=1',
        ],
        1,
        ['loss_weights.ctcvr', 'cvr_clicked'],
    ),
    'test split selects': (
        [SMOKE, '--config.selection.metric=test/ctr/auc'],
        1,
        ['selection.metric', 'valid/'],
    ),
    'zero batch': ([SMOKE, '--config.batch_size=0'], 1, ['batch_size is 0']),
    'odd parts': (
        [SMOKE, '--config.micro_batches=3'],
        1,
        ['micro_batches is 3', 'divide batch_size 512'],
    ),
}


def train(program, arguments, data_dir, workdir):
  arguments = list(arguments)
  if not any(a.startswith('--workdir') for a in arguments):
    arguments.append(f'--workdir={workdir}')
  return program.run(*arguments, f'--data_dir={data_dir}')


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.train') as program:
    yield program


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp('data')


@pytest.mark.slow
@pytest.mark.parametrize('case', WRONG)
def test_a_mistake_is_one_line(case, program, data_dir, tmp_path):
  arguments, code, parts = WRONG[case]
  done = train(program, arguments, data_dir, tmp_path / 'run')
  errors = [s for s in done.stderr.splitlines() if s.startswith('error: ')]
  assert done.returncode == code, done.stderr
  assert len(errors) == 1 and 'Traceback' not in done.stderr, done.stderr
  for part in parts:
    assert part in errors[0]
  # The folder stays free for the corrected command.
  assert not os.path.exists(tmp_path / 'run' / 'config.json')


@pytest.mark.slow
def test_the_contract(program, data_dir, tmp_path):
  """The files of a finished run, and the output of the same command then."""
  workdir = tmp_path / 'run'
  arguments = [SMOKE, '--config.save_predictions=true']
  first = train(program, arguments, data_dir, workdir)
  assert first.returncode == 0, first.stderr
  # Both are pipes here, as in a log file.
  said = first.stdout + first.stderr
  assert '\r' not in said and '\x1b' not in said
  evaluations = re.findall('^step .*epoch.*$', first.stdout, re.M)
  assert len(evaluations) == 2 and max(map(len, evaluations)) <= 100
  assert f'Next: python -m experiments.report --workdir={workdir}' in said
  (origin,) = json.loads((workdir / 'origin.json').read_text())
  assert origin['command'] == (
      'python -m experiments.train --config=configs/esmm.py:smoke'
      ' --config.save_predictions=true --workdir=run'
  )
  assert 'sha256' in origin['data'] and origin['device']
  results = json.loads((workdir / 'results.json').read_text())
  for task in ('ctr', 'cvr_clicked', 'ctcvr'):
    for metric in ('auc', 'logloss', 'calibration'):
      assert isinstance(results[f'test/{task}/{metric}'], float)
  for metric in ('auc', 'kl', 'ratio', 'ratio_clicked', 'ratio_unclicked'):
    assert isinstance(results[f'test/cvr_entire/{metric}'], float)
  # The smoke run learns: the clicks are far from random.
  assert results['test/ctr/auc'] > 0.6
  assert results['steps'] == 79 and results['seed'] == 0
  assert results['traces'] == 1
  assert results['examples_per_second'] > 0
  assert {'jax', 'flax', 'numpy', 'python'} <= set(results['versions'])
  config = json.loads((workdir / 'config.json').read_text())
  assert config['model']['name'] == 'shared_embedding'
  lines = [
      json.loads(s)
      for s in (workdir / 'metrics.jsonl').read_text().splitlines()
  ]
  assert all({'step', 'time'} <= set(line) for line in lines)
  assert 'train/ctcvr' in lines[0] and 'train/loss' in lines[0]
  assert 'valid/ctcvr/logloss' in lines[-2]
  assert lines[-1]['test/ctr/auc'] == results['test/ctr/auc']
  events = os.listdir(workdir / 'tensorboard')
  assert any(f.startswith('events') for f in events)
  assert os.listdir(workdir / 'checkpoints')

  from pyarrow import parquet

  scores = parquet.read_table(workdir / 'predictions' / 'test.parquet')
  assert scores.num_rows == 20_000
  product = scores['p_ctr'].to_numpy() * scores['p_cvr'].to_numpy()
  assert abs(scores['p_ctcvr'].to_numpy() - product).max() < 1e-6

  again = train(program, arguments, data_dir, workdir)
  assert again.returncode == 0
  assert 'finished before' in again.stdout
  other = train(program, [*arguments, '--config.seed=5'], data_dir, workdir)
  assert other.returncode == 1
  assert 'seed is 5 here and 0 there' in other.stderr


@pytest.mark.slow
def test_a_loss_that_is_not_finite_stops_the_run(program, data_dir, tmp_path):
  arguments = [SMOKE, '--config.learning_rate=1e30', '--config.log_every=5']
  done = train(program, arguments, data_dir, tmp_path / 'run')
  assert done.returncode == 3
  assert 'not finite at step' in done.stderr
  assert 'Traceback' not in done.stderr
  assert not os.path.exists(tmp_path / 'run' / 'results.json')

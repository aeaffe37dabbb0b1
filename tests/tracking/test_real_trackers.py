"""MLflow and Weights & Biases themselves, and the page about tracking."""

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys

from esmm_jax.json_files import read_json, read_jsonl
import pytest

from tests import ROOT

TEXT = (ROOT / 'docs' / 'tracking.md').read_text('utf-8')
BLOCKS = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
pytestmark = pytest.mark.long


def needs(package):
  return pytest.mark.skipif(
      importlib.util.find_spec(package) is None,
      reason=f"{package} is not installed: pip install 'esmm_jax[tracking]'")


def python(folder, words, **more):
  env = dict(
      os.environ, PYTHONPATH=os.fspath(ROOT), HOME=os.fspath(folder),
      WANDB_MODE='offline', **more)
  env.pop('MLFLOW_TRACKING_URI', None)
  return subprocess.run(
      [sys.executable, *words], cwd=folder, env=env, text=True,
      capture_output=True, check=False)


def train(folder, name, *words):
  done = python(folder, [
      '-m', 'experiments.train', '--config=esmm:smoke', f'--workdir={name}',
      '--data_dir=data', '--config.dataset.num_train=8192',
      '--config.dataset.num_valid=2048', '--config.dataset.num_test=2048',
      *words])
  assert done.returncode == 0, done.stderr
  return done, read_json(str(folder / name / 'results.json'))


def assert_same(a, b):
  """All but the speed, and the versions of a list of packages."""
  speed = ('examples_per_second', 'train_seconds')
  assert a.keys() == b.keys() and len(a) > 50
  assert {k: a[k] for k in a if k not in speed} == {
      k: b[k] for k in b if k not in speed}


SHOW = '''
import json, mlflow
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name('esmm_jax').experiment_id
for run in client.search_runs(experiment):
  curves = {
      key: [(m.step, m.value) for m in client.get_metric_history(
          run.info.run_id, key)]
      for key in run.data.metrics}
  print('run', json.dumps([
      run.info.status, run.data.params, run.data.tags, curves]))
'''


@needs('mlflow')
def test_mlflow(tmp_path):
  _, plain = train(tmp_path, 'plain')
  done, results = train(tmp_path, 'tracked', '--track=mlflow')
  assert '--track' not in done.stderr and 'INFO' not in done.stderr
  assert_same(plain, results)
  shown = python(tmp_path, ['-c', SHOW])
  (line,) = [x for x in shown.stdout.splitlines() if x.startswith('run ')]
  status, params, tags, curves = json.loads(line[4:])
  assert status == 'FINISHED' and params['learning_rate'] == '0.01'
  assert tags['seed'] == '0' and 'group' not in tags
  lines = read_jsonl(str(tmp_path / 'tracked/metrics.jsonl'))
  for key in ('train/loss', 'train/learning_rate', 'valid/ctr/auc'):
    assert curves[key] == [
        [x['step'], x[key]] for x in lines if x.get(key) is not None]
  assert curves['test/ctr/auc'] == [
      [results['steps'], results['test/ctr/auc']]]


@needs('wandb')
def test_wandb_offline(tmp_path):
  done, results = train(tmp_path, 'tracked', '--track=wandb')
  assert '--track' not in done.stderr
  noted = read_json(str(tmp_path / 'tracked/tracking/wandb.json'))
  assert noted['step'] == results['steps']
  (saved,) = (tmp_path / 'wandb').glob(f'offline-run-*/run-{noted["id"]}.wandb')
  data = saved.read_bytes()
  for text in ('train/loss', 'test/ctr/auc', 'learning_rate'):
    assert text.encode() in data, text


def test_the_page(tmp_path):
  """Commands of packages that are not there are refused in one line."""
  (module,) = [text for kind, text in BLOCKS if kind == 'python']
  (tmp_path / module.partition('\n')[0].removeprefix('# ')).write_text(module)
  (tmp_path / 'configs').symlink_to(ROOT / 'configs')
  lines = [
      line for kind, text in BLOCKS if not kind
      for line in text.replace('\\\n', ' ').splitlines()]
  assert len(lines) == 3
  for line in lines:
    words = [*shlex.split(line)[1:], '--data_dir=data']
    done = python(tmp_path, words)
    names = [w[8:] for w in words if w.startswith('--track=')][0]
    absent = [
        n for n in names.split(',')
        if n in ('mlflow', 'wandb') and not importlib.util.find_spec(n)]
    if absent:
      assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
      assert "pip install 'esmm_jax[tracking]'" in done.stderr
    else:
      assert done.returncode == 0, (line, done.stderr)
  results = read_json(str(tmp_path / 'runs/printed/results.json'))
  told = [
      x.partition('tracker: ')[2] for x in done.stdout.splitlines()
      if 'tracker: ' in x]
  written = read_jsonl(str(tmp_path / 'runs/printed/metrics.jsonl'))
  losses = [
      f'{x["step"]} {x["train/loss"]}' for x in written if 'train/loss' in x]
  assert told == ['printed 0.01', *losses, str(results['test/ctr/auc'])]

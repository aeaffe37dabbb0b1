"""Trackers follow what is written, once, and stop nothing.

The modules of MLflow and Weights & Biases are fakes here, registered as a
plugin would; `test_real_trackers.py` has the real ones.
"""

import json
import threading
import types

from esmm_jax.json_files import read_json
from esmm_jax.tracking import choice, contents, recorder, Tracker, TRACKERS
from esmm_jax.tracking import using
from esmm_jax.tracking.on_mlflow import MLflow
from esmm_jax.tracking.on_wandb import WandB
from esmm_jax.types import InputError
from esmm_jax.workdir.writer import Writer
import pytest

CONFIG = {
    'seed': 3, 'learning_rate': 0.01, 'model.tower_units': [16, 8],
    'estimator_options.api_token': 'hidden', 'dataset.name': 'a' * 600}
FACTS = {'seed': '3', 'jax': '0.10.2'}


@pytest.fixture
def registered():
  """Registers trackers for a test."""
  names = []

  def add(make):
    names.append(f'test{len(names)}')
    TRACKERS[names[-1]] = make
    return names[-1]

  yield add
  for name in names:
    del TRACKERS[name]


def run(folder, name, lines, start=0, results=None, group=''):
  """A training, as the loop writes it; returns its warnings."""
  folder.mkdir(exist_ok=True)
  warnings = []
  with using(name, group):
    writer = Writer(str(folder), start, 100, shows=False)
    writer.begin(CONFIG, choice.recorders(
        CONFIG, str(folder), FACTS, warnings.append))
    for step, metrics in lines:
      writer.write(step, metrics)
    if results is not None:
      writer.end(results)
    writer.close()
  return warnings


LINES = [
    (k, {'train/loss': 1 / k, 'train/batch_hash': 7, 'valid/ctr/auc': 0.5 + k})
    for k in (10, 20, 30)]
LAST = (30, {'test/ctr/auc': 0.75})
RESULTS = {
    'steps': 30, 'seed': 3, 'valid/ctr/auc': 30.5, 'train/loss': 1 / 30,
    'train/batch_hash': 7, 'test/ctr/auc': 0.75, 'test/cvr/auc': None,
    'versions': {'jax': '0.10.2'}}
FINAL = {
    'steps': 30.0, 'seed': 3.0, 'selected/valid/ctr/auc': 30.5,
    'selected/train/loss': 1 / 30, 'test/ctr/auc': 0.75}


class FakeMLflow:
  """A server of MLflow with what the adapter asks it for."""

  def __init__(self):
    self.runs, self.experiments = {}, {}
    entity = lambda *names: lambda *values: types.SimpleNamespace(
        **dict(zip(names, values, strict=True)))
    self.entities = types.SimpleNamespace(
        Metric=entity('key', 'value', 'timestamp', 'step'),
        Param=entity('key', 'value'))

  def MlflowClient(self):
    return self

  def get_experiment_by_name(self, name):
    if name not in self.experiments:
      return None
    return types.SimpleNamespace(experiment_id=self.experiments[name])

  def create_experiment(self, name):
    self.experiments[name] = f'e{len(self.experiments)}'
    return self.experiments[name]

  def create_run(self, experiment, run_name, tags):
    run_id = f'r{len(self.runs)}'
    self.runs[run_id] = types.SimpleNamespace(
        experiment=experiment, name=run_name, tags=tags, status='RUNNING',
        metrics=[], params={})
    return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run_id))

  def update_run(self, run_id, status):
    self.runs[run_id].status = status

  set_terminated = update_run

  def log_batch(self, run_id, metrics=(), params=()):
    assert len(metrics) <= 1000 and len(params) <= 100
    run = self.runs[run_id]
    run.metrics += [(m.key, m.value, m.step) for m in metrics]
    run.params |= {p.key: p.value for p in params}


def test_mlflow_gets_config_curves_and_results(tmp_path, registered):
  module = FakeMLflow()
  name = registered(lambda: MLflow(module))
  folder = tmp_path / 'esmm seed 3'
  assert not run(folder, name, [*LINES, LAST], 0, RESULTS, 'table2')
  (one,) = module.runs.values()
  assert module.experiments == {'esmm_jax': one.experiment}
  assert (one.name, one.status) == ('esmm seed 3', 'FINISHED')
  assert one.tags == {
      'workdir': str(folder), 'seed': '3', 'jax': '0.10.2', 'group': 'table2'}
  assert one.params == {
      'seed': '3', 'learning_rate': '0.01', 'model.tower_units': '[16, 8]',
      'dataset.name': 'a' * 497 + '...'}
  curves = [
      (key, value, step) for step, metrics in LINES
      for key, value in metrics.items() if key != 'train/batch_hash']
  assert one.metrics == curves + [(k, v, 30) for k, v in FINAL.items()]


def test_names_that_mlflow_refuses(tmp_path, registered):
  module = FakeMLflow()
  name = registered(lambda: MLflow(module))
  run(tmp_path / 'r', name, [(1, {'train/balancing/cosine/all/ctr|cvr': 0.5})])
  (one,) = module.runs.values()
  assert one.metrics == [('train/balancing/cosine/all/ctr_cvr', 0.5, 1)]
  assert one.status == 'FAILED'  # It has no results.


def test_a_run_that_resumes_goes_on_and_repeats_no_step(tmp_path, registered):
  module = FakeMLflow()
  name = registered(lambda: MLflow(module))
  run(tmp_path / 'r', name, LINES[:2])  # Its checkpoint is of step 10.
  assert read_json(str(tmp_path / f'r/tracking/{name}.json')) == {
      'id': 'r0', 'step': 20}
  run(tmp_path / 'r', name, [*LINES[1:], LAST], 10, RESULTS)
  (one,) = module.runs.values()
  assert [m for m in one.metrics if m[0] == 'train/loss'] == [
      ('train/loss', 1 / k, k) for k in (10, 20, 30)]
  assert one.status == 'FINISHED' and len(one.metrics) == 6 + len(FINAL)


def test_what_was_not_told_is_told_later(tmp_path, registered):
  """Of a run that was begun without a tracker, then with another one."""
  module = FakeMLflow()
  name = registered(lambda: MLflow(module))
  run(tmp_path / 'r', '', LINES[:2])
  assert not (tmp_path / 'r/tracking').exists()
  run(tmp_path / 'r', name, LINES[2:], 20, RESULTS)
  (one,) = module.runs.values()
  assert [m[2] for m in one.metrics if m[0] == 'train/loss'] == [10, 20, 30]


class FakeWandB:
  """The package `wandb` with what the adapter asks it for."""

  def __init__(self, key=True):
    self.key, self.inits, self.logged, self.ends = key, [], [], []
    self.summary = {}

  def login(self, prompt):
    assert prompt is False
    return self.key

  def Settings(self, **settings):
    return settings

  def init(self, **options):
    self.inits.append(options)
    return types.SimpleNamespace(
        log=lambda metrics, step: self.logged.append((step, metrics)),
        summary=self.summary,
        finish=lambda exit_code: self.ends.append(exit_code))


def test_wandb_gets_config_curves_and_results(
    tmp_path, registered, monkeypatch):
  monkeypatch.setenv('WANDB_MODE', 'offline')
  monkeypatch.setenv('WANDB_PROJECT', 'mine')
  module = FakeWandB(key=False)
  name = registered(lambda: WandB(module))
  folder, group = tmp_path / 'r', 'table2'
  assert not run(folder, name, LINES[:2], 0, None, group)
  assert not run(folder, name, [*LINES[1:], LAST], 10, RESULTS, group)
  first, again = module.inits
  assert first == again and len(first['id']) == 12
  assert first['resume'] == 'allow' and first['group'] == 'table2'
  assert (first['project'], first['name']) == ('mine', 'r')
  assert first['config'] == {
      'seed': '3', 'learning_rate': 0.01, 'model.tower_units': [16, 8],
      'dataset.name': 'a' * 600, 'workdir': str(tmp_path / 'r'),
      'jax': '0.10.2'}
  assert module.logged == [
      (k, {'train/loss': 1 / k, 'valid/ctr/auc': 0.5 + k})
      for k in (10, 20, 30)]
  assert module.summary == FINAL and module.ends == [1, 0]


def test_wandb_without_a_login_asks_nobody(tmp_path, registered, monkeypatch):
  monkeypatch.delenv('WANDB_MODE', raising=False)
  name = registered(lambda: WandB(FakeWandB(key=False)))
  (line,) = run(tmp_path / 'r', name, LINES)
  assert 'wandb login' in line and 'WANDB_MODE=offline' in line


class Failing(Tracker):
  """Raises an error in one of its methods."""

  def __init__(self, where):
    self.where = where

  def start(self, run):
    self.fail('start')
    return 'x'

  def write(self, step, metrics):
    self.fail('write')

  def close(self, results):
    self.fail('close')

  def fail(self, name):
    if name == self.where:
      raise ConnectionError('server\nis down')


@pytest.mark.parametrize('where', ['start', 'write', 'close'])
def test_a_failure_is_one_line(where, tmp_path, registered):
  name = registered(lambda: Failing(where))
  (line,) = run(tmp_path / 'r', name, [*LINES, LAST], 0, RESULTS)
  assert line == (
      f'--track={name} is told no more, while the run continues:'
      ' ConnectionError: server is down')
  written = (tmp_path / 'r/metrics.jsonl').read_text('utf-8').splitlines()
  assert [json.loads(x)['step'] for x in written] == [10, 20, 30, 30]


def test_one_that_hangs_is_not_waited_for(tmp_path, registered, monkeypatch):
  monkeypatch.setitem(recorder.PATIENCE, True, 0.05)
  free = threading.Event()

  class Hanging(Failing):
    def start(self, run):
      free.wait(60)
      return 'x'

  name = registered(lambda: Hanging(''))
  (line,) = run(tmp_path / 'r', name, LINES, 0, RESULTS)
  assert 'did not answer' in line
  free.set()


def test_a_folder_that_is_gone_is_not_made_again(tmp_path, registered):
  go_on = threading.Event()

  class Late(Failing):
    def start(self, run):
      assert go_on.wait(60)
      return 'x'

  name, folder, warnings = registered(lambda: Late('')), tmp_path / 'r', []
  with using(name):
    (follower,) = choice.recorders(CONFIG, str(folder), {}, warnings.append)
    follower.start([])
    go_on.set()
    follower.close()
  assert not folder.exists() and 'FileNotFoundError' in warnings[0]


def test_what_cannot_be_tracked(registered):
  with pytest.raises(InputError, match='--track=nothing: .*mlflow, wandb'):
    with using('mlflow, nothing', check=False):
      pass

  class Absent(MLflow):
    package = 'no_such_package'

  name = registered(Absent)
  with pytest.raises(InputError, match=r"pip install 'esmm_jax\[tracking\]'"):
    with using(name):
      pass
  with using(name, check=False):
    assert choice.in_use() == ((name,), '', False)
  assert choice.in_use() == ((), '', False)


def test_numbers_of_results():
  assert contents.final(RESULTS) == FINAL

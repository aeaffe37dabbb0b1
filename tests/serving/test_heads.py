"""Runs whose estimator has heads: they resume, and are served without them."""

from esmm_jax.serving import exporting, predictor
from esmm_jax.serving.model_inputs import features
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.workdir.checkpoint import Checkpoints
import numpy as np
import pytest

from tests.serving.served import Finished, small_config
from tests.training.test_end_to_end import fingerprint, metrics
from tests.training.test_whole_runs import Killed

pytestmark = [
    pytest.mark.slow, pytest.mark.usefixtures('quick_compilation')]
HEADS = {
    'doubly_robust': ('imputation',),
    'dcmt': ('counterfactual',),
    'chorus': ('no_conversion',),
    'pseudo_label': ('teacher',),
    'stable_dr': ('imputation', 'propensity'),
}


@pytest.fixture(scope='module', name='data')
def _data(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='module', name='run', params=[
    pytest.param(name, marks=() if name == 'dcmt' else pytest.mark.long)
    for name in HEADS])
def _run(request, data, tmp_path_factory):
  """(estimator, its config, a finished run)."""
  folder = tmp_path_factory.mktemp('heads') / 'run'
  tree = small_config(**{'estimator': request.param, 'num_epochs': 1})
  train_and_evaluate(tree, str(folder), data)
  return request.param, tree, Finished(folder, data)


def test_a_killed_run_resumes_to_the_bit(run, data, tmp_path, monkeypatch):
  _, tree, whole = run
  save = Checkpoints.save

  def stop(self, step, arrays, position):
    save(self, step, arrays, position)
    if step == 6:
      raise Killed

  with monkeypatch.context() as m:
    m.setattr(Checkpoints, 'save', stop)
    with pytest.raises(Killed):
      train_and_evaluate(tree, str(tmp_path / 'run'), data)
  train_and_evaluate(tree, str(tmp_path / 'run'), data)
  assert fingerprint(tmp_path / 'run') == fingerprint(whole.folder)
  assert metrics(tmp_path / 'run') == metrics(whole.folder)


def test_the_heads_are_trained_and_not_served(run, tmp_path):
  name, _, whole = run
  heads = {f'tower_{head}' for head in HEADS[name]}
  trained = {key.split("']['")[2] for key in fingerprint(whole.folder)
             if key.startswith("['state']['net']")}
  assert heads <= trained
  served = whole.predictor().trained.params['net'].keys()
  assert served == trained - heads
  outputs = predictor.load(str(whole.folder)).predict(whole.columns(0, 100))
  assert list(outputs) == ['p_ctr', 'p_cvr', 'p_ctcvr']
  saved = whole.saved().slice(0, 100)
  for column, values in outputs.items():
    np.testing.assert_allclose(values, saved[column].to_numpy(), rtol=1e-5)
  exporting.export(whole.predictor(), str(tmp_path / 'exported'))
  files = {p.name for p in (tmp_path / 'exported' / 'params').iterdir()}
  assert any('tower_cvr' in file for file in files)
  assert not any(tower in file for tower in heads for file in files)
  call, params = exporting.load(str(tmp_path / 'exported'))
  scores = call(params, features(whole.predictor().schema, whole.columns(0, 9)))
  np.testing.assert_allclose(
      scores['p_cvr'], saved['p_cvr'].to_numpy()[:9], rtol=1e-5)

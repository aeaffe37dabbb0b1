"""The estimator that docs/estimators.md adds, and the names that it lists."""

import importlib
import os
import re
import shlex
import subprocess
import sys

from esmm_jax import ESTIMATORS
from esmm_jax.estimators import contract
from esmm_jax.json_files import read_json
from esmm_jax.tasks import FUNNEL
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import ROOT

TEXT = (ROOT / 'docs' / 'estimators.md').read_text('utf-8')
BLOCKS = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
(MODULE,) = [text for kind, text in BLOCKS if kind == 'python']


def write(folder):
  path = folder / MODULE.partition('\n')[0].removeprefix('# ')
  path.parent.mkdir()
  path.write_text(MODULE, 'utf-8')


@pytest.fixture
def trimmed(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  importlib.import_module('my_package.trimmed')
  yield ESTIMATORS['trimmed']
  del ESTIMATORS['trimmed']
  for name in ('my_package.trimmed', 'my_package'):
    sys.modules.pop(name, None)


def test_the_estimator_of_the_page(trimmed):
  """Propensities .5, .25 and .01; the last row is not clicked.

  Weights at .05: 2, 4 and 0; at .3: 2, 0 and 0. The loss of each is log 2.
  """
  logits = {
      'ctr': jax.scipy.special.logit(jnp.array([0.5, 0.25, 0.01, 0.5])),
      'cvr': jnp.zeros(4)}
  labels = {
      'click': jnp.array([1.0, 1, 1, 0]), 'conversion': jnp.zeros(4),
      'p_ctr': jnp.array([0.25, 0.5, 0.5, 0.5])}
  term = lambda **options: np.array(trimmed.terms(
      logits, labels, jnp.ones(4), tasks=FUNNEL, **options)['cvr_clicked'])
  np.testing.assert_allclose(term(), [6 * np.log(2), 4], rtol=1e-6)
  np.testing.assert_allclose(
      term(trim_below=0.3), [2 * np.log(2), 4], rtol=1e-6)
  np.testing.assert_allclose(
      term(propensity='true'), [8 * np.log(2), 4], rtol=1e-6)
  assert trimmed.weights(FUNNEL) == {'ctr': 1.0, 'cvr_clicked': 1.0}


def test_its_options_are_those_of_its_signature(trimmed):
  options = contract.options(trimmed.terms)
  assert list(options) == ['propensity', 'trim_below']
  assert options['trim_below'].traced and not options['propensity'].traced
  assert options['propensity'].choices == ('own', 'frozen', 'true')
  assert trimmed.needs(propensity='true').truth_labels == ('p_ctr',)


def test_the_table_has_every_estimator():
  listed = {
      name
      for line in TEXT.splitlines() if line.startswith('| `')
      for name in re.findall(r'^\| `(\w+)[`*]', line)}
  delayed = {name for name in ESTIMATORS if name.startswith('delayed')}
  assert set(ESTIMATORS) - delayed - {'end_to_end'} <= listed


@pytest.mark.long
def test_the_command_of_the_page(tmp_path):
  (command,) = [t for kind, t in BLOCKS if not kind and 'trimmed' in t]
  write(tmp_path)
  os.symlink(ROOT / 'configs', tmp_path / 'configs')
  line = command.replace('\\\n', ' ')
  done = subprocess.run(
      [sys.executable, *shlex.split(line)[1:],
       f'--data_dir={tmp_path / "data"}',
       '--config.dataset.train_split=train[:10%]'],
      cwd=tmp_path, text=True, capture_output=True, check=False,
      env=dict(os.environ, PYTHONPATH=os.fspath(ROOT), JAX_PLATFORMS='cpu'))
  assert done.returncode == 0, done.stderr
  run = tmp_path / 'runs' / 'trimmed'
  config = read_json(str(run / 'config.json'))
  assert config['estimator_options'] == {'trim_below': 0.1}
  assert 0 < read_json(str(run / 'results.json'))['test/cvr_entire/kl'] < 1

"""The commands and the method of docs/balancing.md, and the names it lists."""

import importlib
import os
import re
import shlex
import subprocess
import sys

from esmm_jax import BALANCERS
from esmm_jax.balancing import method as methods
from esmm_jax.json_files import read_json
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import ROOT

TEXT = (ROOT / 'docs' / 'balancing.md').read_text('utf-8')
BLOCKS = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
(MODULE,) = [text for kind, text in BLOCKS if kind == 'python']
COMMANDS = [
    line
    for kind, text in BLOCKS if not kind
    for line in text.replace('\\\n', ' ').splitlines()]
# Later flags count.
TINY = (
    '--models=shared_embedding --methods=pcgrad --rows=1e4 --batch_size=64'
    ' --rounds=1 --window=1')


def write(folder):
  path = folder / MODULE.partition('\n')[0].removeprefix('# ')
  path.parent.mkdir()
  path.write_text(MODULE, 'utf-8')


@pytest.fixture
def leveled(tmp_path, monkeypatch):
  write(tmp_path)
  monkeypatch.syspath_prepend(str(tmp_path))
  importlib.import_module('my_package.leveled')
  yield BALANCERS['leveled']
  del BALANCERS['leveled']
  for name in ('my_package.leveled', 'my_package'):
    sys.modules.pop(name, None)


def test_the_method_of_the_page(leveled):
  """Norms 2 and 3; without the second task, and without its gradient."""
  gram = jnp.array([[4.0, 1.0], [1.0, 9.0]])
  call = jax.jit(lambda gram, counts, power: leveled.weights(
      gram, jnp.ones(2), counts, (), jax.random.key(0), power=power)[0])
  both = jnp.array([5.0, 7.0])
  np.testing.assert_allclose(call(gram, both, 1.0), [1 / 2, 1 / 3], rtol=1e-6)
  np.testing.assert_allclose(
      call(gram, both, 0.5), [2**-0.5, 3**-0.5], rtol=1e-6)
  assert call(gram, both, 0.0).tolist() == [1, 1]
  alone = gram.at[1].set(0).at[:, 1].set(0)
  np.testing.assert_allclose(
      call(alone, both.at[1].set(0), 1.0), [1 / 2, 0], rtol=1e-6)
  assert call(alone, both, 0.0).tolist() == [1, 0]
  options = methods.options(leveled)
  assert list(options) == ['power'] and options['power'].traced


def test_the_table_has_every_method():
  """With its options, and their defaults."""
  section = TEXT[TEXT.index('## The methods'):]
  lines = {}
  for line in section.splitlines():
    name = ''.join(re.findall(r'^\| `(\w+)`', line))
    if name in BALANCERS:
      lines.setdefault(name, line)
  assert set(lines) == set(BALANCERS)
  for name, line in lines.items():
    cell = line.split(' | ')[-1]
    for option, about in methods.options(BALANCERS[name]).items():
      stated = re.search(rf'`{option}`(?: ([\w.-]+))?', cell)
      assert stated, (name, option)
      if about.default not in (None, '') and stated[1]:
        text = stated[1].rstrip(',')
        assert text == str(about.default).lower() or (
            float(text) == about.default), (name, option)


def run(command, folder, **changes):
  for old, new in changes.items():
    command = command.replace(old.replace('_', ':'), new)
  done = subprocess.run(
      [sys.executable, *shlex.split(command)[1:]],
      cwd=folder, text=True, capture_output=True, check=False,
      env=dict(os.environ, PYTHONPATH=os.fspath(ROOT), JAX_PLATFORMS='cpu'))
  assert done.returncode == 0, (command, done.stderr)
  return done.stdout


@pytest.mark.long
def test_the_commands_of_the_page(tmp_path):
  """Those of the results table plan its least variant: tests/sweeps."""
  write(tmp_path)
  os.symlink(ROOT / 'configs', tmp_path / 'configs')
  few = f' --data_dir={tmp_path / "data"}'
  part = ' --config.dataset.train_split=train[:10%]'
  for command in COMMANDS:
    if 'experiments.train' in command:
      run(command + few + part, tmp_path)
    elif 'experiments.sweep' in command:
      command = re.sub(r':cpu\w*', ':smoke', command) + ' --dry_run'
      assert 'runs are finished' in run(command, tmp_path)
    elif 'benchmarks' in command:
      printed = run(f'{command} {TINY}', tmp_path)
      assert 'shared_embedding_pcgrad' in printed
    elif 'experiments.table' not in command:
      run(command, tmp_path)
  folder = tmp_path / 'runs'
  method, replay, own = (
      read_json(str(folder / name / 'results.json'))
      for name in ('pcgrad', 'replay', 'leveled'))
  shares = [k for k in method if k.startswith('balancing/share/')]
  assert len(shares) == 2
  for key in (*shares, 'balancing/total'):
    assert replay[key] == pytest.approx(method[key], rel=1e-3)
  assert own['balancing/share/ctr'] < 0.5
  assert (folder / 'pcgrad' / 'report.html').exists()
  config = read_json(str(folder / 'leveled' / 'config.json'))
  assert config['balancing'] == {'name': 'leveled', 'power': 0.7}

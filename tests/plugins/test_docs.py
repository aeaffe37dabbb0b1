"""The module and the commands of docs/extending.md."""

import os
import re
import shlex
import subprocess
import sys

from esmm_jax.json_files import read_json
import pytest

from tests import ROOT

TEXT = (ROOT / 'docs' / 'extending.md').read_text('utf-8')


@pytest.mark.long
def test_the_page(tmp_path):
  blocks = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
  (module,) = [text for kind, text in blocks if kind == 'python']
  (commands,) = [text for kind, text in blocks if not kind]
  path = tmp_path / module.partition('\n')[0].removeprefix('# ')
  path.parent.mkdir()
  path.write_text(module, 'utf-8')
  os.symlink(ROOT / 'configs', tmp_path / 'configs')
  lines = commands.replace('\\\n', ' ').splitlines()
  assert len(lines) == 3
  for line in lines:
    done = subprocess.run(
        [sys.executable, *shlex.split(line)[1:],
         f'--data_dir={tmp_path / "data"}'],
        cwd=tmp_path, env=dict(os.environ, PYTHONPATH=os.fspath(ROOT)),
        text=True, capture_output=True, check=False)
    assert done.returncode == 0, (line, done.stdout, done.stderr)
  run = tmp_path / 'runs' / 'focal'
  assert read_json(str(run / 'config.json'))['plugins'] == ['my_package.parts']
  results = read_json(str(run / 'results.json'))
  scored = read_json(str(run / 'evaluation.json'))
  assert results['test/ctr/brier'] == pytest.approx(scored['ctr/brier'])
  page = (run / 'report.html').read_text('utf-8')
  assert 'mean squared error of the probabilities; 0 is perfect.' in page

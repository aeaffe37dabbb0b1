"""Notebooks: their form by default; `long` runs them."""

import ast
import json
import re

import nbformat
import pytest

from colab import execute

from tests import ROOT

PATHS = sorted((ROOT / 'colab').glob('*.ipynb'))
NAMES = ['esmm_in_ten_minutes', 'seesaw', 'your_own_data']
# Besides the standard library.
ALLOWED = {'IPython', 'esmm_jax', 'numpy', 'pyarrow'}
PICTURES = {'esmm_in_ten_minutes': 2, 'seesaw': 4, 'your_own_data': 1}


def cells(path, kind='code'):
  with open(path, encoding='utf-8') as f:
    return [c for c in json.load(f)['cells'] if c['cell_type'] == kind]


def source(cell):
  return ''.join(cell['source'])


def python(cell):
  """Without the lines that are IPython's."""
  lines = source(cell).split('\n')
  return '\n'.join(
      re.sub(r'^(\s*)[!%].*', r'\1pass', line) for line in lines)


def outputs(path):
  return [o for cell in cells(path) for o in cell['outputs']]


def said(path):
  """All that is printed, one after the other."""
  found = []
  for o in outputs(path):
    data = o.get('data', {})
    found += o.get('text', []) + data.get('text/markdown', [])
  return ''.join(found)


def test_which_there_are():
  assert [p.stem for p in PATHS] == NAMES


@pytest.mark.parametrize('path', PATHS, ids=NAMES)
def test_badge_and_install_cell(path):
  badge = re.search(
      r'\(https://colab.research.google.com/github/(\S+)/blob/main/'
      r'(colab/\S+\.ipynb)\)', source(cells(path, 'markdown')[0]))
  assert (ROOT / badge.group(2)) == path
  install = source(cells(path)[0])
  assert f'https://github.com/{badge.group(1)}\n' in install
  assert "find_spec('esmm_jax') is None" in install
  assert '%pip install' in install
  assert install == source(cells(PATHS[0])[0])


@pytest.mark.parametrize('path', PATHS, ids=NAMES)
def test_only_the_package_is_imported(path):
  for cell in cells(path):
    for node in ast.walk(ast.parse(python(cell))):
      names = []
      if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
      elif isinstance(node, ast.ImportFrom):
        names = [node.module]
      for name in names:
        top = name.split('.')[0]
        assert top in ALLOWED | {'importlib', 'os', 'subprocess', 'sys'}


@pytest.mark.parametrize('path', PATHS, ids=NAMES)
def test_outputs_are_stored(path):
  counts = [cell['execution_count'] for cell in cells(path)]
  assert counts == list(range(1, len(counts) + 1))
  found = outputs(path)
  assert not [o for o in found if o['output_type'] == 'error']
  assert not [o for o in found if o.get('name') == 'stderr']
  pictures = [o for o in found if 'image/png' in o.get('data', {})]
  assert len(pictures) == PICTURES[path.stem]
  assert path.stat().st_size < 500_000
  assert not re.search(r'/(work|tmp|root|home)/', said(path))


def check_numbers(text, name):
  """What the words around the numbers say."""
  number = r'(\d\.\d+) ± \d\.\d+'
  if name == 'esmm_in_ten_minutes':
    rows = re.findall(
        rf'^CVR AUC, all +{number} +{number} +(\d\.\d+)', text, re.M)
    assert len(rows) == 2
    (clicks, esmm, truth), (clicks_9, esmm_9, truth_9) = (
        [float(x) for x in row] for row in rows)
    assert esmm < clicks < truth and clicks_9 < esmm_9 < truth_9
  elif name == 'seesaw':
    assert 'Done: 26 of 26 runs' in text
    found = re.findall(
        r'\| mmoe +\| (\S+) +\| 2 \| +\**(\.\d+) ± \.\d+\** \| +\**(\.\d+) ±',
        text)
    (low, *_), (high, *_) = found[0], found[2]
    assert (low, high) == ('0.125', '32.0')
    assert float(found[0][1]) < float(found[2][1])
  else:
    assert "wrong.csv, line 8: column 'clicked' is '2'" in text
    found = re.search(r'clicks ([\d,]+), observed ([\d,]+)', text)
    predicted, observed = (int(n.replace(',', '')) for n in found.groups())
    assert predicted == pytest.approx(observed, rel=0.05)


@pytest.mark.parametrize('path', PATHS, ids=NAMES)
def test_numbers(path):
  check_numbers(said(path), path.stem)


@pytest.mark.long
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('path', PATHS, ids=NAMES)
def test_it_runs(path, tmp_path, monkeypatch):
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  new = tmp_path / path.name
  nbformat.write(execute.run(str(path)), new)
  check_numbers(said(new), path.stem)
  assert len([o for o in outputs(new) if 'image/png' in o.get('data', {})]) == (
      PICTURES[path.stem])

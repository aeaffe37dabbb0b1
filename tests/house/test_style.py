"""The form of the code: ruff, docstrings, files that can be read at once."""

import ast
import importlib.util
import subprocess
import sys

import pytest

from tests import ROOT

MODULES = sorted(
    p.relative_to(ROOT).as_posix() for p in (ROOT / 'esmm_jax').rglob('*.py'))


def test_ruff():
  if importlib.util.find_spec('ruff') is None:
    pytest.skip('ruff is not installed')
  done = subprocess.run(
      [sys.executable, '-m', 'ruff', 'check', '--no-cache', '.'],
      capture_output=True, text=True, cwd=ROOT, check=False)
  assert done.returncode == 0, done.stdout + done.stderr


def undocumented(source):
  """Public functions and classes of a module, and it, without a docstring."""
  tree = ast.parse(source)
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
  parts = [n for n in tree.body if isinstance(n, kinds)]
  public = [n for n in parts if not n.name.startswith('_')]
  bad = [n.name for n in public if not ast.get_docstring(n)]
  return bad if ast.get_docstring(tree) else ['module', *bad]


@pytest.mark.parametrize('module', MODULES)
def test_docstrings(module):
  assert undocumented((ROOT / module).read_text('utf-8')) == []


def test_the_check_itself():
  source = 'def f(): pass\ndef _g(): pass\nclass C:\n  """Doc."""\n'
  assert undocumented(source) == ['module', 'f']
  assert undocumented('"""Doc."""\n') == []


@pytest.mark.parametrize('module', MODULES)
def test_length(module):
  assert len((ROOT / module).read_text('utf-8').splitlines()) <= 400

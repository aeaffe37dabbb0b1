"""The form of the code: ruff, docstrings, files that can be read at once."""

import ast
import collections
import importlib.util
import subprocess
import sys

import pytest

from tests import ROOT

PACKAGES = ('esmm_jax', 'experiments', 'benchmarks', 'configs')
MODULES = {
    package: sorted(
        p.relative_to(ROOT).as_posix() for p in (ROOT / package).rglob('*.py'))
    for package in PACKAGES
}
ALL = sum(MODULES.values(), [])
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# A docstring begins with a verb or a noun.
QUESTIONS = ('What', 'How', 'Which', 'Whether', 'Where')
MAX_FILES, MAX_LINES, MAX_CODE = 20, 300, 60
# Files of more lines, and functions of more lines of code: why.
LONG_FILES = {
    'esmm_jax/data/ali_ccp/kernel.py': 'one state machine, compiled by numba',
    'configs/common.py': 'a list of all keys',
}
LONG_FUNCTIONS = {
    'esmm_jax/data/ali_ccp/kernel.py: parse': 'the loop of that state machine',
    'configs/common.py: base': 'a list of all keys',
    'configs/common.py: tabular': 'a list of all keys',
}
# Folders of more files: why.
LARGE_FOLDERS = {'configs': 'a file for each method that has a name'}


def test_ruff():
  if importlib.util.find_spec('ruff') is None:
    pytest.skip('ruff is not installed')
  done = subprocess.run(
      [sys.executable, '-m', 'ruff', 'check', '--no-cache', '.'],
      capture_output=True, text=True, cwd=ROOT, check=False)
  assert done.returncode == 0, done.stdout + done.stderr


def read(module):
  return (ROOT / module).read_text('utf-8')


def undocumented(source):
  """Public functions and classes of a module, and it, without a docstring."""
  tree = ast.parse(source)
  parts = [n for n in tree.body if isinstance(n, (*FUNCTIONS, ast.ClassDef))]
  public = [n for n in parts if not n.name.startswith('_')]
  bad = [n.name for n in public if not ast.get_docstring(n)]
  return bad if ast.get_docstring(tree) else ['module', *bad]


def questions(source):
  """Docstrings that begin with a question word."""
  bad = []
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, (*FUNCTIONS, ast.ClassDef, ast.Module)):
      doc = ast.get_docstring(node) or ''
      if doc.partition(' ')[0] in QUESTIONS:
        bad.append(doc.partition('\n')[0])
  return bad


def code_lines(source):
  """Function -> its lines of code: of its own docstring none."""
  lines = {}
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, FUNCTIONS):
      first = node.body[0]
      doc = 0
      if ast.get_docstring(node) is not None:
        doc = first.end_lineno - first.lineno + 1
      count = node.end_lineno - node.lineno + 1 - doc
      lines[node.name] = max(count, lines.get(node.name, 0))
  return lines


@pytest.mark.parametrize('module', MODULES['esmm_jax'] + MODULES['benchmarks'])
def test_docstrings(module):
  # `main` of a program: the module's docstring is what --help shows.
  missing = set(undocumented(read(module)))
  assert missing <= ({'main'} if module.startswith('benchmarks/') else set())


@pytest.mark.parametrize('module', ALL)
def test_no_docstring_is_a_question(module):
  assert questions(read(module)) == []


@pytest.mark.parametrize('module', ALL)
def test_length(module):
  source = read(module)
  if module not in LONG_FILES:
    assert len(source.splitlines()) <= MAX_LINES
  long = {f'{module}: {n}' for n, k in code_lines(source).items()
          if k > MAX_CODE}
  assert long <= set(LONG_FUNCTIONS)


def test_exceptions_are_needed():
  for module in LONG_FILES:
    assert len(read(module).splitlines()) > MAX_LINES
  for folder in LARGE_FOLDERS:
    assert len(list((ROOT / folder).glob('*.py'))) > MAX_FILES
  for name in LONG_FUNCTIONS:
    module, function = name.split(': ')
    assert code_lines(read(module))[function] > MAX_CODE


def test_folders():
  for package in (*PACKAGES, 'tests'):
    paths = (ROOT / package).rglob('*.py')
    for folder, num in collections.Counter(p.parent for p in paths).items():
      if folder.relative_to(ROOT).as_posix() not in LARGE_FOLDERS:
        assert num <= MAX_FILES, folder


def test_the_checks_themselves():
  source = 'def f(): pass\ndef _g(): pass\nclass C:\n  """Doc."""\n'
  assert undocumented(source) == ['module', 'f']
  assert undocumented('"""Doc."""\n') == []
  source = '"""Whatever."""\nclass C:\n  def f():\n    """How to."""\n'
  assert questions(source) == ['How to.']
  assert questions('"""Returns.\n\nHow."""\n') == []
  source = 'def f():\n  """Doc.\n\n  More.\n  """\n  a\n  b\ndef g(\n): 1\n'
  assert code_lines(source) == {'f': 3, 'g': 2}

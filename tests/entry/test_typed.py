"""A type checker agrees with the public face."""

import ast
import configparser
import importlib.util
import pathlib
import subprocess
import sys

import esmm_jax
import pytest

from tests import ROOT

# Somebody's file.
USE = '''
from typing import assert_type
import esmm_jax
from esmm_jax import auc, Schema, Field

assert_type(auc([.1, .2], [0, 1]), float)
schema = Schema((Field('user', 'id', 3),))
assert_type(schema.labels, tuple[str, ...])
assert_type(esmm_jax.DIRECTIONS['auc'], str)
run: esmm_jax.Predictor = esmm_jax.load('runs/esmm')
esmm_jax.auc(scores=1)
'''


def settings():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg', 'utf-8')
  return setup['mypy']


def typed():
  """Name -> module of the imports that only a type checker reads."""
  tree = ast.parse((ROOT / 'esmm_jax' / '__init__.py').read_text('utf-8'))
  (block,) = (n for n in tree.body if isinstance(n, ast.If))
  assert ast.unparse(block.test) == 'TYPE_CHECKING'
  return {a.asname: node.module for node in block.body for a in node.names}


def test_the_names_are_those_of_the_package():
  names = typed()
  assert {*names} == {*esmm_jax.__all__}
  for name, module in names.items():
    value = getattr(importlib.import_module(module), name)
    assert value is getattr(esmm_jax, name), name


def test_their_modules_are_checked():
  files = {f.strip() for f in settings()['files'].split(',')}
  for module in {*typed().values()}:
    path = module.replace('.', '/')
    assert {f'{path}.py', f'{path}/__init__.py'} & files, module
  assert all((ROOT / f).exists() for f in files)
  assert (ROOT / 'esmm_jax' / 'py.typed').read_bytes() == b''


def mypy(*arguments, cwd=ROOT):
  if importlib.util.find_spec('mypy') is None:
    pytest.skip('mypy is not installed')
  done = subprocess.run(
      [sys.executable, '-m', 'mypy', *arguments], capture_output=True,
      text=True, cwd=cwd, check=False)
  return done.stdout + done.stderr


@pytest.mark.long
def test_mypy(tmp_path):
  cache = f'--cache-dir={tmp_path / "cache"}'
  assert mypy(cache).startswith('Success: ')
  use = pathlib.Path(tmp_path, 'use.py')
  use.write_text(USE)
  said = mypy(cache, '--config-file=setup.cfg', str(use)).splitlines()
  assert len(said) == 2 and 'use.py:11: error: Missing' in said[0], said

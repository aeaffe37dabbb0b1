"""The public names: each is there and its example prints what it says."""

import doctest
import inspect
import subprocess
import sys

import esmm_jax
import pytest

from tests import ROOT

# Examples of dictionaries stand in the docstring of the package.
DICTIONARIES = [n for n in esmm_jax.__all__ if n.isupper()]


@pytest.fixture
def folder(tmp_path, monkeypatch, finished):
  """The working folder of an example; a finished run is runs/esmm."""
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'esmm').symlink_to(finished.folder)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(str(ROOT))  # For `configs`.


def failures(text, name):
  """Runs the examples of a docstring; returns how many there are and fail."""
  test = doctest.DocTestParser().get_doctest(
      text, {'esmm_jax': esmm_jax}, name, name, 0)
  runner = doctest.DocTestRunner(
      optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
  report = []
  runner.run(test, out=report.append)
  assert not runner.failures, ''.join(report)
  return len(test.examples)


@pytest.mark.usefixtures('folder')
@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[pytest.mark.slow] * name.startswith('train_'))
    for name in sorted({*esmm_jax.__all__} - {*DICTIONARIES})])
def test_example(name):
  value = getattr(esmm_jax, name)
  assert failures(inspect.getdoc(value), name) > 0


def test_dictionaries():
  assert failures(esmm_jax.__doc__, 'esmm_jax') > 2
  for name in DICTIONARIES:
    assert getattr(esmm_jax, name) and name in esmm_jax.__doc__


def test_every_name_is_listed_once():
  assert len(set(esmm_jax.__all__)) == len(esmm_jax.__all__) == 32
  assert {*esmm_jax.__all__} <= {*dir(esmm_jax)}


def test_unknown_name():
  with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
    _ = esmm_jax.nonsense


def test_an_import_is_quick():
  """Nothing heavy comes along before it is used."""
  done = subprocess.run(
      [sys.executable, '-c', 'import esmm_jax, sys; print({"jax", "numpy",'
       ' "pyarrow"} & {*sys.modules})'],
      capture_output=True, text=True, cwd=ROOT, check=True)
  assert done.stdout.strip() == 'set()'


def test_star_import():
  names = {}
  exec('from esmm_jax import *', names)  # noqa: S102
  assert {*esmm_jax.__all__} <= {*names}

"""How a GPU adds to one row: what is measured, and what is said."""

import configparser

from esmm_jax.doctor import scatters
from esmm_jax.doctor.machine import OK, WARN
import numpy as np
from packaging.requirements import Requirement
import pytest

from tests import ROOT


def test_nothing_is_said_without_a_gpu():
  assert not list(scatters.contention(backend='cpu'))
  assert not list(scatters.contention(backend='tpu'))


def test_what_is_compared():
  """As many additions to two rows as to distinct ones."""
  asked = []

  def seconds(index):
    asked.append(index)
    return 1e-5 * len(index) / len(np.unique(index))

  (finding,) = scatters.contention(seconds, 'gpu', '0.10.2')
  distinct, same = asked
  assert len(distinct) == len(same) == len(np.unique(distinct)) == 32768
  assert len(np.unique(same)) == 2
  assert finding.status == WARN
  assert finding.found == (
      'additions to two rows take 16384.0 times as long as to distinct ones'
      ' (163.84 ms; jaxlib 0.10.2)')


@pytest.mark.parametrize('version, said', [
    ('0.10.1', 'another jaxlib'), ('0.10.2', '>=0.11.1'),
    ('0.11.0', '-nvptx-allow-ftz-atomics'), ('0.11.1', 'another jaxlib'),
    ('0.12.0.1', 'another jaxlib')])
def test_the_advice(version, said):
  finding = scatters.judged(1e-5, 1.1e-3, version)
  assert finding.status == WARN and said in finding.advice
  assert '110.0 times as long as to distinct ones (1.10 ms' in finding.found
  finding = scatters.judged(1e-5, 0.9e-3, version)
  assert (finding.status, finding.advice) == (OK, '')


def test_the_measurement():
  assert scatters.add_seconds(np.zeros(64, np.int32)) > 0


@pytest.mark.parametrize('python, jax', [
    ('3.11', '>=0.10'), ('3.12', '>=0.11.1'), ('3.13', '>=0.11.1')])
def test_the_packages_for_a_gpu(python, jax):
  """One line of the extra fits each version of Python."""
  config = configparser.ConfigParser()
  config.read(ROOT / 'setup.cfg', 'utf-8')
  lines = config['options.extras_require']['cuda12'].split('\n')
  needs = [Requirement(line) for line in lines if line]
  fitting = [n for n in needs if n.marker.evaluate({'python_version': python})]
  assert [(n.name, n.extras, str(n.specifier)) for n in fitting] == [
      ('jax', {'cuda12'}, jax)]

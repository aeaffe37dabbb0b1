"""No cell of file x damage x reader is silent or ends in a traceback."""

import os
import re
import subprocess
import sys

import pytest

from tests import ROOT


def tried(*arguments):
  """Outcome -> number of cells, and the lines of those that are bad."""
  done = subprocess.run(
      [sys.executable, '-m', 'tests.damaged.damage_matrix', '--bad',
       *arguments],
      cwd=ROOT, capture_output=True, text=True, check=False,
      env=dict(os.environ, JAX_PLATFORMS='cpu'))
  assert done.returncode == 0, done.stderr
  (counts,) = set(re.findall(r'^\| all \| (.*) \|$', done.stdout, re.M))
  names = ('same', 'said', 'silent', 'traceback')
  bad = [s for s in done.stdout.splitlines() if not s.startswith('|')]
  return dict(zip(names, map(int, counts.split(' | ')))), bad


@pytest.mark.long
def test_what_was_silent():
  """Edited numbers and files of another run, in the readers that are quick."""
  counts, bad = tried('--only=' + ','.join((
      'calibration.json edited score', 'calibration.json of_another score',
      'results.json edited table', 'predictions/test.parquet edited table',
      'predictions/test.parquet of_another table',
      'encoder absent score', 'params/table.npy zeros')))
  assert counts == {'same': 0, 'said': 7, 'silent': 0, 'traceback': 0}, bad


@pytest.mark.long
def test_a_sample():
  counts, bad = tried('--every=7')
  assert counts['silent'] == counts['traceback'] == 0, bad
  assert counts['said'] > 100 and counts['same'] > 50

"""A Ray that was started here: others are refused, and nobody is told."""

import json

import pytest

from tests.engines.test_on_ray import needs_ray, program


@needs_ray
@pytest.mark.long
def test_others_are_refused():
  """By token on the loopback address; by address from elsewhere."""
  done = program('-m', 'tests.engines.foreign_program')
  assert done.returncode == 0, done.stderr
  answers = json.loads(done.stdout.splitlines()[-1])
  assert answers['address'].startswith('127.0.0.1:') and answers['ports'] >= 4
  assert answers['answering'] == []
  said = answers['said']
  assert said['right'].splitlines()[-1] == 'done 42'
  for name in ('none', 'wrong'):
    assert 'InvalidAuthToken: Authentication token is missing' in said[name]
    assert 'done' not in said[name]
  # What its log and its files say of the usage report.
  assert answers['usage'] == [True, []]

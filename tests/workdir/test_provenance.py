"""Commit and device, and origin.json: an entry for each changed start."""

import os
import re

from esmm_jax.json_files import read_json
from esmm_jax.workdir import provenance
import pytest


def test_note_origin(tmp_path):
  first = {'command': 'c', 'commit': 'a', 'device': '1 x cpu', 'data': 'd'}
  other = first | {'commit': 'b'}
  folder = tmp_path / 'runs' / 'new'
  for entry in (first, first, other, other, first):
    provenance.note_origin(str(folder), entry)
  assert read_json(str(folder / 'origin.json')) == [first, other, first]


@pytest.mark.parametrize('text', ['', '[{', '{}x', '{"a": 1}'])
def test_an_origin_that_is_torn(tmp_path, text, capsys):
  """It is set aside; the commands are lost and nothing else."""
  (tmp_path / 'origin.json').write_text(text)
  entry = {'command': 'c', 'commit': 'a'}
  provenance.note_origin(str(tmp_path), entry)
  assert read_json(str(tmp_path / 'origin.json')) == [entry]
  assert (tmp_path / 'origin.json.damaged').read_text() == text
  assert 'warning: ' in (said := capsys.readouterr().err)
  assert 'origin.json' in said and said.count('\n') == 1


def test_origin():
  origin = provenance.origin('python -m experiments.train')
  assert list(origin) == ['command', 'commit', 'device']
  assert origin['command'] == 'python -m experiments.train'
  assert origin['device'].startswith('1 x ')


def test_device_and_commit(tmp_path):
  assert provenance.device().endswith(' x cpu')
  assert re.fullmatch('[0-9a-f]{12}( .changed.)?|unknown', provenance.commit())
  # Outside of a checkout, and in a folder of one that is not its top.
  assert provenance.commit(str(tmp_path)) == 'unknown'
  assert provenance.commit(os.path.dirname(__file__)) == 'unknown'

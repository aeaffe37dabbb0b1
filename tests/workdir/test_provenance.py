"""origin.json: an entry for each start under other circumstances."""

from esmm_jax.json_files import read_json
from esmm_jax.workdir import provenance


def test_note_origin(tmp_path):
  first = {'command': 'c', 'commit': 'a', 'device': '1 x cpu', 'data': 'd'}
  other = first | {'commit': 'b'}
  folder = tmp_path / 'runs' / 'new'
  for entry in (first, first, other, other, first):
    provenance.note_origin(str(folder), entry)
  assert read_json(str(folder / 'origin.json')) == [first, other, first]


def test_origin():
  origin = provenance.origin('python -m experiments.train')
  assert list(origin) == ['command', 'commit', 'device']
  assert origin['command'] == 'python -m experiments.train'
  assert origin['device'].startswith('1 x ')

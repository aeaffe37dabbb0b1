"""A calibration that is damaged, edited or of another run is refused."""

import json

from esmm_jax import checksums
from esmm_jax.json_files import write_json
from esmm_jax.serving import calibrators
from esmm_jax.types import InputError
from esmm_jax.workdir.identity import Stamp
import pytest

from tests.damaged import cells

RUN = Stamp('a' * 64, 7, 'b' * 64)
FITTED = {
    'ctr': {
        'platt': {'slope': 1.1, 'intercept': -0.25},
        'isotonic': {'scores': [-3.0, 0.5], 'probabilities': [0.1, 0.7]},
    }
}


def write(folder, run=RUN, **more):
  folder.mkdir(exist_ok=True)
  content = {
      'version': calibrators.VERSION, 'run': run.to_dict(), 'tasks': FITTED,
      'test': {}, **more}
  path = folder / calibrators.NAME
  write_json(str(path), checksums.sealed_content(content))
  return path


def read(path, run=RUN):
  return calibrators.read(str(path.parent), 'platt', run)


def test_what_is_written_is_read(tmp_path, capsys):
  path = write(tmp_path)
  assert read(path) == FITTED
  assert 'sha256' not in calibrators.read_file(str(tmp_path), RUN)
  assert capsys.readouterr().err == ''
  path.write_text(json.dumps(json.loads(path.read_text())))  # Other spaces.
  assert read(path) == FITTED


@pytest.mark.parametrize('harm', cells.DAMAGES)
def test_damage(harm, tmp_path):
  path = write(tmp_path)
  other = write(tmp_path / 'other', RUN._replace(identity='c' * 64))
  assert cells.harm(harm, path, other)
  outcome = cells.attempt(lambda: read(path))
  assert outcome.numbers is None and not outcome.raised
  (line,) = outcome.said
  do = 'move it' if harm == 'folder' else 'experiments.calibrate'
  assert str(path) in line and do in line


@pytest.mark.parametrize(
    'at',
    [
        ('tasks', 'ctr', 'platt', 'slope'),
        ('tasks', 'ctr', 'platt', 'intercept'),
        ('tasks', 'ctr', 'isotonic', 'scores', 1),
        ('tasks', 'ctr', 'isotonic', 'probabilities', 0),
        ('run', 'step'),
    ])
def test_an_edited_number(at, tmp_path):
  path = write(tmp_path)
  tree = value = json.loads(path.read_text())
  for key in at[:-1]:
    value = value[key]
  value[at[-1]] += 1
  path.write_text(json.dumps(tree))
  with pytest.raises(InputError, match='calibration.json is not as it was wr'):
    read(path)


@pytest.mark.parametrize(
    'run, words',
    [
        (RUN._replace(identity='c' * 64), 'it is of another run'),
        (RUN._replace(params_sha256='d' * 64), 'which was trained again'),
        (Stamp('a' * 64, 8), 'which was trained again: its step was 7'),
    ])
def test_another_run(run, words, tmp_path):
  path = write(tmp_path)
  told = f'{words}.* Run python -m experiments.calibrate again'
  with pytest.raises(InputError, match=told):
    read(path, run)
  assert read(path, RUN._replace(params_sha256='')) == FITTED


def test_files_of_version_1(tmp_path, capsys):
  path = tmp_path / calibrators.NAME
  path.write_text(json.dumps({'version': 1, 'tasks': FITTED, 'test': {}}))
  assert read(path) == FITTED
  assert capsys.readouterr().err.count('does not say which run made it') == 1
  # One that says it is, and has what only later ones have.
  content = json.loads(write(tmp_path).read_text()) | {'version': 1}
  path.write_text(json.dumps(content))
  with pytest.raises(InputError, match='is not as it was written'):
    read(path)
  del content['sha256']
  path.write_text(json.dumps(content | {'version': 2}))
  with pytest.raises(InputError, match='has no sha256 of its own content'):
    read(path)

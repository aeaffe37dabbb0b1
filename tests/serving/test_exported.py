"""An export that is damaged or mixed is refused before it is read."""

import json
import os
import shutil
import subprocess
import sys

from esmm_jax.serving import exported, exporting, restore
from esmm_jax.serving.predictor import Predictor
from esmm_jax.training.settings import Settings
from esmm_jax.types import InputError
import numpy as np
import pytest

from tests import toy as toys
from tests.serving.served import small_config
from tests.serving.test_export import params_of, snippet
from tests.damaged import cells

MODEL, ABOUT = 'model.jax_export', 'description.json'
pytestmark = pytest.mark.usefixtures('quick_compilation')
FILES = [MODEL, ABOUT, 'params/table.npy', 'encoder/encoder.json']


def export(folder, seed):
  """An export of a toy model without a run, with an encoder beside it."""
  config = small_config(eval_batch_size=64)
  plan = restore.plan(Settings.read(config), toys.SCHEMA)
  width = config.model.embed_dim * plan.model.num_tables
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(toys.SCHEMA.num_rows, 1, width))
  params = params_of(
      plan, table.astype(np.float32), toys.random_batch(2, num_rows=9))
  home = folder / f'run{seed}'
  (home / 'encoder').mkdir(parents=True)
  (home / 'encoder' / 'encoder.json').write_text(json.dumps({'seed': seed}))
  trained = restore.Trained(config, toys.SCHEMA, plan, params)
  predictor = Predictor(trained)
  predictor.folder = str(home)  # Its encoder is copied.
  exporting.export(predictor, str(folder / str(seed)))
  return folder / str(seed)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
  """Two exports whose files have the same names and shapes."""
  folder = tmp_path_factory.mktemp('exports')
  return export(folder, 0), export(folder, 1)


def test_it_lists_its_files(two):
  about = json.loads((two[0] / ABOUT).read_text())
  there = [p for p in two[0].rglob('*') if p.is_file() and p.name != ABOUT]
  assert sorted(about['files']) == sorted(
      os.path.relpath(p, two[0]) for p in there)
  assert {os.path.join(two[0], f) for f in FILES} <= {
      str(p) for p in (*there, two[0] / ABOUT)}
  for path in there:
    size, digest = about['files'][os.path.relpath(path, two[0])]
    assert size == path.stat().st_size and len(digest) == 64
  assert exported.checked(str(two[0])) == about


@pytest.mark.parametrize('harm', cells.DAMAGES)
@pytest.mark.parametrize('file', FILES)
def test_a_damaged_file(file, harm, two, tmp_path):
  copy = tmp_path / 'export'
  shutil.copytree(two[0], copy)
  if not cells.harm(harm, copy / file, two[1] / file):
    assert (file, harm) in UNCHANGED, 'nothing was damaged'
    return
  with pytest.raises(InputError) as e:
    exporting.load(str(copy))
  words = {MODEL: MODEL, ABOUT: ABOUT}.get(file, file)
  if (file, harm) != (ABOUT, 'of_another'):  # Then its files are the others.
    assert words in str(e.value)
  assert str(copy) in str(e.value) and '\n' not in str(e.value)


# The program of both is the same, and a program has no other type.
UNCHANGED = [(MODEL, 'of_another'), (MODEL, 'other_type'), (MODEL, 'edited')]


def test_the_parameters_of_another(two, tmp_path):
  copy = tmp_path / 'export'
  shutil.copytree(two[0], copy)
  shutil.rmtree(copy / 'params')
  shutil.copytree(two[1] / 'params', copy / 'params')
  with pytest.raises(InputError, match='params/.* is not as it was written'):
    exporting.load(str(copy))
  shutil.copyfile(two[1] / ABOUT, copy / ABOUT)  # And what belongs to them.
  with pytest.raises(InputError, match='encoder/encoder.json is not'):
    exporting.load(str(copy))


def test_an_encoder_that_an_export_does_not_have(two, tmp_path):
  copy = tmp_path / 'export'
  shutil.copytree(two[0], copy)
  (copy / 'encoder' / 'more.txt').write_text('x')
  with pytest.raises(InputError, match='encoder/more.txt is not part of it'):
    exporting.load(str(copy))


def test_what_is_nobodys_does_not_count(two, tmp_path):
  copy = tmp_path / 'export'
  shutil.copytree(two[0], copy)
  for name in ('.DS_Store', 'README', 'params/.nfs01', 'encoder/._x'):
    (copy / name).write_text('x')
  assert exported.checked(str(copy))['version'] == 2


def test_an_export_of_an_earlier_version(two, tmp_path, capsys):
  copy = tmp_path / 'export'
  shutil.copytree(two[0], copy)
  about = json.loads((copy / ABOUT).read_text()) | {'version': 1}
  del about['files'], about['sha256']
  (copy / ABOUT).write_text(json.dumps(about))
  _, params = exporting.load(str(copy))
  np.testing.assert_array_equal(
      params['table'], np.load(two[0] / 'params' / 'table.npy'))
  assert capsys.readouterr().err.count('earlier version') == 1
  about['version'] = 9
  (copy / ABOUT).write_text(json.dumps(about))
  with pytest.raises(InputError, match='is of version 9, not 2'):
    exporting.load(str(copy))


def test_no_export(tmp_path):
  with pytest.raises(InputError, match='is no exported model: there is no'):
    exporting.load(str(tmp_path))


@pytest.mark.slow
def test_the_lines_of_the_documentation(two, root, tmp_path):
  """They refuse what `exporting.load` refuses, and load what it loads."""
  folders = [tmp_path / str(k) for k in range(1 + len(FILES))]
  for folder, file in zip(folders, ['', *FILES]):
    shutil.copytree(two[0], folder)
    assert not file or cells.harm('flipped', folder / file)
  program = (
      f'import sys\n{snippet(root)}\n'
      'for folder in sys.argv[1:]:\n'
      '  try:\n'
      '    load(folder)\n'
      '  except ValueError as e:\n'  # Such as that of JSON.
      '    print("refused", e)\n'
      '  else:\n'
      '    print("read")\n')
  done = subprocess.run(
      [sys.executable, '-I', '-c', program, *map(str, folders)],
      capture_output=True, text=True, check=False,
      env=dict(os.environ, JAX_PLATFORMS='cpu'))
  assert done.returncode == 0, done.stderr
  lines = [line.split()[0] for line in done.stdout.splitlines()]
  assert lines == ['read', *['refused'] * len(FILES)]

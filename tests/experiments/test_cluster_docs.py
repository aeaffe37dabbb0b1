"""The commands and the program of docs/cluster.md, on a small log."""

import importlib.util
import re
import shlex
import subprocess

import numpy as np
from pyarrow import csv
import pyarrow as pa
import pytest
import yaml

from tests import ROOT
from tests.parallel import forking

TEXT = (ROOT / 'docs' / 'cluster.md').read_text('utf-8')


def blocks(kind):
  """The blocks of code of a kind, '' for commands."""
  every = re.findall(r'^```(\w*)\n(.*?)^```$', TEXT, re.M | re.S)
  return [text for name, text in every if name == kind]


def preparing():
  """The commands that prepare data: with processes, and with Ray."""
  return [text for text in blocks('') if 'prepare_data' in text]


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.prepare_data') as started:
    yield started


@pytest.fixture(name='folder')
def small_log(tmp_path, monkeypatch):
  """A folder with log/*.csv, which is the working folder."""
  rng = np.random.default_rng(0)
  (tmp_path / 'log').mkdir()
  monkeypatch.chdir(tmp_path)
  for k in range(4):
    click = rng.integers(0, 2, 500)
    csv.write_csv(pa.table({
        'user': rng.integers(0, 20, 500), 'item': rng.integers(0, 9, 500),
        'click': click, 'conversion': click * rng.integers(0, 2, 500),
    }), tmp_path / 'log' / f'{k}.csv')
  return tmp_path


def prepared(data_dir):
  """Path -> bytes, without the list that has times of files."""
  return {
      str(path.relative_to(data_dir)): path.read_bytes()
      for path in data_dir.rglob('*')
      if path.is_file() and path.suffix != '.lock' and path.name not in (
          'sha256.json', 'raw_files.json')}


def words_of(text, folder):
  """The words of a command behind the program's name, of files in a folder."""
  text = text.replace('\\\n', ' ').replace('log/', f'{folder}/log/')
  words = shlex.split(text)
  assert words[:3] == ['python', '-m', 'experiments.prepare_data']
  return words[3:]


@pytest.mark.long
def test_the_command_and_the_program(folder, program):
  text, of_ray = preparing()
  for name in ('two', 'one', 'ray'):
    words = words_of(of_ray if name == 'ray' else text, folder)
    if name == 'one':
      words.remove('--workers=2')
    done = program.run(*words, f'--data_dir={folder / name}')
    if name == 'ray' and importlib.util.find_spec('ray') is None:
      assert (done.returncode, done.stdout) == (1, '')
      assert 'error: --engine=ray needs Ray' in done.stderr
      continue
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith('Prepared: ') and 'train: ' in done.stdout
    assert prepared(folder / 'two') == prepared(folder / name) != {}
  (code,) = blocks('python')
  exec(compile(code, 'cluster.md', 'exec'), {})  # pylint: disable=exec-used
  assert list((folder / 'prepared').rglob('click.npy'))


@pytest.mark.parametrize('flag, code, words', [
    ('--workers=0', 2, 'flag --workers=0: 0 is not'),
    ('--workers=two', 2, 'flag --workers=two'),
    ('--workers=5000', 2, 'flag --workers=5000: 5000 is not'),
    ('--engine=slurm', 2, 'flag --engine=slurm'),
])
def test_refused(flag, code, words, folder, program):
  text, _ = preparing()
  done = program.run(
      *words_of(text, folder), flag, f'--data_dir={folder / "no"}')
  assert done.returncode == code and words in done.stderr
  assert not list(folder.rglob('*.npy'))


def test_the_manifest():
  """As KubeRay's samples have it: a job, a head and a group of workers."""
  (text,) = blocks('yaml')
  job = yaml.safe_load(text)
  assert (job['apiVersion'], job['kind']) == ('ray.io/v1', 'RayJob')
  spec = job['spec']
  assert set(spec) == {
      'entrypoint', 'shutdownAfterJobFinishes', 'ttlSecondsAfterFinished',
      'rayClusterSpec'}
  assert shlex.split(spec['entrypoint'])[:3] == [
      'python', '-m', 'experiments.train']
  cluster = spec['rayClusterSpec']
  (workers,) = cluster['workerGroupSpecs']
  assert f'--num_processes={workers["replicas"]} ' in spec['entrypoint']
  assert (workers['minReplicas'], workers['maxReplicas']) == (4, 4)
  for group in (cluster['headGroupSpec'], workers):
    assert isinstance(group['rayStartParams'], dict)
    pod = group['template']['spec']
    (container,) = pod['containers']
    assert {'name', 'image', 'env', 'resources', 'volumeMounts'} == {*container}
    (volume,), (mount,) = pod['volumes'], container['volumeMounts']
    assert mount['name'] == volume['name']
    assert spec['entrypoint'].count(mount['mountPath'] + '/') == 3
    for value in (*container['env'], mount):
      assert all(isinstance(text, str) for text in value.values())
    for amounts in container['resources'].values():
      assert all(isinstance(text, str) for text in amounts.values())


def test_scripts_of_shells():
  """Bash reads them, and Slurm's options are lines before the commands."""
  scripts = blocks('bash')
  for text in scripts:
    done = subprocess.run(
        ['bash', '-n'], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, '')
  slurm = [t for t in scripts if '#SBATCH' in t]
  assert len(slurm) == 3
  for text in slurm:
    first, *others = text.splitlines()
    assert first == '#!/bin/bash' and others[0].startswith('#SBATCH --')
    after = [line for line in others if not line.startswith('#SBATCH --')]
    assert after[0].startswith('srun python -m experiments.')


def test_bytes_of_tables(capsys):
  """The program of docs/arithmetic_of_scale.md prints its table."""
  text = (ROOT / 'docs' / 'arithmetic_of_scale.md').read_text('utf-8')
  code = text.split('```python\n')[1].split('```')[0]
  exec(compile(code, 'scale.md', 'exec'), {})  # pylint: disable=exec-used
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  # A table, and of Adam two moments, of 18 float32; or one number a row.
  bytes_of = {'adam': 3 * 18 * 4, 'rowwise_adagrad': (18 + 1) * 4}
  assert [(name, int(n)) for name, n, _ in lines] == [
      (name, n) for name in bytes_of for n in (1, 8, 64)]
  cells = {'adam': '| Adam |', 'rowwise_adagrad': '| row-wise Adagrad |'}
  for name, devices, size in lines:
    assert float(size) == pytest.approx(bytes_of[name] / int(devices))
    (row,) = [r for r in text.splitlines() if r.startswith(cells[name])]
    assert f' {round(float(size), 1):g} |' in row


@pytest.mark.parametrize(
    'text', [t for t in blocks('') if 'experiments.train' in t])
def test_training_on_a_cluster_that_is_not_there(text, tmp_path):
  """The flags are taken; `test_started_training` trains with them."""
  text = text.replace('\\\n', ' ').replace('/shared', str(tmp_path))
  text = text.replace('10.0.0.1:6379', '127.0.0.1:1')
  words = shlex.split(text)
  assert words[:3] == ['python', '-m', 'experiments.train']
  with forking.Program('experiments.train') as program:
    done = program.run(*words[3:])
  assert done.returncode == 1 and not list(tmp_path.iterdir())
  assert done.stderr.startswith((
      'error: --engine=ray needs Ray',
      'error: --ray_address=127.0.0.1:1: there is no cluster'))

"""From a log on S3 to scores on S3, by the programs, with faults."""

import importlib.util
import io
import json
import os
import shlex
import subprocess
import sys

from pyarrow import csv, parquet
import numpy as np
import pyarrow as pa
import pytest

from tests import ROOT
from tests.parallel import forking
from tests.storage import s3_server

MISSING = [p for p in ('moto', 's3fs') if not importlib.util.find_spec(p)]
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        bool(MISSING),
        reason=f'not installed: {MISSING}; pip install moto[server] s3fs')]
FAULTS = {'every': 23, 'cut': 11}  # Requests answered 503, bodies cut.
ROWS = 600
TEXT = (ROOT / 'docs' / 'storage.md').read_text('utf-8').replace('\\\n', ' ')
# Program -> its words in docs/storage.md.
COMMANDS = {
    words[2].removeprefix('experiments.'): words[3:]
    for line in TEXT.splitlines() if line.startswith('python -m ')
    for words in [shlex.split(line)]}
SMALL = ['--workers=1', '--config.batch_size=100', '--config.evals_per_epoch=2',
         '--config.num_epochs=2', '--config.selection.patience=9']


@pytest.fixture(name='server', scope='module')
def s3():
  with s3_server.Server() as started:
    yield started


@pytest.fixture(name='log', scope='module')
def files(server, tmp_path_factory):
  """A folder with partitions, of Parquet and CSV; it is on S3 too."""
  folder, rng = tmp_path_factory.mktemp('log'), np.random.default_rng(0)
  for day in range(4):
    click = rng.integers(0, 2, ROWS)
    rows = pa.table({
        'user': rng.integers(0, 20, ROWS), 'item': rng.integers(0, 9, ROWS),
        'click': click, 'conversion': click * rng.integers(0, 2, ROWS)})
    (folder / f'day={day}').mkdir()
    path = folder / f'day={day}' / ('a.csv' if day % 2 else 'a.parquet')
    if day % 2:
      csv.write_csv(rows, path)
    else:
      parquet.write_table(rows, path, row_group_size=100)
    server.put(f'log/day={day}/{path.name}', path.read_bytes())
  return folder


def run(server, module, *words, **env):
  return forking.Program(f'experiments.{module}', **server.env, **env).run(
      *words)


def numbers(workdir):
  results = json.loads((workdir / 'results.json').read_text())
  return {k: v for k, v in results.items() if k.startswith(('valid/', 'test/'))}


def test_the_whole_way(server, log, tmp_path):
  """The numbers are those of local files; a machine is lost on the way."""
  words = [*COMMANDS['train'], *SMALL]
  done = run(server, 'train', *words, f'--config.dataset.files={log}',
             f'--data_dir={tmp_path}/local', f'--workdir={tmp_path}/wanted',
             '--mirror=')
  assert done.returncode == 0, done.stderr
  server.faults(**FAULTS)
  killed = subprocess.run(
      [sys.executable, '-m', 'tests.training.killing', 'evaluating', '3',
       *words, f'--workdir={tmp_path}/lost'],
      cwd=ROOT, capture_output=True, text=True, check=False,
      env={**os.environ, **server.env, 'JAX_PLATFORMS': 'cpu',
           'ESMM_JAX_CACHE': f'{tmp_path}/lost cache'})
  assert killed.returncode == -9, killed.stderr
  told = server.told()
  assert told['slow'] and told['cut']
  cache = {'ESMM_JAX_CACHE': f'{tmp_path}/cache'}
  done = run(server, 'train', *words, f'--workdir={tmp_path}/new', **cache)
  assert done.returncode == 0, done.stderr
  assert 'new is filled from s3://bucket/runs/esmm: step ' in done.stderr
  assert 'Going on at step ' in done.stdout
  assert numbers(tmp_path / 'new') == numbers(tmp_path / 'wanted') != {}
  # The shards were copied, not prepared again.
  assert any('/prepared/' in p for p in server.told()['paths'])

  workdir = f'--workdir={tmp_path}/new'
  done = run(server, 'predict', *COMMANDS['predict'], workdir, **cache)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('s3://bucket/scores.parquet: 2,400 rows')
  local = run(server, 'predict', *COMMANDS['predict'], workdir,
              f'--input={log}', f'--output={tmp_path}/s.parquet')
  assert local.returncode == 0, local.stderr
  done = run(server, 'evaluate', *COMMANDS['evaluate'], workdir, **cache)
  assert done.returncode == 0, done.stderr
  server.faults()
  scores = parquet.read_table(
      io.BytesIO(server.ask('GET', '/bucket/scores.parquet')))
  assert scores.equals(parquet.read_table(tmp_path / 's.parquet'))
  assert server.names('scores') == ['scores.parquet']
  for path in tmp_path.rglob('*'):  # Neither notes nor copies have them.
    if path.is_file():
      content = path.read_bytes()
      assert s3_server.SECRET.encode() not in content, path
      assert s3_server.KEY.encode() not in content, path


@pytest.mark.parametrize('faults, words, told', [
    ({'deny': 1}, ['--config.dataset.files=s3://bucket/log'],
     'error: dataset.files=s3://bucket/log: access is denied'),
    ({}, ['--config.dataset.files=s3://absent/log'],
     'error: dataset.files=s3://absent/log: there is no such file'),
    ({}, ['--data_dir=s3://absent/prepared'],
     'there is no such bucket or file (The specified bucket does not exist.)'),
    ({}, [f'--config.dataset.files=s3://{s3_server.KEY}:{s3_server.SECRET}'
          '@bucket/log'], 'error: dataset.files: a URL of s3:// holds a'
     ' password')])
def test_one_line(faults, words, told, server, log, tmp_path):
  base = [*COMMANDS['prepare_data'], '--workers=1',
          f'--config.dataset.files={log}', f'--data_dir={tmp_path}/d']
  server.faults(**faults)
  done = run(server, 'prepare_data', *base, *words,
             ESMM_JAX_CACHE=f'{tmp_path}/cache')
  server.faults()
  assert done.returncode == 1 and told in done.stderr
  assert done.stderr.count('\n') == 1
  assert s3_server.SECRET not in done.stderr + done.stdout

"""The program and the command of docs/your_own_data.md, on a small log."""

import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
from pyarrow import parquet
import pyarrow as pa
import pytest

from tests import ROOT

TEXT = (ROOT / 'docs' / 'your_own_data.md').read_text('utf-8')
IDS = (
    'user_id', 'video_id', 'author_id', 'music_id', 'tag', 'tab', 'hourmin',
    'user_active_degree', 'video_type', 'upload_type',
    'follow_user_num_range', 'fans_user_num_range')


def write_log(path, num=900):
  rng = np.random.default_rng(0)
  columns = {name: rng.integers(0, 20, num) for name in IDS}
  columns |= {
      'duration_ms': rng.integers(1, 9999, num),
      'register_days': rng.integers(1, 99, num),
      'is_click': rng.integers(0, 2, num), 'long_view': rng.integers(0, 2, num),
      'date': np.repeat([20220502, 20220503, 20220504], num // 3)}
  parquet.write_table(pa.table(columns), path)


@pytest.mark.long
def test_commands(tmp_path):
  section = TEXT.partition('## Vectors of your own\n')[2]
  section = section.partition('\n## ')[0]
  programs = re.findall(r'^```python\n(# (\w+\.py)\n.*?)^```$',
                        TEXT, re.M | re.S)
  for text, name in programs:
    if name in ('my_log.py', 'vectors.py'):
      (tmp_path / name).write_text(text)
  write_log(tmp_path / 'kuairand.parquet')
  (command,) = re.findall(r'^```\n(python .*?)^```$', section, re.M | re.S)
  short = ['--config.num_epochs=1', '--config.batch_size=128',
           f'--data_dir={tmp_path}/data']
  env = dict(os.environ, JAX_PLATFORMS='cpu', PYTHONPATH=str(ROOT))
  for words in (
      ['python', 'vectors.py'],
      [*shlex.split(command.replace('\\\n', ' ')), *short]):
    done = subprocess.run(
        [sys.executable, *words[1:]], cwd=tmp_path, text=True, env=env,
        capture_output=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
  assert re.search(
      r'Vectors of video_id: videos.parquet, 64 numbers, .* 20 of 20 values and'
      r' 100.0% of the training rows', ' '.join(done.stdout.split()))
  about = json.loads((tmp_path / 'runs/vectors/config.json').read_text())
  assert about['model']['vectors_form'] == [64]

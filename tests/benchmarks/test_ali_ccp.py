"""The lines of the Ali-CCP benchmark, of the smallest size."""

import json

import pytest

from tests.parallel import forking


@pytest.mark.slow
@pytest.mark.long
def test_lines(tmp_path):
  with forking.Program('benchmarks.ali_ccp') as program:
    done = program.run(
        '--rows=3e3', '--batch_size=256', f'--data_dir={tmp_path}'
    )
  assert done.returncode == 0, done.stderr
  lines = {
      line['name']: line for line in map(json.loads, done.stdout.splitlines())
  }
  assert list(lines) == [
      'prepare', 'compare', 'batches', 'batches_compacted', 'batches_runs',
      'batches_runs_compacted',
  ]
  for line in lines.values():
    assert line['rows'] > 0 and line['ms'] > 0 and line['replicas'] == 1
  compared = lines['compare']
  assert compared['values'] > compared['rows'] and not compared['differences']
  assert 2e3 < compared['rows'] < 5e3
  # Rows of a session stay together in runs, so a batch has fewer sessions.
  runs, single = (
      lines[n]['sessions_per_batch'] for n in ('batches_runs', 'batches')
  )
  assert runs < single
  assert not list(tmp_path.iterdir())

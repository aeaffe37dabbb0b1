"""Scoring by Ray: the bytes of one process, also where a worker is lost."""

import json

from pyarrow import parquet
import pytest

from tests.engines.test_on_ray import needs_ray, program
from tests.serving.test_predict import write
from tests.serving.workers.ray_program import SCORES

pytestmark = [pytest.mark.long, needs_ray]


def test_files_and_a_data_set_of_ray(finished, tmp_path):
  pattern = write(finished.table(), tmp_path / 'in')
  done = program(
      '-m', 'tests.serving.workers.ray_program', str(finished.folder), pattern,
      str(tmp_path))
  assert done.returncode == 0, done.stderr
  assert json.loads(done.stdout.splitlines()[-1]) == {
      'same': [True, True], 'columns': ['user', *SCORES], 'pandas': True,
      'users': True, 'scores': True}
  assert 'a worker of Ray was lost, by ActorDiedError' in done.stderr


def test_the_command(finished, tmp_path):
  """It reports the first bad value; of good ones, the files of `local`."""
  table = finished.table()
  write(table, tmp_path / 'in')
  same = (
      '-m', 'experiments.predict', f'--workdir={finished.folder}',
      f'--input={tmp_path}/in', '--part_rows=500')
  by_ray = ['--engine=ray', '--workers=2']
  for name, more in (('a', []), ('b', ['--workers=2']), ('c', by_ray)):
    done = program(*same, f'--output={tmp_path}/{name}/', *more)
    assert done.returncode == 0 and '3,000 rows' in done.stdout, done.stderr
  one, *others = [
      {f.name: f.read_bytes() for f in (tmp_path / n).iterdir()} for n in 'abc']
  assert len(one) == 8 and others == [one, one]
  bad = table.set_column(
      table.column_names.index('user'), 'user',
      table['user'].cast('string').combine_chunks())
  texts = bad['user'].to_pylist()
  texts[900] = texts[2900] = 'x'
  bad = bad.set_column(bad.column_names.index('user'), 'user', [texts])
  parquet.write_table(bad, tmp_path / 'bad.parquet', row_group_size=500)
  done = program(
      *same[:3], f'--input={tmp_path}/bad.parquet', '--part_rows=500',
      f'--output={tmp_path}/c.parquet', '--engine=ray', '--workers=2')
  assert done.returncode == 1
  assert "bad.parquet, row 900: column 'user' is 'x'" in done.stderr

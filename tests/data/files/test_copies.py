"""Files that are copies of one another."""

import gzip

from esmm_jax.data.csv_files import dialect as dialects
from esmm_jax.data.files import copies
from pyarrow import parquet
import pyarrow as pa


def test_groups(tmp_path):
  """Files of one size may differ; those without rows do not count."""
  texts = {
      'a.csv': 'x\n1\n', 'b.csv': 'x\n2\n', 'c.csv': 'x\n1\n',
      'd.csv': 'x\n2\n', 'e.csv': 'x\n3\n', 'f.csv': 'x\n1\n',
      'g.csv': 'x\n', 'h.csv': 'x\n'}
  for name, text in texts.items():
    (tmp_path / name).write_text(text)
  for name in ('0.csv.gz', '1.csv.gz'):
    (tmp_path / name).write_bytes(gzip.compress(b'x\n1\n', mtime=0))
  for name, rows in {'2': [], '3': [], '4': [5], '5': [5]}.items():
    table = pa.table({'x': pa.array(rows, pa.int8())})
    parquet.write_table(table, tmp_path / f'{name}.parquet')
  paths = sorted(str(path) for path in tmp_path.iterdir())
  groups = copies.copies([*paths, 'memory://a.csv'], dialects.DEFAULT)
  assert sorted([p.rpartition('/')[2] for p in g] for g in groups) == [
      ['0.csv.gz', '1.csv.gz'], ['4.parquet', '5.parquet'],
      ['a.csv', 'c.csv', 'f.csv'], ['b.csv', 'd.csv']]
  assert copies.copies(paths[:1], dialects.DEFAULT) == []

"""Whatever a frame holds and however CSV is written: what Parquet gives."""

import csv
import io

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.files import row_files
from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import pyarrow as pa
from pyarrow import parquet
import pytest

# Encoding -> characters that it has.
ALPHABETS = {
    '': 'ab7 ,;"\'\t\n\r|é用😀', 'gbk': 'ab,"\n用户é', 'latin-1': 'ab,"\néüß',
    'utf-16': 'ab,"\n用😀', 'utf-16-le': 'ab,"\n用😀', 'utf-8-sig': 'ab,"\né',
    'shift_jis': 'ab,"\nカタ漢', 'cp1251': 'ab,"\nЖд', 'utf-32': 'ab,"\n😀'}
STYLES = {'all': csv.QUOTE_ALL, 'minimal': csv.QUOTE_MINIMAL}
ENDS = ['\n', '\r\n', '\r']


@st.composite
def cases(draw):
  """Rows and the form in which they are written."""
  encoding = draw(st.sampled_from(sorted(ALPHABETS)))
  separator = draw(st.sampled_from([',', ';', '\t', '|', '\x01', '^', ' ']))
  quote = draw(st.sampled_from(['"', "'"]))
  columns = draw(st.integers(1, 4))
  texts = st.text(ALPHABETS[encoding] + separator, max_size=5)
  rows = draw(st.lists(st.tuples(*[texts | st.just('NA')] * columns),
                       max_size=6))
  return dict(
      encoding=encoding, separator=separator, quote=quote, columns=columns,
      rows=rows, style=draw(st.sampled_from(sorted(STYLES))),
      end=draw(st.sampled_from(ENDS)), header=draw(st.sampled_from(
          ['', 'none', 'names'])),
      nulls=draw(st.sampled_from(['', 'NA', 'NA,"a,b"'])))


def written(case):
  """The bytes of the file, and its form."""
  names = ['x y', 'b', ':', 'd'][:case['columns']]
  file = io.StringIO(newline='')
  # Python leaves a line break without quotes where lines end otherwise.
  breaks = any('\n' in t or '\r' in t for row in case['rows'] for t in row)
  style = 'all' if breaks and case['end'] != '\r\n' else case['style']
  writer = csv.writer(
      file, delimiter=case['separator'], quotechar=case['quote'],
      quoting=STYLES[style], lineterminator=case['end'])
  writer.writerows([names] if not case['header'] else [])
  writer.writerows(case['rows'])
  header = {'': '', 'none': 'none', 'names': ','.join(names)}[case['header']]
  dialect = Dialect(
      separator=case['separator'], header=header, encoding=case['encoding'],
      null_values=case['nulls'], quote=case['quote'])
  if case['header'] == 'none':
    names = [f'c{k}' for k in range(case['columns'])]
  return file.getvalue().encode(case['encoding'] or 'utf-8'), dialect, names


def texts_of(path, names, dialect):
  """Column -> identifiers, as training reads them."""
  columns = {n: [] for n in names}
  for piece in row_files.read(path, names, 2, dialect):
    for name in names:
      at = Location(path, name=name)
      array = raw_values.arrow(piece.table[name], at)
      columns[name] += raw_values.texts(array, at).to_pylist()
  return columns


@settings(deadline=None, max_examples=150)
@given(case=cases())
def test_csv_is_parquet(tmp_path_factory, case):
  folder = tmp_path_factory.getbasetemp()
  content, dialect, names = written(case)
  (folder / 'x.csv').write_bytes(content)
  nulls = dialect.nulls
  columns = {
      name: pa.array([
          None if r[k].strip() in nulls else r[k] for r in case['rows']
      ], pa.string()) for k, name in enumerate(names)}
  parquet.write_table(pa.table(columns), folder / 'x.parquet')
  wanted = texts_of(str(folder / 'x.parquet'), names, Dialect())
  path = str(folder / 'x.csv')
  try:
    if case['rows'] or case['header'] != 'none':
      assert row_files.names(path, dialect) == names
    else:
      names = []
    assert texts_of(path, names, dialect) == (wanted if names else {})
  except InputError as e:
    # Lines of a value that might be rows, and a blank before a quote.
    assert 'spans lines' in str(e) or (
        'a blank stands' in str(e) and case['separator'] == ' '), (e, content)


@pytest.mark.parametrize('encoding', ['', 'gbk', 'utf-16'])
def test_a_file_of_many_pieces(encoding, tmp_path):
  """Values of several bytes and lines lie across the pieces."""
  rows = [(f'用户{k}', f'a\n,"{k}"', '户' * (k % 50)) for k in range(60_000)]
  file = io.StringIO(newline='')
  csv.writer(file).writerows([['a', 'b', 'c'], *rows])
  path = tmp_path / 'x.csv'
  path.write_bytes(file.getvalue().encode(encoding or 'utf-8'))
  read = []
  dialect = Dialect(encoding=encoding)
  for piece in row_files.read(str(path), ['a', 'b', 'c'], 7000, dialect):
    assert piece.first == len(read)
    for row in piece.table.to_pylist():
      read.append(tuple(v or '' for v in row.values()))
  assert path.stat().st_size > 1 << 22 and read == rows

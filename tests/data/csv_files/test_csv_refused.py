"""Files that are not what they seem, and quotes that would swallow rows."""

import bz2
import codecs
import gzip
import lzma
import re

from esmm_jax.data.csv_files.dialect import Dialect
from esmm_jax.data.csv_files.records import BLOCK
from esmm_jax.data.files import row_files
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import pyarrow as pa
import pytest

H = b'a,b,c\n'
MANY = b'1,2,3\n' * 300


def all_rows(path, dialect):
  names = row_files.names(path, dialect)
  rows = []
  for piece in row_files.read(path, names, 1000, dialect):
    rows += [tuple(row.values()) for row in piece.table.to_pylist()]
  return names, rows


def rows_of(folder, content, name='log.csv', **options):
  path = folder / name
  path.write_bytes(content)
  return all_rows(str(path), Dialect(**options))


# Name of the file, its content, options, and what it is refused with.
POINTER = b'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\n'
WRONG = {
    # Quotes.
    'not closed': (
        'log.csv', H + b'"x,2,3\n4,5,6\n', {}, 'line 2: a value begins with a'
        ' quote that is not closed up to line 3'),
    'not closed, many rows later': (
        'log.csv', H + MANY + b'"x,2,3\n' + MANY, {}, 'log.csv, line 302: .*'
        ' not closed up to line 602'),
    'closed by the quote of another row': (
        'log.csv', H + b'"x,2,3\n' + MANY + b'7,"y, z",9\n', {}, 'log.csv, line'
        ' 2: a value begins with a quote, which closes in line 303 before .y.'),
    'closed behind a value of another row': (
        'log.csv', H + b'"x,2,3\n' + MANY + b'7",8,9\n', {}, 'log.csv, line 2:'
        ' a quoted value spans lines up to line 303, which have as many fields'
        ' as a row'),
    'closed in the middle of another row': (
        'log.csv', H + b'1,"x,3\n' + MANY + b'7,y",9\n', {}, 'line 2: a quoted'
        ' value spans lines up to line 303'),
    'closed by the next row': (
        'log.csv', H + b'1,2,"x\n4,5,y"\n', {}, 'line 2: a quoted value spans'),
    'between empty values': (
        'log.csv', H + b'"x,2,3\n"",5,""\n7",8,9\n', {}, 'line 2: a quoted'),
    'behind blank lines': (
        'log.csv', H + b'"x,2,3\n\n4,5,6\n\n7",8,9\n', {}, 'line 2: a quoted'),
    'by a value that begins with a separator': (
        'log.csv', H + b'"x,2,3\n1,", y",2\n', {}, 'line 2: a row with line'
        ' breaks between quotes, up to line 3, holds another quote'),
    'text behind a quote': (
        'log.csv', H + b'1,"x"y,3\n', {}, "line 2: .* line 2 before 'y'"),
    'a backslash before a quote': (
        'log.csv', H + b'1,"x \\"y\\"",3\n', {}, r"line 2: .* before"
        " 'y'. A backslash before a quote is no escape here"),
    'a blank before a quote': (
        'log.csv', H + b'1, "x",3\n', {}, 'line 2: a blank stands between a'
        ' separator and a quote. Remove it'),
    'a quote in the header': (
        'log.csv', b'a,"b\n1,2\n', {}, 'line 1: .* not closed up to line 2'),
    'single quotes': (
        'log.csv', H + b"1,'x,3\n4,5,6\n", dict(quote="'"), 'line 2: .* not'),
    'a quote that spans too much': (
        'log.csv', H + b'"x,2,3\n' + b'1,2,3\n' * (BLOCK // 2), {}, 'log.csv,'
        ' line 2: the row is longer than 4194304 bytes, or a quote in it is'),
    'in another encoding': (
        'log.csv', 'a,b\né,1\n"é,2\n'.encode('utf-16'),
        dict(encoding='utf-16'), 'log.csv, line 3: .* not closed up to line 3'),
    'old line ends': (
        'log.csv', b'a,b\r1,2\r"x"y,1\r', {}, 'log.csv, line 3: .* before'),
    # Separators.
    'semicolons': (
        'log.csv', b'a;b\n1;2\n', {}, "no column 'a'. Its header 'a;b' looks as"
        " if ; separates the columns; if so, set dataset.separator=';'"),
    'tabs': ('log.csv', b'a\tb\n1\t2\n', {}, r"set dataset.separator='\\t'"),
    'bars': ('log.csv', b'a|b\n1|2\n', {}, r"set dataset.separator='\|'"),
    'control characters': (
        'log.csv', b'a\x01b\n1\x012\n', {}, r"set dataset.separator='\\x01'"),
    'commas in a .tsv file': (
        'log.tsv', b'a,b\n1,2\n', {}, "set dataset.separator=','"),
    'semicolons beside a comma': (
        'log.csv', b'a;b,c;d\n1;2,3;4\n', {}, "set dataset.separator=';'"),
    'quoted names between semicolons': (
        'log.csv', b'"a";"b"\n"1";"2"\n', {}, "If ; separates the columns, set"
        " dataset.separator=';'"),
    # Rows.
    'too few': ('log.csv', H + b'1,2,3\n\n4,5\n', {}, 'line 4: the row has'),
    'a separator at the end': (
        'log.csv', H + b'1,2,3,\n', {}, 'line 2: the row has 4 fields, the head'
        'er 3'),
    'a comment': ('log.csv', H + b'# x\n1,2,3\n', {}, 'line 2: the row has 1'),
    'a line of blanks': ('log.csv', H + b'1,2,3\n  \n', {}, 'line 3: the row'),
    'a zero byte': (
        'log.csv', H + b'1,2,3\n4,\x005,6\n', {}, 'line 3: there is a zero'),
    'two names that are one': (
        'log.csv', b'a, a,b\n1,2,3\n', {}, "there are 2 columns 'a'; rename"),
    # Headers.
    'fewer names': (
        'log.csv', b'1,2\n', dict(header='a'), 'line 1: the row has 2 fields, d'
        'ataset.header lists 1 names'),
    'more names': ('log.csv', b'1,2\n', dict(header='a,b,c'), 'lists 3 names'),
    'a row of another length': (
        'log.csv', b'1,2\n3\n', dict(header='a,b'), 'line 2: the row has'),
    'there is a header': (
        'log.csv', b'a,b\n1,2\n', dict(header='a,b'), 'line 1: the first row ho'
        'lds the names that dataset.header lists; leave dataset.header unset'),
    # Encodings.
    'a header in GBK': (
        'log.csv', '用户,商品\n1,2\n'.encode('gbk'), {}, 'line 1: the first row'
        ' is not UTF-8; say what it is with dataset.encoding, gbk or latin-1'),
    'a row in latin-1': (
        'log.csv', H + b'1,2,3\n\xe9,2,3\n', {}, 'line 3: it is not UTF-8; say'
        ' what it is with dataset.encoding'),
    'not in that encoding': (
        'log.csv', H + b'1,2,3\n\n\xff\xff,2,3\n', dict(encoding='gbk'),
        'log.csv, line 4: it is not gbk. Set dataset.encoding to what'),
    'UTF-16 that is none': (
        'log.csv', H + b'1,2,3\n', dict(encoding='utf-16'), 'line 1: it is not '
        'utf-16. Set dataset.encoding to what'),
    'UTF-8 that is said to be GBK': (
        'log.csv', 'a,b,c\n春夏,秋冬,1\n东南,西北,2\n'.encode(), dict(
            encoding='gbk'), 'its characters are UTF-8. Set dataset.encoding='),
    'UTF-8 that is said to be latin-1': (
        'log.csv', 'a,b,c\nàáâã,äåæç,1\n'.encode(), dict(
            encoding='latin-1'), 'its characters are UTF-8. Set dataset.encod'),
    'UTF-16': (
        'log.csv', 'a,b\n1,2\n'.encode('utf-16'), {}, 'By its first bytes it is'
        ' UTF-16; set dataset.encoding=utf-16'),
    'UTF-16 without a mark': (
        'log.csv', 'a,b\n1,2\n'.encode('utf-16-le'), {}, 'line 1: there is a ze'
        'ro byte, which no text holds. If the file is UTF-16, set'),
    # Kinds.
    'empty': ('log.csv', b'', {}, 'log.csv is empty; there is no header'),
    'only blank lines': ('log.csv', b'\n\r\n', {}, 'log.csv is empty'),
    'Parquet': (
        'log.csv', b'PAR1\x15\x04\x15', {}, 'is a Parquet file by its first'
        ' bytes. Rename it to .parquet, or set dataset.format=parquet'),
    'CSV called Parquet': (
        'log.parquet', H, {}, 'cannot be read: it does not begin as a Parquet f'
        r"ile does \(it begins with b'a,b,c.n'\). If it is CSV, set dataset.for"
        'mat=csv'),
    'an empty Parquet file': ('log.parquet', b'', {}, r'\(it is empty\)'),
    'a cut Parquet file': (
        'log.parquet', b'PAR1\x15\x04\x15', {}, 'log.parquet cannot be read: '),
    'no ending': (
        'part-00000', H, {}, 'is neither CSV nor Parquet by its name, .* If it'
        ' is CSV, set dataset.format=csv'),
    'said to be Parquet': (
        'part-00000', H, dict(format='parquet'), 'does not begin as a Parquet'),
    'ZIP': ('log.csv', b'PK\x03\x04\x14\0', {}, 'it is a ZIP archive or an E'),
    'XLS': ('log.csv', b'\xd0\xcf\x11\xe0\xa1\xb1', {}, 'it is an Excel work'),
    'ORC': ('log.csv', b'ORC\n\x1d\n', {}, 'it is an ORC file. Convert it to'),
    'Avro': ('log.csv', b'Obj\x01\x04\x16', {}, 'it is an Avro file. Convert'),
    'Arrow': ('log.csv', b'ARROW1\0\0\xff', {}, 'it is an Arrow .Feather. fi'),
    'a pointer': (
        'log.csv', POINTER, {}, 'is a pointer of Git LFS, not the file itself; '
        'fetch that with git lfs pull'),
    'a pointer called Parquet': (
        'log.parquet', POINTER, {}, 'is a pointer of Git LFS'),
    'a line for Excel': (
        'log.csv', b'\xef\xbb\xbfsep=;\r\na;b\r\n1;2\r\n', {}, "line 1: 'sep=;'"
        " is a line for Excel, not the header. Remove it and set dataset.separ"
        "ator=';'"),
    'the same, with its separator': (
        'log.csv', b'sep=;\na;b\n1;2\n', dict(separator=';'), 'line for Excel'),
    'HDF5': ('log.csv', b'\x89HDF\r\n\x1a\n', {}, 'it is an HDF5 file'),
    'JSON': (
        'log.csv', b'{"a": 1, "b": 2}\n', {}, 'it looks like JSON or HTML'),
    'an error page': ('log.csv', b'<!DOCTYPE html>\n', {}, 'JSON or HTML'),
    'a cut gzip file': (
        'log.csv.gz', gzip.compress(H + MANY)[:-9], {}, 'log.csv.gz cannot be r'
        'ead: Compressed file ended before'),
    'a cut xz file': (
        'log.csv', lzma.compress(H + MANY)[:-30], {}, 'cannot be read: Compress'
        'ed file ended before'),
}


def refusal(folder, case):
  name, content, options, _ = WRONG[case]
  path = folder / name
  path.write_bytes(content)
  dialect = Dialect(**options)
  try:
    names = row_files.names(str(path), dialect)
    row_files.require(['a', 'b'], names, str(path), dialect=dialect)
    list(row_files.read(str(path), names, 1000, dialect))
  except InputError as e:
    return str(e)
  raise AssertionError(case)


@pytest.mark.parametrize('case', WRONG)
def test_files_that_are_refused(case, tmp_path):
  said = refusal(tmp_path, case)
  assert re.search(WRONG[case][-1], said), said
  assert '\n' not in said and WRONG[case][0] in said


# What is read, though it is not as it should be: content, options and rows.
READ = {
    'quotes in a value': (H + b'1,5" disk,a"b"c\n', {}, [
        ('1', '5" disk', 'a"b"c')]),
    'a value of lines': (H + b'"x\ny, z",2,3\n\n4,5,6\n', {}, [
        ('x\ny, z', '2', '3'), ('4', '5', '6')]),
    'doubled quotes': (H + b'"""x""","a ""b"" c",""\n', {}, [
        ('"x"', 'a "b" c', None)]),
    'old line ends': (H + b'1,2,3\r4,5,6\r\n7,8,9', {}, [
        ('1', '2', '3'), ('4', '5', '6'), ('7', '8', '9')]),
    'blank lines': (b'\n' + H + b'\n1,2,3\n\n\r\n', {}, [('1', '2', '3')]),
    'a byte order mark': (codecs.BOM_UTF8 + H + b'1,2,3', {}, [
        ('1', '2', '3')]),
    'a mark and quotes': (codecs.BOM_UTF8 + b'"a","b","c"\n1,2,3', {}, [
        ('1', '2', '3')]),
    'blanks around names': (b' a,b ,\tc \n1,2,3', {}, [('1', '2', '3')]),
    'only a header': (H, {}, []),
    'quotes that are none': (b'a,b,c\n"x,2,3\n4,y",6\n', dict(quote='none'), [
        ('"x', '2', '3'), ('4', 'y"', '6')]),
    'missing values': (
        b'a,b,c\nNA,"NA",\nna, NULL ,"a,b"\n',
        dict(null_values='NA,NULL,"a,b"'),
        [(None, None, None), ('na', None, None)]),
    'tabs': (b'a\tb\tc\n1\t2,2\t3\n', dict(separator='tab'), [
        ('1', '2,2', '3')]),
    'bars': (b'a|b|c\n1|"2|2"|3\n', dict(separator='|'), [('1', '2|2', '3')]),
    'names of a file without': (
        b'1,2,3\n4,5,6\n', dict(header='a,b,c'), [
            ('1', '2', '3'), ('4', '5', '6')]),
    'no file at all': (b'', dict(header='a,b,c'), []),
    'bzip2': (bz2.compress(H + b'1,2,3\n'), {}, [('1', '2', '3')]),
    'gzip': (gzip.compress(H + b'1,2,3\n'), {}, [('1', '2', '3')]),
    'xz': (lzma.compress(H + b'1,2,3\n'), {}, [('1', '2', '3')]),
    'names in angles': (b'<a>,b,c\n1,2,3\n', {}, [('1', '2', '3')]),
    'a header that begins as ORC': (b'ORC_a,b,c\n1,2,3\n', {}, [
        ('1', '2', '3')]),
}


@pytest.mark.parametrize('case', READ)
def test_files_that_are_read(case, tmp_path):
  content, options, rows = READ[case]
  names, read = rows_of(tmp_path, content, **options)
  assert read == rows
  assert [n.strip('ORC_<>') for n in names] == ['a', 'b', 'c']


def test_columns_without_names(tmp_path):
  names, rows = rows_of(tmp_path, b'1,x\n2,y\n', header='none')
  assert names == ['c0', 'c1'] and rows == [('1', 'x'), ('2', 'y')]


@pytest.mark.parametrize('name', ['log.CSV', 'log.csv.gz', 'log.Csv.zst'])
def test_the_name_says_csv_and_nothing_of_the_compression(name, tmp_path):
  assert rows_of(tmp_path, H + b'1,2,3\n', name)[1] == [('1', '2', '3')]


@pytest.mark.parametrize('name', [
    'part-00000', 'log.txt', 'log.dat.gz', 'log.parquet'])
def test_the_option_says_csv(name, tmp_path):
  assert rows_of(tmp_path, H + b'1,2,3\n', name, format='csv')[1] == [
      ('1', '2', '3')]


@pytest.mark.parametrize('codec', ['zstd', 'lz4'])
def test_compressions_of_arrow(codec, tmp_path):
  sink = pa.BufferOutputStream()
  with pa.CompressedOutputStream(sink, codec) as stream:
    stream.write(H + MANY)
  content = sink.getvalue().to_pybytes()
  assert len(rows_of(tmp_path, content)[1]) == 300


def test_parquet_without_an_ending(tmp_path):
  from pyarrow import parquet

  path = str(tmp_path / 'part-00000')
  parquet.write_table(pa.table({' a ': [1], 'x.y': ['b'], 'x': [2]}), path)
  names, rows = all_rows(path, Dialect())
  assert names == ['a', 'x.y', 'x'] and rows == [(1, 'b', 2)]


# Rows never vanish.

def frames(alphabet):
  row = st.tuples(*[st.text(alphabet, max_size=4)] * 3)
  return st.lists(row, min_size=1, max_size=9)


def csv_text(rows, all_quoted):
  field = lambda t: '"' + t.replace('"', '""') + '"' if all_quoted or re.search(
      '[,"\n]|^ ', t) else t
  return ''.join(','.join(map(field, r)) + '\n' for r in rows)


@pytest.mark.parametrize('alphabet, changes', [('ab, "\n', 1), ('ab ', 2)])
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_quotes_too_many_or_too_few(
    tmp_path_factory, alphabet, changes, data):
  """The file is refused, or has as many rows as before, or more.

  Rows that hold line breaks may become two, never one of two.
  """
  rows = data.draw(frames(alphabet))
  text = csv_text(rows, data.draw(st.booleans()))
  for _ in range(changes):
    at = data.draw(st.integers(0, len(text) - 1))
    removed = text[at] == '"' and data.draw(st.booleans())
    text = text[:at] + ('' if removed else '"') + text[at + removed:]
  path = tmp_path_factory.getbasetemp() / 'quotes.csv'
  path.write_bytes(b'a,b,c\n' + text.encode())
  try:
    _, read = all_rows(str(path), Dialect())
  except InputError:
    return
  assert len(read) >= len(rows), (text, read)


@pytest.mark.parametrize('piece', [1, 2, 3, 7])
@pytest.mark.parametrize('case', [
    c for c in WRONG if WRONG[c][0] == 'log.csv' and b'"' in WRONG[c][1]
    and len(WRONG[c][1]) < 100])
def test_wherever_the_file_is_cut(case, piece, tmp_path, monkeypatch):
  from esmm_jax.data.csv_files import quote_check

  monkeypatch.setattr(quote_check, '_PIECE', piece)
  assert re.search(WRONG[case][-1], refusal(tmp_path, case))


@pytest.mark.parametrize('form, separator, is_said', [
    ('csv', ';', True), ('csv', '', False), ('parquet', '', False)])
def test_another_separator_is_suggested(form, separator, is_said, tmp_path):
  """Not that of the file, and none of a Parquet file."""
  path = tmp_path / f'log.{form}'
  content = f'"a, b"{separator or ","}c\n'.encode()
  path.write_bytes(b'PAR1' if form == 'parquet' else content)
  with pytest.raises(InputError) as error:
    row_files.require(
        ['a'], ['a, b', 'c'], str(path), dialect=Dialect(separator=separator))
  assert ('looks as if , separates' in str(error.value)) == is_said

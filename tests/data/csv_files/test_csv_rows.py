"""Damaged CSV files: the line, the column and what is wrong."""

import gzip

from esmm_jax.data.csv_files.csv_rows import BLOCK, find_damage, line_of
from esmm_jax.data.csv_files.csv_rows import read_rows
from esmm_jax.data.files.checked_csv import Column, read_csv
from esmm_jax.types import InputError
import pytest

HEADER = b'user,item\n'
# Content, whether values may hold line breaks, and (line, field, problem).
CASES = {
    'sound': (HEADER + b'a,1\n"b\nc",2\n', True, None),
    'empty': (b'', True, None),
    'too few': (HEADER + b'a,1\n\nb\n', True, (4, 'user', '1 fields')),
    'too many': (HEADER + b'a,1,2\n', True, (2, 'item', '3 fields')),
    'an empty line': (
        HEADER + b'a,1\n\nb,2\n', False, (3, 'user', '0 fields')),
    'a line break': (HEADER + b'"a\nb",1\n', False, (2, 'user', '1 fields')),
    'a quote': (HEADER + b'"a,1\nb,2\n', True, (2, 'user', '1 fields')),
    'latin-1': (HEADER + b'a,1\nb,\xe9\n', True, (3, 'item', 'not UTF-8')),
    'long': (
        HEADER + b'a' * BLOCK + b',1\n', True, (2, 'item', 'longer than')),
}


@pytest.mark.parametrize('case', CASES)
def test_damage(tmp_path, case):
  content, line_breaks, expected = CASES[case]
  path = tmp_path / 'log.csv'
  path.write_bytes(content)
  damage = find_damage(str(path), line_breaks)
  if expected is None:
    assert damage is None
    return
  line, field, problem = expected
  assert (damage.line, damage.field) == (line, field)
  assert problem in damage.problem


def test_a_damaged_value(tmp_path):
  """The header is no value."""
  path = tmp_path / 'log.csv'
  path.write_bytes(HEADER + b'a,1\nb,x\n')
  problem_of = lambda name, text: (
      f'{text} is bad' if name == 'item' and not text.isdigit() else '')
  damage = find_damage(str(path), problem_of=problem_of)
  assert damage == (3, 'item', 'x is bad')


def test_a_compressed_file_that_is_cut_off(tmp_path):
  path = tmp_path / 'log.csv.gz'
  path.write_bytes(gzip.compress(HEADER + b'a,1\n' * 1000)[:-9])
  assert find_damage(str(path)) is None  # Left to what pyarrow says.
  assert line_of(str(path), 2000) == 2002


def test_rows_and_lines(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_bytes(b'\xef\xbb\xbf' + HEADER + b'\n"a\nb",1\n\nc,2\n')
  assert list(read_rows(str(path))) == [
      (1, ['user', 'item']), (3, ['a\nb', '1']), (6, ['c', '2'])]
  assert [line_of(str(path), row) for row in (0, 1)] == [3, 6]


def test_bytes_that_are_not_utf_8_in_a_checked_file(tmp_path):
  path = tmp_path / 'log.csv'
  path.write_bytes(HEADER + b'a,1\nb\xe9,2\n')
  words = "log.csv, row 3, field 'user': it is not UTF-8; .*. Mend it"
  with pytest.raises(InputError, match=words):
    read_csv(
        str(path), {'user': Column('text'), 'item': Column('int')}, 'Mend it.')

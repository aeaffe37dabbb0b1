"""Texts of others, as a terminal may see them."""

import ast
import sys
import unicodedata

from esmm_jax.printable import in_one_line, printable
import pytest

# Controls of a terminal, of the direction of writing, of lines; half characters.
UNSHOWN = [
    *(chr(c) for c in range(0x20) if chr(c) not in '\n\t'),
    *map(chr, range(0x7F, 0xA0)), *'\u200b\u200e\u200f\u061c\ufeff\u2028\u2029',
    *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A)),
    '\ud800', '\udcff', '\U000e0001',
]
SHOWN = ['a b', 'Größe', '日本\u3000語', 'x\u00a0y', '1\t2\n3', '\\x1b', "'", '😀']


@pytest.mark.parametrize('c', UNSHOWN, ids=lambda c: f'{ord(c):x}')
def test_what_is_not_shown_is_escaped(c):
  text = printable(f'log{c}[2J')
  assert text.startswith('log\\') and text.endswith('[2J')
  assert ast.literal_eval(f"'{text}'") == f'log{c}[2J'
  assert in_one_line(f'a{c}b') in (f'a{text[3:-3]}b', 'a b')


@pytest.mark.parametrize('text', SHOWN)
def test_what_is_shown_stays(text):
  assert printable(text) == text


def test_of_all_characters_no_control_is_left():
  """Neither of a terminal nor of the direction, in any plane."""
  kinds = ('Cc', 'Cf', 'Cs')
  every = map(chr, range(sys.maxunicode + 1))
  some = [c for c in every if unicodedata.category(c) in kinds]
  assert len(some) > 2000
  text = printable(''.join(some))
  assert {c for c in text if unicodedata.category(c) in kinds} == {'\n', '\t'}
  text.encode('utf-8')


@pytest.mark.parametrize('gap', ['\n', '\r', '\r\n', '\x0b', '\x0c', '\x1c',
                                 '\x85', '\u2028', '\u2029'])
def test_one_line(gap):
  assert in_one_line(f'% a{gap}\\input{{x}}') == r'% a \input{x}'

"""Names with commas, colons, blanks and quotes in them."""

from esmm_jax.data.csv_files.quoted_names import split, split_names, unquote
from esmm_jax.types import InputError
from hypothesis import given, strategies as st
import pytest


@pytest.mark.parametrize('text, names', [
    ('a,b', ['a', 'b']), (' a , ,b,', ['a', 'b']), ('', []),
    ('"user id",item', ['user id', 'item']), ("'a,b',c", ['a,b', 'c']),
    ('"a ""b""",c', ['a "b"', 'c']), ("it's,b's", ["it's", "b's"]),
    ('" a ",b', [' a ', 'b']), ('a"b,c"d', ['a"b', 'c"d'])])
def test_names(text, names):
  assert split_names(text) == names


@pytest.mark.parametrize('separator, parts', [
    (',', ['"a,b":min_count=2', 'c:separator=","']),
    (':', ['"a,b"', 'min_count=2, c', 'separator=","'])])
def test_parts_keep_their_quotes(separator, parts):
  assert split('"a,b":min_count=2, c:separator=","', separator) == parts


def test_a_quote_that_is_not_closed():
  with pytest.raises(InputError, match='a quote " is not closed'):
    split('a,"b')


@given(st.lists(st.text('ab ,:\'"=', min_size=1), min_size=1),
       st.sampled_from('"\''))
def test_any_name_in_quotes(names, quote):
  quoted = [quote + n.replace(quote, quote * 2) + quote for n in names]
  assert split_names(','.join(quoted)) == names
  assert [unquote(q) for q in quoted] == names

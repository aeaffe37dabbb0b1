"""Lists: separators, weights, and the texts that programs write of lists."""

import json

from esmm_jax.data.values import raw_values
from esmm_jax.data.values.raw_values import Location
from esmm_jax.types import InputError
from hypothesis import given, settings, strategies as st
import numpy as np
import pyarrow as pa
import pytest

HERE = Location('log', name='a')


def read(values, max_len=50, **options):
  """Rows of entries, or of pairs of an entry and its weight."""
  array = raw_values.arrow(values, HERE)
  result = raw_values.lists(array, HERE, max_len, **options)
  entries = result.entries.to_pylist()
  if result.weights is not None:
    entries = list(zip(entries, result.weights.tolist()))
  return [entries[a:b] for a, b in zip(result.offsets, result.offsets[1:])]


def rows_of(text):
  """A column whose other rows are empty."""
  return [text, None, '', ' ', text]


# Text -> entries.
TEXTS = {
    '1|2': ['1', '2'],
    'a| b ||c|': ['a', 'b', 'c'],
    '7': ['7'],
    '[]': [],
    '[ ]': [],
    '[1, 2]': ['1', '2'],
    '[1,2.0,-3]': ['1', '2', '-3'],
    ' [1, 2] ': ['1', '2'],
    '["a", "b, c", "it\'s", "\\u00e4\\n|"]': ['a', 'b, c', "it's", 'ä\n|'],
    '["a", null, NaN, true, 1.0]': ['a', 'True', '1'],
    "['a', 'b']": ['a', 'b'],
    "['a', \"it's\", 'x\"y', None, True]": ['a', "it's", 'x"y', 'True'],
    r"['a\'b', 'c\\d', 'e\x41\u0042\n']": ["a'b", r'c\d', 'eAB'],
    "['']": [],
    '[1.0, 2.5, nan]': ['1', '2.5'],
    '[12345678901234567890]': ['12345678901234567890'],
    # NumPy, in CSV files of pandas.
    '[1 2 3]': ['1', '2', '3'],
    '[1 2\n 3]': ['1', '2', '3'],
    '[ 1 22]': ['1', '22'],
    '[1.  2.5]': ['1', '2.5'],
    '[ 1. nan]': ['1'],
    "['a' 'b c']": ['a', 'b c'],
    "['a'\n 'b' None]": ['a', 'b'],
    '[np.int64(1), np.int64(2)]': ['1', '2'],
    "[np.str_('a')]": ['a'],
    # DuckDB.
    '[a, b]': ['a', 'b'],
    '[new york, b]': ['new york', 'b'],
    '[new york]': ['new york'],
    "['it\\'s', NULL, 'NULL', 'a,b']": ["it's", 'NULL', 'a,b'],
}


@pytest.mark.parametrize('text', TEXTS)
def test_lists_that_are_texts(text):
  wanted = TEXTS[text]
  assert read(rows_of(text)) == [wanted, [], [], [], wanted]
  assert read(pa.array(rows_of(text), pa.string_view()))[0] == wanted


@pytest.mark.parametrize('text', [
    '[1, 2', '[', '[1, ]', '[, 1]', '[1,,2]', '[[1], [2]]', '[{"a": 1}]',
    '[hot]|x', "['a]", "[b'a']", '[1 2 ... 8 9]', '[datetime.date(2022, 4, 9)]',
    "['a' b]", "['a', 'b'] x", '[Decimal(1), (2]', '["a"'])
def test_a_text_that_begins_with_a_bracket_and_is_no_list(text):
  with pytest.raises(InputError) as e:
    read(['[1]', None, text])
  assert str(e.value).startswith("log, row 2: column 'a' is ")
  assert 'it must be a list like [1, 2]' in str(e.value)
  # The remedy that the message names.
  assert ':separator=pipe' in str(e.value)
  assert read([text], separator='|') == [[
      p.strip() for p in text.split('|')]]


@pytest.mark.parametrize('values, row', [
    (['[1]', '2|3'], 1), (['2|3', '[1]'], 0), (['', 'x', '[1]'], 1)])
def test_all_texts_of_a_column_are_such_lists_or_none(values, row):
  message = rf'row {row}: .*a list in \[ and \], as'
  with pytest.raises(InputError, match=message):
    read(values)


WORDS = st.text('ab1. ,|[]\'"\\\näé', max_size=4)


@settings(max_examples=60)
@given(st.lists(st.lists(WORDS, max_size=4), max_size=4))
def test_json_and_python(rows):
  """Whatever is in the entries."""
  wanted = read(pa.array(rows, pa.list_(pa.string())))
  assert read(pa.array([json.dumps(r) for r in rows], pa.string())) == wanted
  assert read(pa.array([str(r) for r in rows], pa.string())) == wanted


@settings(max_examples=60)
@given(st.lists(st.lists(WORDS, min_size=1, max_size=4), max_size=4))
def test_numpy(rows):
  wanted = read(pa.array(rows, pa.list_(pa.string())))
  texts = [str(np.array(r, object)) for r in rows]
  assert read(pa.array(texts, pa.string())) == wanted


@settings(max_examples=40)
@given(st.lists(st.lists(st.integers(-99, 99), max_size=60), max_size=4))
def test_numpys_numbers(rows):
  wanted = [[str(v) for v in r] for r in rows]
  for form in (np.array, lambda r: np.array(r, float), list):
    result = read(pa.array([str(form(r)) for r in rows], pa.string()), 60)
    assert result == wanted


def test_what_pandas_and_duckdb_write(tmp_path):
  pandas = pytest.importorskip('pandas')
  duckdb = pytest.importorskip('duckdb')
  from pyarrow import csv

  rows = pa.table({
      'words': [["it's", 'a b', 'x"y', 'c,d', 'NULL', '[z]'], [], None, ['q']],
      'numbers': [[1, 22], [], None, [-3]]})
  wanted = {n: read(rows[n]) for n in rows.column_names}
  with duckdb.connect() as connection:
    connection.register('rows', rows)
    connection.execute(f"COPY rows TO '{tmp_path}/duckdb.csv'")
  rows.to_pandas().to_csv(tmp_path / 'numpy.csv')
  pandas.DataFrame(rows.to_pydict()).to_csv(tmp_path / 'python.csv')
  for name in ('duckdb', 'numpy', 'python'):
    result = csv.read_csv(
        tmp_path / f'{name}.csv',
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=True))
    for column in wanted:
      assert read(result[column]) == wanted[column], (name, column)


@pytest.mark.parametrize('separator', ['^', ' ', ',', '\t', '\x01', '||', ']['])
def test_separators(separator):
  values = [separator.join(['x', '1.0', '', 'y']), '', None, 'x', '[x']
  assert read(values, separator=separator) == [
      ['x', '1', 'y'], [], [], ['x'], ['[x']]
  assert read([['x'], []], separator=separator) == [['x'], []]


# The same weights in other forms; `max_len` 2 leaves the lightest out.
WEIGHTED = {
    'texts': (['a:0.5|b:2|c:1', '', 'd:1e-3'], {}),
    'separators': (['a=0.5^b=2^c=1', None, 'd=.001'], dict(
        separator='^', weights='=')),
    'colons in entries': (['a:.5|b:2|c: 1.0 |:3', '', 'd:0.001'], {}),
    'lists': ([['a:0.5', 'b:2', 'c:1', None], [], ['d:0.001']], {}),
    'json': (['["a:0.5", "b:2", "c:1"]', '[]', '["d:0.001"]'], {}),
    'maps': (pa.array(
        [[('a', .5), ('b', 2), ('c', 1)], None, [('d', 1e-3)]],
        pa.map_(pa.string(), pa.float64())), {}),
    'maps of float32': (pa.array(
        [[('a', .5), ('b', 2), ('c', 1)], [], [('d', 1e-3)]],
        pa.map_(pa.large_string(), pa.float32())).slice(0), {}),
    'pairs': (pa.array(
        [[{'x': 'a', 'y': .5}, {'x': 'b', 'y': 2}, {'x': 'c', 'y': 1}, None],
         [], [{'x': 'd', 'y': 1e-3}]]), {}),
}


@pytest.mark.parametrize('case', WEIGHTED)
def test_weights(case):
  values, options = WEIGHTED[case]
  options = dict(weights=':') | options
  heavy = [('b', 2), ('c', 1)]
  assert read(values, **options) == [[*heavy, ('a', 0.5)], [], [('d', 0.001)]]
  assert read(values, 2, **options) == [heavy, [], [('d', 0.001)]]


def test_equal_weights_stay_in_order():
  assert read(['b:1|a:1|c:1|a:2'], 3, weights=':') == [
      [('a', 2), ('b', 1), ('a', 1)]]


@pytest.mark.parametrize('values, must', [
    (['a:1', 'b'], "'b'; it must be a pair like 'sport:0.5'"),
    (['a:1', 'b:'], "'b:'; it must be a pair like 'sport:0.5'"),
    (['a:1', 'b:x'], "'x'; it must be a number"),
    (['a:1', 'b:inf'], 'inf; it must be finite'),
    (['a:1', 'b:1e39'], "'1e39'; it must be at most 3.4028235e38"),
    (['a:1', 'c:1|b:-1'], "'b:-1'; .* with a weight of at least 0"),
    ([[], [1, 2]], "1; it must be a pair like 'sport:0.5'"),
])
def test_what_is_no_weight(values, must):
  with pytest.raises(InputError, match=f"log, row 1: column 'a' is {must}"):
    read(values, weights=':')


def test_pairs_without_weights_are_no_entries():
  pairs = pa.array([[('a', 1.0)]], pa.map_(pa.string(), pa.float64()))
  with pytest.raises(InputError, match="row 0: column 'a' is .*one value"):
    read(pairs)

"""The form of CSV files: what options mean and which are refused."""

from esmm_jax.data.csv_files.dialect import DEFAULT, Dialect
from esmm_jax.types import InputError
import pytest

# Options and what they are refused with.
WRONG = {
    'two characters': (dict(separator='||'), "separator is '||'; it must"),
    'a letter': (dict(separator='t'), 'separator is .t.; it must be one ASCII'),
    'a digit': (dict(separator='0'), 'separator is .0.; it must be one ASCII'),
    'a line break': (dict(separator='\n'), 'separator is .* one ASCII'),
    'a zero byte': (dict(separator='\\x00'), 'separator is .* one ASCII'),
    'no ASCII': (dict(separator='¦'), 'separator is .¦.; it must be one ASCII'),
    'a long quote': (dict(quote='""'), "quote is '\"\"'; it must be one ASCII"),
    'one for both': (
        dict(separator=';', quote=';'), 'dataset.quote and dataset.separator'
        " are both ';'; they must differ"),
    'the quote is the comma': (dict(quote=','), "are both ','; they must"),
    'tabs for both': (dict(separator='tab', quote='\\t'), 'they must differ'),
    'unknown codec': (
        dict(encoding='utf9'), "dataset.encoding is 'utf9', which is no"),
    'codec of bytes': (dict(encoding='base64'), 'no encoding of texts'),
    'codec with a zero byte': (dict(encoding='a\0'), 'no encoding of texts'),
    'a name twice': (dict(header='a,b,a'), "dataset.header names 'a' twice"),
    'an open quote': (dict(header='"a,b'), 'dataset.header: .* quote " is not'),
    'format': (dict(format='xml'), "dataset.format is 'xml', which is not"),
}


@pytest.mark.parametrize('case', WRONG)
def test_options_that_cannot_be(case):
  options, message = WRONG[case]
  with pytest.raises(InputError, match=message.replace('||', r'\|\|')):
    Dialect(**options)
  flags = message.replace('dataset.', '--').replace('||', r'\|\|')
  with pytest.raises(InputError, match=flags):
    Dialect.read(options, prefix='--')


@pytest.mark.parametrize('text, separator', [
    ('', ','), (';', ';'), ('|', '|'), ('tab', '\t'), ('TAB', '\t'),
    ('\t', '\t'), ('\\t', '\t'), ('\\x01', '\x01'), ('\\001', '\x01'),
    ('\x01', '\x01'), ('space', ' '), (' ', ' '), ('^', '^'), ('\\', '\\')])
def test_separators(text, separator):
  assert Dialect(separator=text).separator_of('a.csv') == separator


def test_a_tsv_file_has_tabs_unless_it_is_said():
  assert DEFAULT.separator_of('A.TSV') == '\t'
  assert Dialect(separator=',').separator_of('a.tsv') == ','


def test_what_is_read_of_a_config():
  dialect = Dialect.read(
      {'header': None, 'null_values': 'NA, "a,b",\\N', 'encoding': 'GBK',
       'quote': 'none', 'files': 'x.csv'})
  assert dialect.nulls == ['NA', 'a,b', '\\N']
  assert (dialect.codec, dialect.quote_mark) == ('gbk', '')
  assert dialect.has_header and dialect.options == {
      'null_values': 'NA, "a,b",\\N', 'encoding': 'GBK', 'quote': 'none'}
  assert Dialect(header='a,"b, c"').header_names == ['a', 'b, c']
  assert not Dialect(header='none').has_header

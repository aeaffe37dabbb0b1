"""The words for what the histories of runs know."""

from esmm_jax import histories
from esmm_jax.data.history import language, specs
import pytest

LIVE, HOUR = 'live, delay 10m, sessions', 'live, delay 1h'


@pytest.mark.parametrize('text, words', [
    ('', ''),
    ('user,video:delay=2d', 'nightly'),
    ('user:delay=10m,session=user', LIVE),
    ('user,video:delay=1h', HOUR),
    ('session=user', 'live, sessions'),
])
def test_the_protocols_of_the_language_are_known(text, words):
  history = specs.protocol(language.parse(text))
  assert history == words
  assert histories.is_live(history) == ('live' in words)
  assert histories.of_run({'history': words}, None) == words
  meaning = histories.meaning(history)
  assert ('labels of the test days' in meaning) == ('delay' in words)
  assert bool(meaning) == bool(words)


@pytest.mark.parametrize('results, dataset, words', [
    (None, {}, ''),
    ({}, {'name': 'kuairand', 'history': None}, ''),
    ({}, {'name': 'kuairand', 'history': False, 'history_live': True}, ''),
    ({}, {'name': 'kuairand', 'history': True}, 'nightly'),
    (None, {'name': 'kuairand', 'history': True, 'history_live': False},
     'nightly'),
    ({}, {'name': 'kuairand', 'history': True, 'history_live': True},
     'live, delay 1d'),
    ({'history': LIVE}, {'name': 'kuairand', 'history': True}, LIVE),
    ({'history': HOUR}, {'name': 'tabular', 'history': 'user:delay=1h'}, HOUR),
    # A column of Ali-CCP has that name too.
    ({}, {'name': 'ali_ccp', 'history_length': 4}, ''),
])
def test_runs_of_earlier_versions(results, dataset, words):
  assert histories.of_run(results, {'dataset': dataset}) == words
  assert histories.of_run(results, None) == (results or {}).get('history', '')


@pytest.mark.parametrize('several, line', [
    ([], ''),
    (['nightly', 'nightly'], ''),
    (['', 'nightly'], ''),
    ([LIVE, LIVE], ''),
    (['nightly', 'nightly', LIVE],
     f'Rows 1-2 are nightly; row 3 is {LIVE}: it knows labels of the test'
     ' days.'),
    ([HOUR, '', LIVE, HOUR, HOUR],
     f'Rows 1, 4-5 are {HOUR}: they know labels of the test days; row 2 has no'
     f' history; row 3 is {LIVE}: it knows labels of the test days.'),
    (['', '', 'live, sessions'],
     'Rows 1-2 have no history; row 3 is live, sessions: it knows times of'
     ' other rows of the test days, and no labels.'),
])
def test_a_comparison_of_both_protocols_is_told(several, line):
  end = ' Do not compare them with each other.' if line else ''
  assert histories.comparison(several) == line + end


def test_names_in_place_of_numbers():
  line = histories.comparison(['nightly', HOUR], ['a', 'b'], 'run')
  assert line.startswith('Run a is nightly; run b is live, delay 1h: it knows')


def test_joined():
  assert histories.joined([]) == '' == histories.joined(['', ''])
  assert histories.joined([LIVE, LIVE]) == LIVE
  assert histories.joined(['', 'nightly']) == 'no history and nightly'

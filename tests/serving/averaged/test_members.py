"""The runs that a text names: commas, quotes, rows of a sweep, groups."""

import json
import os
import pathlib

from esmm_jax.serving import members
from esmm_jax.types import InputError
import pytest


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
  """Folders, some with odd names, in the one where the text is typed."""
  monkeypatch.chdir(tmp_path)
  for name in ('a', 'b', 'c', 'x,y', "it's", 'a b', 'p:q', 'w[1]', 'deep/d'):
    os.makedirs(name)
  return tmp_path


TEXTS = {
    'a': ['a'],
    'a,b': ['a', 'b'],
    ' a , b ': ['a', 'b'],
    'a,b,c': ['a', 'b', 'c'],
    './a,deep/d': ['./a', 'deep/d'],
    'x,y': ['x,y'],
    '"x,y",a': ['x,y', 'a'],
    "a,'x,y'": ['a', 'x,y'],
    '"x,y"': ['x,y'],
    "it's": ["it's"],
    "a,it's": ['a', "it's"],
    'a b,b': ['a b', 'b'],
    'p:q,a': ['p:q', 'a'],
    'w[1],a': ['w[1]', 'a'],
    'no run': ['no run'],
    'a,no run': ['a', 'no run'],
    '"a ""b""",a': ['a "b"', 'a'],
    'a/,b/': ['a/', 'b/'],
}


@pytest.mark.parametrize('text', TEXTS)
def test_texts(text):
  assert members.folders(text) == TEXTS[text]


def test_paths():
  """`~` and `file://` in each of them; what is no text is taken as it is."""
  home, root = os.path.expanduser('~'), os.getcwd()
  assert members.folders('~/r,~/s') == [f'{home}/r', f'{home}/s']
  assert members.folders(f'file://{root}/a,b') == [f'{root}/a', 'b']
  assert members.folders(pathlib.Path('a')) == ['a']
  assert members.folders([pathlib.Path('a'), 'x,y']) == ['a', 'x,y']
  assert members.folders(('"a"', '~/r')) == ['"a"', f'{home}/r']


REFUSED = {
    'a,': 'there is an empty name between the commas',
    ',a': 'there is an empty name between the commas',
    'a,,b': 'there is an empty name between the commas',
    'a, ,b': 'there is an empty name between the commas',
    '"x,y",': 'there is an empty name between the commas',
    'a,""': 'name at least one run, none empty',
    '': 'name at least one run, none empty',
    'a,"b': 'a quote " is not closed',
    'a,b,a': 'a is there twice; name each run once',
    'a,./a': r'\./a is the same folder as a; name each run once',
    'a,b/../a': 'is the same folder as a',
}


@pytest.mark.parametrize('text', REFUSED)
def test_refused(text):
  with pytest.raises(InputError, match=REFUSED[text]) as e:
    members.folders(text)
  assert '\n' not in str(e.value)


@pytest.mark.parametrize('runs', [[], [''], ['a', '']])
def test_sequences_that_name_no_run(runs):
  with pytest.raises(InputError, match='name at least one run'):
    members.folders(runs)


def test_one_folder_or_several(here, capsys):
  """A folder of the whole name comes first, and says so if it is not clear."""
  os.mkdir('a,b')
  assert members.folders('a,b') == ['a,b']
  assert 'a,b is read as one folder' in capsys.readouterr().err
  assert members.folders('"a",b') == ['a', 'b']
  assert members.folders('x,y') == ['x,y']  # There is no y.
  assert capsys.readouterr().err == ''


def test_a_group_that_is_still_there(here):
  """As after a kill between the last run's end and its removal."""
  os.makedirs('s/groups/0f')
  runs = ['r0', 'r1']
  pathlib.Path('s/groups/0f.json').write_text(json.dumps(runs))
  want = [str(here / 's' / 'runs' / name) for name in runs]
  assert members.folders('s/groups/0f') == want
  assert members.folders('s/groups/0f/') == want
  for other in ({}, [], [1, 2], ['../../a', 'b']):
    pathlib.Path('s/groups/0f.json').write_text(json.dumps(other))
    assert members.folders('s/groups/0f') == ['s/groups/0f']
  os.makedirs('elsewhere/0f')
  pathlib.Path('elsewhere/0f.json').write_text(json.dumps(runs))
  assert members.folders('elsewhere/0f') == ['elsewhere/0f']


def test_the_name_of_a_mean():
  assert members.mean_name(['runs/a/']) == 'a'
  assert members.mean_name(['a', 'b', 'c']) == 'mean of 3'

"""Plugins are imported, or refused in a line that says what to do."""

import sys

from esmm_jax import ESTIMATORS, METRICS
from esmm_jax.plugins import flags, loading, sources
from esmm_jax.training import parts
from esmm_jax.types import InputError
import pytest

# Value -> the names.
VALUES = {
    None: (), '': (), 'a': ('a',), 'a.b,c': ('a.b', 'c'), ' a , b ': ('a', 'b'),
    ('a', 'b'): ('a', 'b'), (): (),
}


@pytest.mark.parametrize('value', VALUES)
def test_names(value):
  assert loading.names(value) == VALUES[value]
  if isinstance(value, tuple):
    assert loading.names(list(value)) == VALUES[value]


@pytest.mark.parametrize('value, part', [
    (5, 'plugins is 5; name modules'),
    ({'a': 1}, 'name modules'),
    (('a', 5), '5 is no name of a module'),
    ('my/module.py', "'my/module.py' is no name"),
    ('my-module', 'is no name'), ('.a', 'is no name'), ('a..b', 'is no name'),
    ('a,,b', "'' is no name"), (('a', 'a'), 'a is named twice'),
    ('antigravity', "'antigravity' is one of Python's own modules; name yours"),
    ('idlelib.idle', "one of Python's own"), ('pip.__main__', "Python's own"),
])
def test_what_are_no_names(value, part):
  with pytest.raises(InputError, match=part):
    loading.names(value)


@pytest.mark.parametrize('text, want', [
    ("('a.b',)", ('a.b',)), ('("a", "b")', ('a', 'b')), ('a.b', ('a.b',)),
    ('a,b', ('a', 'b')), ('', ()), ('()', ()), ('[]', ()), ('None', ()),
    ("['a']", ('a',)), ("'a'", ('a',)), ('(a,)', ('a',)),
])
def test_a_value_on_a_command_line(text, want):
  assert flags.parsed(text) == want


def test_flags_on_a_command_line(alone):
  for name in ('one', 'two'):
    (alone / f'{name}.py').write_text('')
  rest = ['program', '--config=c.py', '--config.estimator=mine', 'x']
  assert flags.from_words(rest) == rest
  for more in (['--config.plugins=one,two'], ['--config.plugins', 'one,two'],
               ["--config.plugins=('one', 'two')"],
               ['--config.plugins=absent', '-config.plugins=one,two']):
    words = flags.from_words([*rest[:2], *more, *rest[2:]])
    assert words == [*rest, "--config.plugins=('one', 'two')"]
  assert {'one', 'two'} <= {*sys.modules}
  with pytest.raises(InputError, match="the module 'absent' is not there"):
    flags.from_words([*rest, '--config.plugins=absent'])
  with pytest.raises(InputError, match="the module 'absent' is not there"):
    flags.from_overrides(['seed=1', 'plugins=one,absent'])


HEAD = 'from esmm_jax import DATASETS, ESTIMATORS, METRICS, MODELS\n'
# Source of a module -> the end of the line about it.
WRONG = {
    'import nothing_such': "line 1: ModuleNotFoundError: No module named"
    " 'nothing_such'. Mend the module.",
    'import esmm_jax.nothing': "line 1: ModuleNotFoundError: No module named"
    " 'esmm_jax.nothing'. Mend the module.",
    'from esmm_jax.types import nothing': 'line 1: ImportError: cannot import',
    'x = 1\nx / 0': 'line 2: ZeroDivisionError: division by zero. Mend the',
    'def f(:': 'line 1: SyntaxError: invalid syntax. Mend the module.',
    'x = "\n': 'line 1: SyntaxError: ',
    'assert False': 'line 1: AssertionError: no reason. Mend the module.',
    'raise ValueError("a\\n  b")': 'line 1: ValueError: a b. Mend the module.',
    'import sys; sys.exit(3)': 'line 1: SystemExit: 3. Mend the module.',
    HEAD + 'METRICS["auc"] = abs': "line 2: METRICS['auc'] is this project's"
    ' own and stays; take another name. Mend the module.',
    HEAD + 'def f(a, b, c, *, tasks, x): pass\n'
    'ESTIMATORS["x"] = ESTIMATORS["unbias"]._replace(terms=f)':
    "line 3: ESTIMATORS['x']: broken.f: option 'x' needs a default and one of",
    HEAD + 'ESTIMATORS["x"] = ESTIMATORS["unbias"]._replace('
    'weights=lambda tasks: {}["y"])': "weights cannot be read: KeyError: 'y'.",
    HEAD + 'ESTIMATORS["x"] = ESTIMATORS["unbias"]._replace('
    'weights=lambda tasks: {})': 'it has no terms for any tasks. Mend the',
    HEAD + 'ESTIMATORS["x"] = abs': 'is no Estimator. Mend the module.',
    HEAD + 'MODELS["x"] = dict': 'is no subclass of Architecture. Mend the',
    HEAD + 'DATASETS["x"] = dict': 'is no subclass of ColumnarBuilder. Mend',
    HEAD + 'DATASETS["x"] = DATASETS["tabular"]': "its name is 'tabular', that",
    HEAD + 'from tests.toy import Toy\nDATASETS["x"] = Toy': 'from_options',
    HEAD + 'METRICS["x"] = 3': '3 is no function of (logits, labels, where). M',
    HEAD + 'METRICS["a/b"] = abs': "METRICS['a/b']: a name has letters",
}


@pytest.mark.parametrize('source', WRONG)
def test_a_module_that_cannot_be_imported(alone, source):
  (alone / 'broken.py').write_text(source)
  with pytest.raises(InputError) as error:
    loading.load(('broken',), 'runs/mine')
  text = str(error.value)
  assert text.startswith(
      "plugins: the module 'broken', which runs/mine needs, cannot be"
      ' imported: broken.py, line ')
  assert WRONG[source] in text and '\n' not in text
  # Mended, it is imported.
  (alone / 'broken.py').write_text('# And longer than before it was mended' * 9)
  assert loading.load(('broken',))
  assert not loading.load(('broken',))


@pytest.mark.parametrize('module, part', [
    ('nothing_such', "the module 'nothing_such' is not there. Run from the"
     ' folder that holds nothing_such, or add that folder to PYTHONPATH.'),
    ('nothing_such.b', "not there (there is no 'nothing_such'). Run from the"),
    ('flax.nothing', "the module 'flax.nothing' is not there. Run from"),
    ('flax.linen.a', "'flax.linen.a' is not there"),
])
def test_a_module_that_is_not_there(module, part):
  with pytest.raises(InputError, match='^plugins: ') as error:
    loading.load((module,))
  assert part in str(error.value)


def test_two_plugins_with_one_name(alone):
  for name in ('one', 'two'):
    (alone / f'{name}.py').write_text(f'{HEAD}METRICS["x"] = METRICS["auc"]')
  with pytest.raises(
      InputError,
      match=r"'two' cannot be imported: two.py, line 2: METRICS\['x'\] is that"
      ' of the module one already; two takes another name.'):
    loading.load(('one', 'two'))


def test_a_name_of_a_plugin_that_the_config_does_not_name(alone, capsys):
  (alone / 'one.py').write_text(
      f'{HEAD}ESTIMATORS["mine"] = ESTIMATORS["click_space"]')
  find = lambda name: parts.named(ESTIMATORS, name, 'estimator')
  with pytest.raises(InputError, match="estimator is 'mine', which is not kno"):
    find('mine')
  loading.use({'plugins': ['one']})
  assert find('mine') is ESTIMATORS['click_space'] is find('click_space')
  loading.use({'plugins': []})
  with pytest.raises(
      InputError, match="estimator is 'mine', which is of the plugin one, and"
      r" this config does not name that; set plugins=\('one',\)."):
    find('mine')
  assert capsys.readouterr().err == ''
  ESTIMATORS['by_hand'] = ESTIMATORS['click_space']
  assert find('by_hand') and find('by_hand')
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(
      f"warning: estimator is 'by_hand', which {__name__} added to this process"
      ' alone')


# Of a plugin a.b: files, and whether they belong to it.
FILES = {
    'a/__init__.py': ('from a.c import *\nimport json, numpy\n', True),
    'a/b.py': ('from . import d\nimport e\n'
               'def f():\n  from .sub.deep import x\n', True),
    'a/c.py': ('', True),
    'a/d.py': ('import e', True),
    'a/sub/__init__.py': ('', True),
    'a/sub/deep.py': ('x = 1', True),
    'a/unused.py': ('', False),
    'e.py': ('import esmm_jax.types, configs.common', True),
    'f.py': ('', False),
    'configs/common.py': ('', False),
}


def test_the_files_of_a_plugin(alone):
  for path, (text, _) in FILES.items():
    (alone / path).parent.mkdir(parents=True, exist_ok=True)
    (alone / path).write_text(text)
  loading.load('a.b')
  got = {
      path.removeprefix(f'{alone}/') for path in sources.files('a.b').values()}
  assert got == {path for path, (_, belongs) in FILES.items() if belongs}
  before = sources.checksum('a.b')
  assert before == sources.checksum('a.b') and len(before) == 64
  for path, (_, belongs) in FILES.items():
    text = (alone / path).read_text()
    (alone / path).write_text(f'{text}\n# changed')
    assert (sources.checksum('a.b') != before) is belongs, path
    (alone / path).write_text(text)
  assert sources.checksum('a.b') == before


def test_an_installed_plugin_is_its_own_package(alone, monkeypatch):
  """What lies beside it among installed packages is no part of it."""
  installed = alone / 'site-packages'
  (installed / 'a').mkdir(parents=True)
  (installed / 'a' / '__init__.py').write_text('import e')
  (installed / 'a' / 'b.py').write_text('import e')
  (installed / 'e.py').write_text('')
  monkeypatch.syspath_prepend(str(installed))
  loading.load('a.b')
  assert {*sources.files('a.b')} == {'a', 'a.b'}


def test_a_module_without_source(alone):
  """A package without __init__.py, say."""
  (alone / 'bare').mkdir()
  loading.load('bare')
  assert (sources.files('bare'), sources.checksum('bare')) == ({}, '')
  assert loading.versions({'plugins': ['bare']}) == {
      'plugin bare': 'sha256 unknown'}


def test_a_source_that_has_changed(alone, capsys):
  (alone / 'one.py').write_text('')
  config = {'plugins': ['one']}
  loading.use(config)
  (key, now), = loading.versions(config).items()
  assert key == 'plugin one' and now.startswith('sha256 ') and len(now) == 23
  # What is imported counts, not what the file holds by now.
  (alone / 'one.py').write_text('# changed')
  assert loading.versions(config) == {key: now}
  loading.compare('runs/a', {key: now}, config)
  loading.compare('runs/a', {}, config)
  assert capsys.readouterr().err == ''
  for _ in range(2):
    loading.compare('runs/a', {key: 'sha256 0123'}, config)
  assert capsys.readouterr().err.splitlines() == [
      'warning: runs/a was trained with the plugin one of sha256 0123, and here'
      f' it has {now}: its source has changed, and numbers may differ.']


def test_numbers_are_shown_without_the_plugin(alone, capsys):
  for _ in range(2):
    loading.try_to_load({'plugins': ['absent']}, 'runs/a')
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(
      "warning: plugins: the module 'absent', which runs/a needs, is not there")
  for config in (None, [], {}, {'plugins': None}):
    loading.try_to_load(config, 'runs/a')
  (alone / 'one.py').write_text(f'{HEAD}METRICS["x"] = METRICS["auc"]')
  loading.try_to_load({'plugins': ['one']}, 'runs/a')
  assert 'x' in METRICS
  assert capsys.readouterr().err == ''

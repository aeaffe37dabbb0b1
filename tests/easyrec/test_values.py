"""Values of a wrong kind are refused with their line, and what is written is
a config that a run takes."""

import ast
import os
import re
import runpy

from esmm_jax.easyrec import convert
from esmm_jax.types import InputError
import pytest

from experiments import import_easyrec, load
from experiments.sweeping import checks
from tests.easyrec import easyrec_configs, test_forms
from tests.parallel import forking

CONFIGS = {n: easyrec_configs.config(n) for n in easyrec_configs.MODELS}
CONFIGS |= {n: form[0] for n, form in test_forms.FORMS.items()}
VALUES = [
    'nan', 'inf', '-inf', '-1', '0', '3', '1e30', '1e-40', '8.0', "'text'",
    'true', '{}', '{ a: 1 }', '', '[]', '[%s, %s]', '99999999999999999999',
    r"""'a"\"\"\nb'""",
]
_SCALAR = re.compile(r"[\w\]]\s*:\s*(\"[^\"]*\"|'[^']*'|-?[\w.+-]+)")


def changed(text):
  """Yields the text with each of its values in turn another one."""
  for place in _SCALAR.finditer(re.sub('#.*', lambda m: ' ' * len(m[0]), text)):
    old = place[1]
    for value in VALUES:
      new = value.replace('%s', old)
      yield text[:place.start(1)] + new + text[place.end(1):]


def outcome(text, folder):
  """The error of a config, or '' where one is written that a run takes."""
  try:
    _, written = import_easyrec.checked(text, 'in.config', 'out.py')
  except InputError as e:
    assert '\n' not in str(e)
    return str(e)
  path = os.path.join(folder, 'out.py')
  with open(path, 'w', encoding='utf-8') as f:
    f.write(written)
  checks.run_keys(load.config(path), folder, {})
  return ''


# A prime number of values apart, so that each value meets each kind of field.
@pytest.mark.parametrize('name, every', [
    ('ESMM', 37), ('mmoe', 37),
    *(pytest.param(n, 1, marks=pytest.mark.long) for n in CONFIGS)])
def test_any_value_of_any_field(name, every, tmp_path):
  said = [
      outcome(text, str(tmp_path))
      for text in list(changed(CONFIGS[name]))[::every]]
  refused = [text for text in said if text]
  assert 5 < len(refused) < len(said) - 5
  lines = [text for text in refused if re.search(r'line \d', text)]
  assert len(lines) >= 0.95 * len(refused)


WRONG = {
    'initial_learning_rate: 0.01': [
        ('nan', 'line 8: initial_learning_rate is nan; it must be a number in'),
        ('0', 'line 8: initial_learning_rate is 0; it must be a number in (0,'),
        ('-1', 'initial_learning_rate is -1'), ('{}', 'is a message; it must')],
    'decay_factor: 0.5': [('-0.5', 'line 8: decay_factor is -0.5')],
    'beta1: 0.8': [('1', 'line 10: beta1 is 1; it must be a number in [0, 1)')],
    'num_steps: 100': [('1.5', 'line 11: num_steps is 1.5; it must be')],
    'batch_size: 64': [
        ('0', 'line 18: batch_size is 0; it must be a whole number in [1,'),
        ('inf', 'line 18: batch_size is inf'), ("'x'", "batch_size is 'x'")],
    "input_names: 'user'": [
        ('5', 'line 21: input_names is 5; it must be a text')],
    'hash_bucket_size: 100': [
        ('1e30', 'line 22: hash_bucket_size is 1e+30; it must be a whole'),
        ('true', 'line 22: hash_bucket_size is True')],
    'weight: 2.0': [('nan', 'weight is nan')],
    'label_fields: ': [('7, ', 'line 17: label_fields is 7')],
    "group_name: 'who'": [('{}', 'group_name is a message; it must be a text')],
}


@pytest.mark.parametrize('field', WRONG)
def test_the_line_says_what_it_must_be(field):
  key = field.partition(':')[0]
  for value, message in WRONG[field]:
    text = CONFIGS['ESMM'].replace(field, f'{key}: {value} ', 1)
    if key == 'label_fields':
      text = CONFIGS['ESMM'].replace("['bought'", "[7, 'bought'", 1)
    with pytest.raises(InputError, match=re.escape(message)):
      convert(text)


def test_whole_numbers_with_a_point_are_whole():
  text = CONFIGS['ESMM'].replace('embedding_dim: 8', 'embedding_dim: 8.0')
  size = convert(text).settings['model.embed_dim']
  assert size == 8 and isinstance(size, int)


@pytest.mark.parametrize('steps', ['0', '1'])
def test_a_rate_that_falls_at_once(steps):
  text = CONFIGS['ESMM'].replace('decay_steps: 50', f'decay_steps: {steps}')
  settings = convert(text).settings
  assert 0 < settings['schedule.end_factor'] < 1e-2


def test_a_rate_that_grows_is_told():
  text = CONFIGS['ESMM'].replace('decay_factor: 0.5', 'decay_factor: 1e30')
  text = text.replace('decay_steps: 50', 'decay_steps: 1')
  converted = convert(text)
  assert 'schedule.name' not in converted.settings
  assert 'lets the rate grow there' in '\n'.join(converted.notes)


def test_nested_without_end():
  with pytest.raises(InputError, match='nested too deeply'):
    convert('a { ' * 100_000)


NAMES = [
    'a"""\nimport os; os.mkdir("PWNED")\n"""', 'a\\', 'a\\"""', '"', '"""',
    "'''", 'a\x1b]0;x\x07',
    'a\r\nprint(1)', '\\N{x}', '\\x', 'a\u2028b', '%s{0}',
]


@pytest.mark.parametrize('name', NAMES, ids=ascii)
def test_a_name_stays_in_the_docstring(name, tmp_path, monkeypatch):
  """Of the file, of the config to write, of a feature that is left out."""
  monkeypatch.chdir(tmp_path)
  plain = name.replace('/', '').replace('\n', ' ').replace('\r', ' ')
  odd = plain.replace('\\', '\\\\').replace("'", "\\'")
  text = CONFIGS['ESMM'].replace("input_names: 'idle'", f"input_names: '{odd}'")
  _, written = import_easyrec.checked(text, name, f'{name}.py')
  module = ast.parse(written)
  kinds = [type(node).__name__ for node in module.body]
  assert kinds == ['Expr', 'ImportFrom', 'FunctionDef']
  assert 'line 29: ' in ast.get_docstring(module)
  assert not set('\x1b\x07\r\u2028') & set(written)
  (tmp_path / 'out.py').write_text(written)
  namespace = runpy.run_path(str(tmp_path / 'out.py'))
  assert namespace['get_config']().batch_size == 64
  assert os.listdir(tmp_path) == ['out.py']


@pytest.mark.slow
def test_nothing_is_written_of_what_a_run_refuses(tmp_path):
  text = CONFIGS['ESMM']
  text = text.replace("label_name: 'clicked'", "label_name: 'bought'")
  (tmp_path / 'in.config').write_text(text)
  with forking.Program('experiments.import_easyrec') as program:
    done = program.run(
        f'--input={tmp_path}/in.config', f'--output={tmp_path}/out.py')
  assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
  assert 'what is to be written would be refused: The labels' in done.stderr
  assert os.listdir(tmp_path) == ['in.config']

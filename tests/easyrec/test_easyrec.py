"""EasyRec's pipeline configs become configs that train."""

import os
import re
import runpy

from esmm_jax.easyrec import convert
from esmm_jax.easyrec.text_proto import Message, parse, Word
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import flatten
from hypothesis import given, strategies as st
from pyarrow import csv
import pytest

from configs import common
from experiments import load
from tests import ROOT
from tests.data.tabular import test_tabular
from tests.easyrec import easyrec_configs
from tests.parallel import forking

COMMON = {
    'dataset.files': 'log.csv', 'dataset.split': 'files',
    'dataset.test_files': 'later.csv', 'dataset.click': 'clicked',
    'dataset.conversion': 'bought', 'dataset.valid_split': '',
    'dataset.id': 'user:max_values=100,item:max_values=50',
    'dataset.ids': 'tags:max_values=10:combiner=sum',
    'dataset.float': 'price', 'dataset.min_count': 1,
    'dataset.crosses': 'user*item',
    'selection.metric': '', 'batch_size': 64, 'num_epochs': 2,
    'optimizer.name': 'adam', 'optimizer.b1': 0.8, 'optimizer.b2': 0.999,
    'learning_rate': 0.01,
    'schedule.name': 'exponential', 'schedule.end_factor': 0.25,
    'model.embed_dim': 8,
}
OWN = {
    'ESMM': ('esmm', {
        'dataset.conversion_without_click': 'keep',
        'estimator': 'entire_space', 'loss_weights.ctr': 1.0,
        'loss_weights.ctcvr': 2.0, 'model.tower_units': (8, 4),
        'model.groups': (
            ('user',), ('item', 'tags', 'price', 'user_x_item')),
        'model.group_units': (16, 8), 'model.norm': 'none',
        'model.dropout': 0.0, 'model.activation': 'relu',
        'tower_l2': 1e-4 / 64, 'embedding_l2': 1e-6}),
    'MMoE': ('mmoe', {
        'dataset.conversion_without_click': 'keep',
        'estimator': 'click_space', 'loss_weights.ctr': 0.5,
        'loss_weights.cvr_clicked': 3.0, 'model.tower_units': (8, 4),
        'model.num_experts': 3, 'model.expert_units': (16,),
        'model.norm': 'none', 'model.dropout': 0.0, 'model.activation': 'relu',
        'tower_l2': 1e-4, 'embedding_l2': 6.4e-5}),
    'PLE': ('ple', {
        'estimator': 'end_to_end', 'loss_weights.ctr': 0.5,
        'loss_weights.ctcvr': 1.0, 'loss_weights.calibrator': 0.0,
        'model.tower_units': (4,), 'model.levels': 2,
        'model.num_task_experts': 2, 'model.num_shared_experts': 1,
        'model.expert_units': (8,), 'model.norm': 'batch',
        'model.dropout': 0.0, 'model.activation': 'leaky_relu',
        'tower_l2': 1e-4, 'embedding_l2': 6.4e-5}),
    'DBMTL': ('dbmtl', {
        'estimator': 'end_to_end', 'loss_weights.ctr': 0.5,
        'loss_weights.ctcvr': 1.0, 'loss_weights.calibrator': 0.0,
        'model.tower_units': (8,), 'model.shared_units': (12,),
        'model.num_experts': 2, 'model.expert_units': (8,),
        'model.relations': ('ctr -> cvr',), 'model.relation_units': (4,),
        'model.norm': 'batch', 'model.dropout': 0.0,
        'model.activation': 'relu', 'tower_l2': 1e-4,
        'embedding_l2': 6.4e-5}),
}


@pytest.mark.parametrize('name', OWN)
def test_settings(name):
  found = convert(easyrec_configs.config(name))
  base, own = OWN[name]
  assert found.base == base
  assert found.settings.keys() == (COMMON | own).keys()
  for key, value in (COMMON | own).items():
    if isinstance(value, float):
      value = pytest.approx(value)
    assert found.settings[key] == value, key
  notes = '\n'.join(found.notes)
  for part in (
      'line 5: num_steps: a run has whole epochs', 'to 0.25 of it',
      'cross: stands under the name user_x_item',
      'idle: is in no feature group', 'embedding_regularization'):
    assert part in notes
  assert ('sum over the batch' in notes) == (name == 'ESMM')
  assert ('task space this tower' in notes) == (name in ('PLE', 'DBMTL'))
  assert ('dropout_ratio: 0.0, 0.2 became' in notes) == (name == 'MMoE')


@pytest.fixture(scope='module')
def program():
  with forking.Program('experiments.import_easyrec') as program:
    yield program


@pytest.mark.slow
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize('name', [
    n if n == 'ESMM' else pytest.param(n, marks=pytest.mark.long)
    for n in OWN])
def test_the_file_trains(name, program, tmp_path):
  log = test_tabular.many(1200)
  tags = ['a|b' if k % 3 else '' for k in range(len(log))]
  for column in (('tags', [tags]), ('price', [[0.5, 1.0, 2.0] * 400])):
    log = log.append_column(*column)
  paths = [str(tmp_path / f'{k}.csv') for k in range(2)]
  for k, path in enumerate(paths):
    csv.write_csv(log.slice(600 * k, 600), path)
  (tmp_path / 'in.config').write_text(easyrec_configs.config(name, *paths))
  output = str(tmp_path / 'out.py')
  flags = (f'--input={tmp_path}/in.config', f'--output={output}')
  done = program.run(*flags)
  assert done.returncode == 0, done.stderr
  assert 'user_x_item' in done.stdout
  assert 'user_x_item' in (tmp_path / 'out.py').read_text()
  config = load.config(output)
  results = train_and_evaluate(
      config, str(tmp_path / 'run'), str(tmp_path / 'data'))
  assert 0.4 < results['test/ctr/auc'] < 1 and results['steps'] == 20
  assert 'exists. Name another' in program.run(*flags).stderr


WRONG = {
    'another model': (('model_class: \'ESMM\'', 'model_class: \'DeepFM\''),
                      r"model_class is 'DeepFM'; of EasyRec's models ESMM"),
    'no such group': (("input: 'who'", "input: 'wo'"),
                      r"line 38: 'wo' is no feature group.*'who'\?"),
    'no such feature': (("feature_names: 'user'", "feature_names: 'usr'"),
                        "'usr' is no feature"),
    'no label': (("label_name: 'clicked'", ''), 'line 41: a tower has no'),
    'a text for a number': (
        ('batch_size: 64', "batch_size: 'x'"),
        "line 18: batch_size is 'x'; it must be a whole number"),
    'a number for a switch': (
        ('with_header: true', 'with_header: 3'),
        'line 18: with_header is 3; it must be true or false'),
    'cut off': (('l2_regularization: 1e-4\n  }\n}', ''),
                "the end is found where a field of what begins in line 37, or"
                " '}'"),
    'odd': (('batch_size: 64', 'batch_size = 64'), "line 18: ['=']"),
    'no value': (('batch_size: 64', 'batch_size: }'), 'size has no value'),
    'list': (("['bought', 'clicked']", "['bought' 'x' 3]"),
             'the list of label_fields has no , or ]'),
}


@pytest.mark.parametrize('case', WRONG)
def test_wrong_configs(case):
  (before, after), message = WRONG[case]
  text = easyrec_configs.config('ESMM')
  assert before in text
  if case == 'no label':
    text = text.replace("label_fields: ['bought', 'clicked']", '')
  if case == 'odd':
    message = re.escape(message)
  with pytest.raises(InputError, match=message):
    convert(text.replace(before, after, 1))


def test_three_tasks_are_refused():
  text = easyrec_configs.config('MMoE').replace(
      'num_expert: 3', "num_expert: 3 task_towers { label_name: 'x' }")
  with pytest.raises(InputError, match='has 3 task_towers'):
    convert(text)


@pytest.mark.parametrize('more, note', [
    ('foo { bar: 1 }', 'line 31: model_config.foo: {...} is not carried over'),
    ('use_embedding_variable: true', 'use_embedding_variable: True is not'),
])
def test_what_is_not_known_is_named(more, note):
  text = easyrec_configs.config('ESMM')
  text = text.replace('model_config {', 'model_config { ' + more)
  assert note in '\n'.join(convert(text).notes)


# The text form.


def test_the_text_form():
  found = parse(
      'a: 1  # one\nb { c: "x" \'y\\n\' d: [1, 2.5e-3, -inf], }\n'
      'm: "\\001|\\x1d|\\t|\\\\|\\1" n [{ o: 1 }, { o: 2 }]\n'
      'e: <f: A>; g: true, h: 0x1F a: -2 i: [] j { } k: 1.5f l: .5')
  assert found.all('a') == [1, -2] and found.get('a') == -2
  inside = found.message('b')
  assert inside.get('c') == 'xy\n'
  assert inside.all('d') == [1, 2.5e-3, Word('-inf')]
  assert found.message('e').get('f') == Word('A')
  assert found.get('g') is True and found.get('h') == 31
  assert found.all('i') == []
  # Control characters, which separate fields and entries.
  assert found.get('m') == '\x01|\x1d|\t|\\|\x01'
  assert [n.get('o') for n in found.messages('n')] == [1, 2]
  assert found.get('k') == 1.5 and found.get('l') == 0.5
  assert list(found.unused()) == [('j', 4, found.fields[-3].value)]


NAMES = st.from_regex(r'[a-z_][a-z0-9_]{0,8}', fullmatch=True)
SCALARS = (
    st.integers(-(2**63), 2**63) | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text('abc \'"\\#{}[]:,;\n\tü', max_size=8)
    | NAMES.filter(lambda n: n not in ('true', 'false')).map(Word))
MESSAGES = st.recursive(
    st.lists(st.tuples(NAMES, SCALARS), max_size=4),
    lambda inside: st.lists(st.tuples(NAMES, SCALARS | inside), max_size=4),
    max_leaves=12)


def written(fields, draw):
  parts = []
  for name, value in fields:
    if isinstance(value, list):
      left, right = draw(st.sampled_from(['{}', '<>']))
      colon = draw(st.sampled_from([':', '']))
      parts.append(f'{name}{colon} {left}\n{written(value, draw)} {right}')
    elif isinstance(value, bool):
      parts.append(f'{name}: {str(value).lower()}')
    elif isinstance(value, str) and not isinstance(value, Word):
      text = value.replace('\\', '\\\\').replace('"', '\\"')
      text = text.replace('\n', '\\n').replace('\t', '\\t')
      parts.append(f'{name}:"{text}"')
    else:
      parts.append(f'{name} : {value!s}')
  return draw(st.sampled_from(['\n', ' ', ' # x\n'])).join(parts)


@given(MESSAGES, st.data())
def test_what_is_written_is_read(fields, data):
  def tree(message):
    return [
        (f.name, tree(f.value) if isinstance(f.value, Message) else f.value)
        for f in message.fields]

  assert tree(parse(written(fields, data.draw))) == fields


@given(st.text('ab1{}<>[]:,;"\'#\n -.', max_size=30))
def test_anything_is_read_or_refused(text):
  try:
    assert isinstance(parse(text), Message)
  except InputError as e:
    assert 'line' in str(e) or 'end' in str(e)


# The table of options.


def test_the_document_names_keys_that_are_there():
  with open(os.path.join(ROOT, 'docs', 'easyrec.md'), encoding='utf-8') as f:
    text = f.read()
  known = set()
  for name in ('esmm', 'mmoe', 'ple', 'dbmtl', 'aitm'):
    path = os.path.join(ROOT, 'configs', f'{name}.py')
    config = runpy.run_path(path)['get_config']('tabular')
    known |= set(flatten(config.to_dict()))
  rows = [line.split(' | ') for line in text.splitlines() if ' | ' in line]
  keys = {k for row in rows[1:] for k in re.findall(r'`([a-z_0-9.]+)`', row[1])}
  assert len(keys) > 30
  options = {'max_values', 'max_len', 'combiner', 'table', 'separator',
             'weights', 'scaling', 'kv_separator', 'max_seq_len',
             'ev_params.filter_freq', 'burnin_learning_rate', 'edges',
             'hash_bucket_size', 'normalizer_fn'}
  options |= {f'dataset.{k}' for k in ('format', 'separator', 'header',
                                       'weight')}
  values = {'keep', 'entire_space', 'click_space', 'end_to_end', 'batch',
            'none', 'fm'}
  assert keys <= known | options | values
  made = set().union(COMMON, *(own for _, own in OWN.values()))
  assert made <= keys | {'dataset.valid_split', 'selection.metric'}
  assert common.tabular().name == 'tabular'

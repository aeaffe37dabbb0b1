"""Models beside the four that name their network: AITM, backbones, PyTorch."""

import re
import runpy

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.easyrec import convert
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
from pyarrow import csv
import pytest

from configs import common
from tests import ROOT
from tests.data.tabular import test_tabular
from tests.easyrec import easyrec_configs

HEAD = easyrec_configs.HEAD.format(train='log.csv', test='later.csv')
TOWERS = """
  task_towers { tower_name: 'ctr' label_name: 'clicked'
    dnn { hidden_units: [8, 4] } weight: 0.5 }
  task_towers { tower_name: 'cvr' label_name: 'bought'
    dnn { hidden_units: [8, 4] } %s }
"""


def block(name, source, layer, options):
  kind = 'block_name' if source in 'abcd' else 'feature_group_name'
  return (f"blocks {{ name: '{name}' inputs {{ {kind}: '{source}' }}"
          f" keras_layer {{ class_name: '{layer}' {options} }} }}\n")


BOTTOM = block('a', 'who', 'MLP', 'mlp { hidden_units: [16, 8] }')
OWN = ''.join(
    block(name, 'a', 'MLP', 'mlp { hidden_units: 6 }') for name in 'bc')
AIT = """blocks { name: 'd' inputs { block_name: 'c' }
  inputs { block_name: 'b' } merge_inputs_into_list: true
  keras_layer { class_name: 'AITMTower' aitm { %s } } }
output_blocks: ['b', 'd']"""
CALIBRATED = ('losses { loss_type: CLASSIFICATION } losses { loss_type:'
              ' ORDER_CALIBRATE_LOSS weight: 0.6 }')
EXPERTS = block(
    'b', 'a', 'MMoE', 'mmoe { num_expert: 3 expert_mlp { hidden_units: 5 } }')


FEATURES = """blocks { name: 'x' inputs { feature_group_name: 'who' }
  input_layer { output_2d_tensor_and_feature_list: true } }
"""
PAIRS = """blocks { name: 'fm' inputs { block_name: 'x' input_slice: '[1]' }
  keras_layer { class_name: 'FM' fm { use_variant: true } } }
"""
READS = """blocks { name: 'a' inputs { block_name: 'x' input_slice: '[0]' }
  inputs { block_name: 'fm' }
  keras_layer { class_name: 'MLP' mlp { hidden_units: [16, 8] } } }
"""


def model(name, section, more='', towers=''):
  return (f"{HEAD} model_class: '{name}' {more}\n"
          f'{section} {{ {TOWERS % towers} l2_regularization: 1e-5 }} }}')


def backbone(blocks, towers=''):
  return model('MultiTaskModel', 'model_params', f'backbone {{ {blocks} }}',
               towers)


TORCH_HEAD = """
train_input_path: 'log.parquet' eval_input_path: 'later.parquet'
train_config {
  sparse_optimizer { adagrad_optimizer { lr: 0.01 } constant_learning_rate {} }
  dense_optimizer { adam_optimizer { } exponential_decay_learning_rate {
    decay_size: 50 decay_factor: 0.5 warmup_size: 10 staircase: false } }
  num_epochs: 3 num_steps: 110
}
data_config { dataset_type: ParquetDataset label_fields: ['clicked', 'bought']
              sample_weight_fields: 'weight' }
feature_configs { id_feature { feature_name: 'user' expression: 'user:uid'
  num_buckets: 100 embedding_dim: 8 } }
feature_configs { id_feature { feature_name: 'tags' weighted: true
  hash_bucket_size: 10 embedding_dim: 8 separator: ';' pooling: 'mean' } }
feature_configs { raw_feature { feature_name: 'price'
  normalizer: 'method=log10' } }
feature_configs { raw_feature { feature_name: 'vector' value_dim: 4 } }
feature_configs { combo_feature { feature_name: 'cross'
  expression: ['user:uid', 'item:id'] embedding_dim: 8 } }
feature_configs { sequence_feature { sequence_name: 'past' sequence_length: 20
  features { id_feature { feature_name: 'item' num_buckets: 50
                          embedding_dim: 8 embedding_name: 'item' } }
  features { raw_feature { feature_name: 'price' } } } }
model_config {
  feature_groups { group_name: 'all' group_type: DEEP
    feature_names: ['user', 'tags', 'price', 'vector', 'cross']
    sequence_groups { group_name: 'past'
                      feature_names: ['past__item', 'past__price'] }
    sequence_encoders { din_encoder { attn_mlp { hidden_units: 4 } } } }
"""
TORCH_TOWERS = """
  task_towers { tower_name: 'ctr' label_name: 'clicked' losses {
    binary_cross_entropy {} } metrics { grouped_auc { grouping_key: 'user' } }
    mlp { hidden_units: [8, 4] } }
  task_towers { tower_name: 'cvr' label_name: 'bought' losses {
    binary_cross_entropy {} } metrics { auc {} } mlp { hidden_units: [8, 4] }
"""
NET = '{ hidden_units: 8 }'
TORCH = {
    'mmoe': (f'mmoe {{ expert_mlp {NET} {TORCH_TOWERS}'
             " task_space_indicator_label: 'clicked' out_task_space_weight: 0"
             ' } } }'),
    'ple': ('ple { extraction_networks { expert_num_per_task: 2 share_num: 1'
            f' task_expert_net {NET} share_expert_net {NET} }} {TORCH_TOWERS}'
            ' } } }'),
    'dbmtl': (f'dbmtl {{ bottom_mlp {NET} {TORCH_TOWERS}'
              f" relation_tower_names: 'ctr' relation_mlp {NET} }} }} }}"),
    'simple_multi_task': f'simple_multi_task {{ {TORCH_TOWERS} }} }} }}',
}
SHARED = {'model.norm': 'batch', 'tower_l2': 1e-5, 'estimator': 'end_to_end',
          'loss_weights.ctr': 0.5, 'loss_weights.calibrator': 0.0}
TORCH_SHARED = {
    'batch_size': 1024, 'num_epochs': 3, 'optimizer.name': 'adam',
    'table_optimizer': 'adagrad', 'optimizer.initial_accumulator': 0.0,
    'learning_rate': 0.002, 'schedule.name': 'exponential',
    'schedule.warmup_steps': 10, 'schedule.end_factor': 0.25,
    'model.norm': 'none', 'tower_l2': 0.0, 'model.tower_units': (8, 4),
    'dataset.id': 'uid:max_values=100', 'dataset.float': 'price',
    'dataset.crosses': 'uid*id',
    'dataset.ids': (
        'tags:max_values=10:combiner=mean:separator=;:weights=colon,'
        'past__item:max_values=50:table=item:combiner=mean:max_len=20:'
        'separator=;'),
    'dataset.group': 'user', 'dataset.weight': 'weight',
    'dataset.test_files': 'later.parquet', 'model.embed_dim': 8,
}
# Name -> config, config file, keys that it has.
FORMS = {
    'SimpleMultiTask': (
        model('SimpleMultiTask', 'simple_multi_task'), 'shared_embedding',
        SHARED | {'model.tower_units': (8, 4)}),
    'AITM': (
        backbone(BOTTOM + OWN + AIT % 'transfer_mlp { hidden_units: 6 }',
                 CALIBRATED), 'aitm',
        SHARED | {'model.tower_units': (16, 8, 6), 'model.stop_gradient': True,
                  'loss_weights.calibrator': 0.6}),
    'AITM, gradient': (
        backbone(BOTTOM + OWN + AIT % 'stop_gradient: false'), 'aitm',
        SHARED | {'model.stop_gradient': False}),
    'DBMTL with a transfer': (
        model('DBMTL', 'dbmtl',
              towers="use_ait_module: true relation_tower_names: 'ctr'"),
        'aitm', SHARED | {'model.tower_units': (8, 4)}),
    'backbone': (
        backbone(BOTTOM + "output_blocks: 'a'"), 'dbmtl',
        SHARED | {'model.shared_units': (16, 8), 'model.num_experts': 0,
                  'model.tower_units': (8, 4), 'model.relations': ()}),
    'backbone with own layers': (
        backbone(f"{BOTTOM}{OWN} output_blocks: ['b', 'c']"), 'dbmtl',
        SHARED | {'model.shared_units': (16, 8),
                  'model.tower_units': (6, 8, 4)}),
    'backbone with experts': (
        backbone(f"{BOTTOM}{EXPERTS} concat_blocks: 'b'"), 'dbmtl',
        SHARED | {'model.shared_units': (16, 8), 'model.num_experts': 3,
                  'model.expert_units': (5,)}),
    'backbone with FM': (
        backbone(f"{FEATURES}{PAIRS}{READS} output_blocks: 'a'"), 'dbmtl',
        SHARED | {'model.shared_units': (16, 8), 'model.interaction': 'fm'}),
    'experts on FM': (
        backbone(
            f"{FEATURES}{PAIRS}{READS.replace('MLP', 'MMoE')}".replace(
                'mlp { hidden_units: [16, 8] }',
                'mmoe { num_expert: 2 expert_mlp { hidden_units: 5 } }')),
        'dbmtl',
        SHARED | {'model.shared_units': (), 'model.num_experts': 2,
                  'model.interaction': 'fm'}),
    'mmoe': (
        TORCH_HEAD + TORCH['mmoe'], 'mmoe',
        TORCH_SHARED | {'estimator': 'click_space', 'model.num_experts': 3,
                        'model.expert_units': (8,)}),
    'ple': (
        TORCH_HEAD + TORCH['ple'], 'ple',
        TORCH_SHARED | {'estimator': 'end_to_end', 'model.levels': 1,
                        'model.num_task_experts': 2}),
    'dbmtl': (
        TORCH_HEAD + TORCH['dbmtl'], 'dbmtl',
        # Three experts if nothing is said, but none without their network.
        TORCH_SHARED | {'model.num_experts': 0, 'model.shared_units': (8,),
                        'model.relations': ('ctr -> cvr',),
                        'model.relation_units': (8,)}),
    'simple_multi_task': (
        TORCH_HEAD + TORCH['simple_multi_task'], 'shared_embedding',
        TORCH_SHARED),
}


def base_config(name):
  path = str(ROOT / 'configs' / f'{name}.py')
  return runpy.run_path(path)['get_config']('tabular')


@pytest.mark.parametrize('name', FORMS)
def test_settings(name):
  text, base, expected = FORMS[name]
  result = convert(text)
  assert result.base == base
  for key, value in expected.items():
    if isinstance(value, float):
      value = pytest.approx(value)
    assert result.settings[key] == value, key
  base_config(base).update_from_flattened_dict({
      k: v for k, v in result.settings.items() if not k.startswith('dataset.')})
  # Every key is one of the data set's.
  options = {
      k.removeprefix('dataset.'): v for k, v in result.settings.items()
      if k.startswith('dataset.')}
  names = options.keys() & common.tabular().keys()
  assert names >= {'id', 'ids', 'float', 'click', 'conversion', 'min_count'}
  assert TabularConfig.from_options({
      'id': options['id'], 'click': options['click'],
      'conversion': options['conversion']}).id == options['id']


TORCH_NOTES = [
    'a field may hold several values there; here it is one value',
    'user: stands under its column, uid',
    'vector: its 4 numbers are left out; a column has one number',
    'cross: stands under the name uid_x_id',
    'past__item: attention over its entries became their mean',
    'past__price: SequenceFeature of past__price is left out; its entries are a'
    ' RawFeature',
    'method=log10 of it became a number of mean 0 and variance 1',
    'learning_rate 0.01 of the embeddings became learning_rate 0.002',
    'sequence_encoders: {...} is not carried over',
    'mean became the mean weighted by impressions',
]


@pytest.mark.parametrize('note', TORCH_NOTES)
def test_notes_of_torch_easyrec(note):
  result = '\n'.join(convert(TORCH_HEAD + TORCH['mmoe']).notes)
  assert note in result
  assert 'metrics' not in result


def test_notes_of_aitm():
  text, _, _ = FORMS['AITM']
  notes = '\n'.join(convert(text).notes)
  assert 'a: its layers stand at the begin of each tower' in notes
  assert 'dnn: (8, 4), after the transfer, is not carried over' in notes


NONE = 'of its models mmoe, ple, dbmtl, simple_multi_task can be carried over'
REFUSED = {
    'another layer': (
        backbone(block('a', 'who', 'MaskNet', 'masknet {}')),
        "keras_layer of block 'a' is 'MaskNet'; of a backbone MLP, MMoE"),
    'joined blocks': (
        backbone(f"{BOTTOM}{OWN} concat_blocks: ['b', 'c']"),
        'concat_blocks joins 2 blocks'),
    'FM of one number': (
        backbone(FEATURES + PAIRS.replace('use_variant: true', '') + READS),
        "block 'fm' is an FM without use_variant: true"),
    'FM of other features': (
        backbone(FEATURES + READS + PAIRS.replace(
            "block_name: 'x'", "feature_group_name: 'what'")
                 + "output_blocks: 'a'"),
        "block 'fm', an FM, can be carried over where 'a' reads it beside"),
    'FM for one output': (
        backbone(FEATURES + PAIRS + READS + block(
            'b', 'who', 'MLP', 'mlp { hidden_units: 6 }')
                 + "output_blocks: ['a', 'b']"),
        "on the way to one output and not to another"),
    'FM as output': (
        backbone(FEATURES + PAIRS + "output_blocks: 'fm'"),
        "keras_layer of block 'fm' is 'FM'"),
    'DeepFM': (
        model('DeepFM', 'deepfm'), "is model.interaction='deepfm' of any"),
    'packages': (backbone('packages {}'), 'a backbone with packages'),
    'the click attends': (
        backbone(BOTTOM + OWN + (AIT % '').replace("'b', 'd'", "'d', 'b'")),
        "the tower of 'clicked' attends to another one"),
    'outputs': (
        backbone(f"{BOTTOM}{OWN} output_blocks: ['a', 'b', 'c']"),
        'has 3 outputs and the model 2 task_towers'),
    'ESMM on a backbone': (
        easyrec_configs.config('ESMM').replace(
            'esmm {', f'backbone {{ {BOTTOM} }} esmm {{', 1),
        'ESMM on a backbone cannot'),
    'no experts': (
        easyrec_configs.config('MMoE').replace('num_expert: 3', ''),
        'num_expert is 0'),
    'no levels': (model('PLE', 'ple'), 'has no extraction_networks'),
    'deepfm': (TORCH_HEAD + 'deepfm {} }', f'has deepfm; {NONE}'),
    'no model': (TORCH_HEAD + '}', f'has no model; {NONE}'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_refused(name):
  text, message = REFUSED[name]
  with pytest.raises(InputError, match=message):
    convert(text)


def test_entries_and_fields_have_separators():
  text = HEAD.replace("separator: '|'", r"separator: '\035' kv_separator: ':'")
  text = text.replace('with_header: true', r"separator: '\001'")
  text = text.replace("'log.csv'", "'log'") + easyrec_configs.MODELS['ESMM']
  result = convert(text).settings
  assert result['dataset.ids'] == (
      r'tags:max_values=10:combiner=sum:separator=\x1d:weights=colon')
  assert result['dataset.separator'] == r'\x01'
  assert result['dataset.header'] == 'clicked,bought'
  assert result['dataset.format'] == 'csv'


@pytest.mark.parametrize('name, switch, weighted, note', [
    ('MMoE', '', True, ''),
    ('MMoE', 'use_sample_weight: false', True, 'the loss of one tower there'),
    ('ESMM', '', False, 'no loss there is weighted'),
])
def test_weights_of_rows(name, switch, weighted, note):
  text = HEAD.replace('batch_size', "sample_weight: 'w' batch_size")
  text += easyrec_configs.MODELS[name].replace('weight: 0.5', switch)
  result = convert(text)
  assert result.settings.get('dataset.weight') == ('w' if weighted else None)
  assert note in '\n'.join(result.notes)
  assert note or 'sample_weight' not in '\n'.join(result.notes)


def test_names_with_colons_stand_between_quotes():
  text = HEAD.replace("'user'", "'user:id'").replace("'clicked'", "'is click'")
  text += easyrec_configs.MODELS['MMoE'].replace("'clicked'", "'is click'")
  result = convert(text).settings
  assert result['dataset.id'].startswith('"user:id":max_values=100,')
  assert result['dataset.click'] == '"is click"'


def test_names_in_a_range():
  text = HEAD.replace("input_names: 'item'", "input_names: 'f0' shared_names:"
                      " 'f[1-3]' embedding_name: 'f'")
  text = text.replace("['item',", "['f0', 'f[1-3]',")
  text = text.replace('batch_size', 'auto_expand_input_fields: true batch_size')
  result = convert(text + easyrec_configs.MODELS['MMoE'])
  assert result.settings['dataset.id'] == 'user:max_values=100,' + ','.join(
      f'f{k}:max_values=50:table=f' for k in range(4))


def test_two_optimizers():
  """The first one is that of the embeddings."""
  rate = 'learning_rate { constant_learning_rate { learning_rate: %s } }'
  first = f'optimizer_config {{ adagrad_optimizer {{ {rate % 0.1} }} }}'
  text = HEAD.replace('optimizer_config:', f'{first} optimizer_config:', 1)
  result = convert(text + easyrec_configs.MODELS['MMoE'])
  for key, value in {
      'optimizer.name': 'adam', 'table_optimizer': 'adagrad',
      'learning_rate': 0.01, 'optimizer.initial_accumulator': 0.1}.items():
    assert result.settings[key] == value
  assert 'learning_rate 0.1 of the embeddings became' in '\n'.join(result.notes)


def test_one_table_has_one_size():
  text = HEAD.replace('num_buckets: 50', "num_buckets: 50 embedding_name: 'e'")
  text = text.replace('hash_bucket_size: 100',
                      "hash_bucket_size: 100 embedding_name: 'e'")
  result = convert(text + easyrec_configs.MODELS['MMoE'])
  assert result.settings['dataset.id'] == (
      'user:max_values=100:table=e,item:max_values=100:table=e')
  assert 'item: 50 values became 100' in '\n'.join(result.notes)


@pytest.mark.long
@pytest.mark.usefixtures('quick_test')
@pytest.mark.parametrize('name', ['AITM', 'SimpleMultiTask'])
def test_it_trains(name, tmp_path):
  log = test_tabular.many(1200)
  tags = ['a|b' if k % 3 else '' for k in range(len(log))]
  for column in (('tags', [tags]), ('price', [[0.5, 1.0, 2.0] * 400])):
    log = log.append_column(*column)
  text, base, _ = FORMS[name]
  for k, part in enumerate(('log.csv', 'later.csv')):
    csv.write_csv(log.slice(600 * k, 600), str(tmp_path / part))
    text = text.replace(f'{part}', str(tmp_path / part))
  config = base_config(base)
  config.update_from_flattened_dict(convert(text).settings)
  results = train_and_evaluate(
      config, str(tmp_path / 'run'), str(tmp_path / 'data'))
  assert 0.4 < results['test/ctr/auc'] < 1 and results['steps'] == 20


@pytest.mark.parametrize('name', ['AITM', 'backbone with experts', 'mmoe'])
@pytest.mark.parametrize('value', ['zz', "'zz'", '-1', '{ a: 1 }', '[]'])
def test_any_value_is_read_or_refused(name, value):
  """Each value of a config in turn is another one."""
  text, _, _ = FORMS[name]
  places = list(re.finditer(r"\w: *('[^']*'|[\w.-]+)", text))
  assert len(places) > 40
  refused = 0
  for place in places:
    changed = text[:place.start(1)] + value + text[place.end(1):]
    try:
      convert(changed)
    except InputError as e:
      refused += 1
      assert str(e) and '\n' not in str(e)
  assert refused

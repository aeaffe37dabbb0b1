"""A field that is not written has the default of EasyRec's protos.

The table is that of easy_rec/python/protos/*.proto: message -> field ->
(default, another value). A field without a default has None.
"""

from esmm_jax.easyrec import convert
import pytest

DNN = {
    'dropout_ratio': ('0.0', '0.5'), 'use_bn': ('true', 'false'),
    'activation': ("'tf.nn.relu'", "'dice'"),
}
RATES = {'initial_learning_rate': ('0.002', '0.1')}
ADAM = {'beta1': ('0.9', '0.5'), 'beta2': ('0.999', '0.99')}
TOWER = {
    'weight': ('1.0', '2.5'), 'loss_type': ('CLASSIFICATION', 'L2_LOSS'),
    'num_class': ('1', '3'), 'use_sample_weight': ('true', 'false'),
    'in_task_space_weight': ('1.0', '2.0'),
    'out_task_space_weight': ('1.0', '0.0'),
    'losses': (None, '{ loss_type: L2_LOSS }'),
}
FEATURE = {
    'embedding_name': ("''", "'shared'"), 'hash_bucket_size': ('0', '77'),
    'num_buckets': ('0', '33'), 'vocab_list': (None, "['a', 'b']"),
    'vocab_file': (None, "'words'"), 'shared_names': (None, "'other'"),
    'embedding_dim': ('0', '12'),
    'initializer': (None, '{ constant_initializer { consts: 1 } }'),
    'ev_params': (None, '{ filter_freq: 5 }'),
}
LIST = FEATURE | {
    'separator': ("'|'", "','"), 'kv_separator': (None, "':'"),
    'combiner': ("'sum'", "'mean'"), 'max_seq_len': (None, '9'),
    'seq_multi_sep': (None, "';'"), 'input_names': (None, "'weights'"),
}
PROTOS = {
    'EasyRecConfig': {
        'fg_json_path': (None, "'fg.json'"), 'eval_config': (None, '{}'),
        'kafka_train_input': (None, "{ server: 'x' }"),
        'hive_train_input': (None, "{ host: 'x' }"),
    },
    'DatasetConfig': {
        'batch_size': ('32', '8'), 'num_epochs': ('0', '3'),
        'separator': ("','", "'|'"), 'with_header': ('false', 'true'),
        'sample_weight': (None, "'weight'"), 'ignore_error': ('false', 'true'),
        'auto_expand_input_fields': ('false', 'true'),
        'drop_remainder': ('false', 'true'), 'label_sep': (None, "','"),
        'label_dim': (None, '2'),
        'extra_label_func': (None, "{ label_name: 'a' label_func: 'b' }"),
        'negative_sampler': (None, '{ num_sample: 3 }'),
        'negative_sampler_v2': (None, '{ num_sample: 3 }'),
        'negative_sampler_in_memory': (None, '{ num_sample: 3 }'),
        'hard_negative_sampler': (None, '{ num_sample: 3 }'),
        'hard_negative_sampler_v2': (None, '{ num_sample: 3 }'),
        'chief_redundant': ('false', 'true'),
        'data_compression_type': ("''", "'GZIP'"),
        'n_data_batch_tfrecord': (None, '3'), 'rtp_separator': ("';'", "'|'"),
    },
    'Field': {
        'default_val': (None, "'7'"), 'input_dim': ('1', '4'),
        'input_shape': ('1', '4'), 'ignore_val': (None, "'-1'"),
        'user_define_fn': (None, "'tf.math.log1p'"),
    },
    'TrainConfig': {
        'num_steps': ('0', '10'), 'gradient_clipping_by_norm': ('0.0', '5.0'),
        'fine_tune_checkpoint': ("''", "'x'"),
        'fine_tune_ckpt_var_map': ("''", "'x'"),
        'freeze_gradient': (None, "'.*'"), 'dead_line': (None, "'20220508'"),
        'enable_oss_stop_signal': ('false', 'true'),
        'tensor_fuse': ('false', 'true'),
    },
    'Optimizer': {
        'use_moving_average': ('false', 'true'),
        'embedding_learning_rate_multiplier': (None, '0.1'),
    },
    'AdamOptimizer': ADAM, 'LazyAdamOptimizer': ADAM,
    'AdamAsyncOptimizer': ADAM,
    'AdamWOptimizer': ADAM | {'weight_decay': ('1e-6', '1e-3')},
    'AdamAsyncWOptimizer': ADAM | {'weight_decay': ('1e-6', '0.0')},
    'AdagradOptimizer': {'initial_accumulator_value': ('0.1', '0.5')},
    'MomentumOptimizer': {'momentum_optimizer_value': ('0.9', '0.0')},
    'MomentumWOptimizer': {
        'momentum_optimizer_value': ('0.9', '0.0'),
        'weight_decay': ('1e-6', '1e-3')},
    'ConstantLearningRate': {'learning_rate': ('0.002', '0.1')},
    'ExponentialDecayLearningRate': RATES | {
        'decay_steps': ('4000000', '2000000'), 'decay_factor': ('0.95', '0.5'),
        'staircase': ('true', 'false'), 'burnin_steps': ('0', '5000000'),
        'min_learning_rate': ('0.0', '0.0019'),
    },
    'CosineDecayLearningRate': {
        'learning_rate_base': ('0.002', '0.1'),
        'total_steps': ('4000000', '20000000'), 'warmup_steps': ('10000', '0'),
        'warmup_learning_rate': ('0.0002', '0.0001'),
        'hold_base_rate_steps': ('0', '100000'),
    },
    'ManualStepLearningRate': RATES,
    'IdFeature': FEATURE,
    'TagFeature': LIST,
    'SequenceFeature': LIST | {
        # None of its combiner is applied by EasyRec, so it has no default.
        'combiner': (None, "'sum'"),
        'sub_feature_type': ('IdFeature', 'RawFeature'),
        'sequence_length': (None, '20'),
    },
    'RawFeature': {
        'raw_input_dim': ('1', '3'), 'boundaries': (None, '[1, 2]'),
        'max_val': ('0.0', '5.0'), 'normalizer_fn': (None, "'tf.math.log1p'"),
    },
    'FeatureGroupConfig': {
        'wide_deep': ('DEEP', 'WIDE'), 'negative_sampler': ('false', 'true')},
    'EasyRecModel': {
        'embedding_regularization': ('0.0', '1e-3'), 'kd': (None, '{}'),
        'loss_weight_strategy': ('Fixed', 'Uncertainty'),
        'variational_dropout': (None, '{}'), 'num_class': ('1', '2'),
        'ev_params': (None, '{ filter_freq: 5 }'),
        'losses': (None, '{ loss_type: JRC_LOSS }'),
    },
    'MMoE': {'num_expert': (None, '5'), 'l2_regularization': ('1e-4', '0.1')},
    'ESMM': {'l2_regularization': ('1e-4', '0.1')},
    'PLE': {'l2_regularization': ('1e-4', '0.1')},
    'DBMTL': {
        'num_expert': ('0', None), 'l2_regularization': ('1e-4', '0.1'),
        'bottom_cmbf': (None, '{}'), 'bottom_uniter': (None, '{}'),
        'bottom_dnn': (None, '{ hidden_units: 9 }'),
        'use_feature_bn': ('false', 'true'), 'sequence_dnn': (None, '{}')},
    'SimpleMultiTask': {'l2_regularization': ('1e-4', '0.1')},
    # Without a default, so there is none.
    'ModelParams': {'l2_regularization': ('0.0', '0.1')},
    'ExtractionNetwork': {'share_num': (None, '2')},
    'TaskTower': TOWER,
    'BayesTaskTower': {
        k: v for k, v in TOWER.items() if 'space' not in k
    } | {'use_ait_module': ('false', 'true'),
         'relation_dnn': (None, '{ hidden_units: 4 }')},
    'Loss': {'weight': ('1.0', '0.5')},
    'DNN': DNN,
    'MLP': {'dropout_ratio': ('0.0', '0.5'), 'activation': ("'relu'", "'dice'"),
            'use_bn': ('true', 'false')},
    'GAUC': {'reduction': ("'mean'", "'mean_by_sample_num'")},
    'ExportConfig': {
        'exporter_type': ("'final'", "'best'"),
        'enable_early_stop': ('false', 'true')},
}
# Read for nothing: their value shows in no number of a run here.
WITHOUT_EFFECT = {
    ('EasyRecConfig', 'eval_config'),
    ('DatasetConfig', 'auto_expand_input_fields'),
    # There is no weight.
    ('TaskTower', 'use_sample_weight'), ('BayesTaskTower', 'use_sample_weight'),
}
FEATURES = """
features { input_names: 'user' feature_type: IdFeature @IdFeature@ }
features { input_names: 'tags' feature_type: TagFeature @TagFeature@ }
features { input_names: 'past' feature_type: SequenceFeature @SequenceFeature@ }
features { input_names: 'price' feature_type: RawFeature @RawFeature@ }
features { input_names: 'second' embedding_name: 'shared' }
"""
TOWERS = """
task_towers { tower_name: 'ctr' label_name: 'clicked' dnn { hidden_units: 4 } }
task_towers { tower_name: 'cvr' dnn { hidden_units: 4 @DNN@ } %s }
"""
INSIDE = TOWERS % "task_space_indicator_label: 'clicked' @TaskTower@"
BAYES = TOWERS % "relation_tower_names: 'ctr' @BayesTaskTower@"
LOSS = TOWERS % 'losses { loss_type: CLASSIFICATION @Loss@ }'
LEVEL = ('expert_num_per_task: 1 task_expert_net { hidden_units: 4 }'
         ' @ExtractionNetwork@')
BLOCK = """backbone { blocks { name: 'a' inputs { feature_group_name: 'all' }
  keras_layer { class_name: 'MLP' mlp { hidden_units: 8 @MLP@ } } }
  output_blocks: 'a' }"""
MODELS = {
    'MMoE': ('mmoe { expert_dnn { hidden_units: 4 } num_expert: 3 @MMoE@'
             f'{INSIDE} }}'),
    'ESMM': ("esmm { ctr_tower { label_name: 'clicked' } cvr_tower {"
             " label_name: 'bought' } @ESMM@ }"),
    'PLE': f'ple {{ extraction_networks {{ {LEVEL} }} @PLE@ {INSIDE} }}',
    'DBMTL': f'dbmtl {{ @DBMTL@ {BAYES} }}',
    'SimpleMultiTask': f'simple_multi_task {{ @SimpleMultiTask@ {LOSS} }}',
    'MultiTaskModel': (
        f'{BLOCK} model_params {{ @ModelParams@ {TOWERS % ""} }}'),
}
OF_MODEL = {
    'ESMM': 'ESMM', 'PLE': 'PLE', 'ExtractionNetwork': 'PLE', 'DBMTL': 'DBMTL',
    'BayesTaskTower': 'DBMTL', 'SimpleMultiTask': 'SimpleMultiTask',
    'Loss': 'SimpleMultiTask', 'MLP': 'MultiTaskModel',
    'ModelParams': 'MultiTaskModel',
}
OPTIMIZERS = {
    'LazyAdamOptimizer': 'lazy_adam_optimizer',
    'AdamAsyncOptimizer': 'adam_async_optimizer',
    'AdamWOptimizer': 'adamw_optimizer',
    'AdamAsyncWOptimizer': 'adam_asyncw_optimizer',
    'AdagradOptimizer': 'adagrad_optimizer',
    'MomentumOptimizer': 'momentum_optimizer',
    'MomentumWOptimizer': 'momentumw_optimizer',
}
SCHEDULES = {
    'ExponentialDecayLearningRate': 'exponential_decay_learning_rate',
    'CosineDecayLearningRate': 'cosine_decay_learning_rate',
    'ManualStepLearningRate': 'manual_step_learning_rate',
}


def text(message, written=''):
  """A config in which a field of a message is written, or none."""
  name = OF_MODEL.get(message, 'MMoE')
  optimizer = OPTIMIZERS.get(message, 'adam_optimizer')
  kind = message if message in OPTIMIZERS else 'AdamOptimizer'
  schedule = SCHEDULES.get(message, 'constant_learning_rate')
  form = message if message in SCHEDULES else 'ConstantLearningRate'
  steps = 'num_steps: 9000000' if message in SCHEDULES else ''
  members = "['user', 'tags', 'past', 'price', 'other', 'second']"
  config = f"""
train_input_path: 'log.csv' @EasyRecConfig@
export_config {{ @ExportConfig@ }}
eval_config {{ metrics_set {{ gauc {{ uid_field: 'user' @GAUC@ }} }} }}
train_config {{ {steps} @TrainConfig@ optimizer_config {{ @Optimizer@
  {optimizer} {{ @{kind}@
    learning_rate {{ {schedule} {{ @{form}@ }} }} }} }} }}
data_config {{ label_fields: ['clicked', 'bought'] @DatasetConfig@
  input_fields {{ input_name: 'user' @Field@ }} input_type: CSVInput }}
feature_config {{ {FEATURES}
  features {{ input_names: 'other' }} }}
model_config {{ model_class: '{name}' @EasyRecModel@
  feature_groups {{ group_name: 'all' feature_names: {members}
                   @FeatureGroupConfig@ }}
  {MODELS[name]} }}"""
  mark = f'@{message}@'
  assert mark in config
  config = config.replace(mark, written, 1)
  for other in (*PROTOS, 'TrainConfig'):
    config = config.replace(f'@{other}@', '')
  assert '@' not in config
  return config


CASES = [(m, f, *values) for m, fields in PROTOS.items()
         for f, values in fields.items()]


@pytest.mark.parametrize('message, field, default, other', CASES)
def test_a_field_that_is_not_written(message, field, default, other):
  colon = '' if '{' in (other or '') else ':'
  nothing = convert(text(message))
  if default is not None:
    assert convert(text(message, f'{field}{colon} {default}')) == nothing
  if other is not None:
    written = convert(text(message, f'{field}{colon} {other}'))
    same = (message, field) in WITHOUT_EFFECT
    # Another value is another setting, or is named in a note.
    assert same or written != nothing


def settings(message, written=''):
  return convert(text(message, written)).settings


def test_what_nothing_says():
  result = settings('EasyRecConfig')
  for key, value in {
      'batch_size': 32, 'learning_rate': 0.002, 'optimizer.name': 'adam',
      'optimizer.b1': 0.9, 'optimizer.b2': 0.999, 'dataset.min_count': 1,
      'dataset.ids': 'tags:combiner=sum,past:combiner=mean',
      'dataset.id': 'user,second:table=shared,other',
      'dataset.float': 'price', 'dataset.group': 'user',
      'dataset.click': 'clicked', 'dataset.conversion': 'bought',
      'loss_weights.ctr': 1.0, 'loss_weights.ctcvr': 1.0,
      'estimator': 'end_to_end', 'loss_weights.calibrator': 0.0,
      'model.norm': 'batch', 'model.activation': 'relu', 'model.dropout': 0.0,
      'tower_l2': 1e-4, 'embedding_l2': 0.0}.items():
    assert result[key] == value, key
  assert not {'clip_norm', 'seed', 'weight_decay', 'num_epochs',
              'schedule.name', 'dataset.split'} & result.keys()


# TensorFlow's decay of a step is ours times the learning rate, here 0.002.
@pytest.mark.parametrize('message, expected', [
    ('AdamOptimizer', {'optimizer.name': 'adam'}),
    ('AdamWOptimizer', {'optimizer.name': 'adam', 'weight_decay': 5e-4}),
    ('AdamAsyncWOptimizer', {'optimizer.name': 'adam', 'weight_decay': 5e-4}),
    ('AdagradOptimizer', {
        'optimizer.name': 'adagrad', 'optimizer.initial_accumulator': 0.1}),
    ('MomentumOptimizer', {
        'optimizer.name': 'sgd', 'optimizer.momentum': 0.9}),
    ('MomentumWOptimizer', {
        'optimizer.name': 'sgd', 'optimizer.momentum': 0.9,
        'weight_decay': 5e-4}),
    # 0.95 ** (9e6 / 4e6).
    ('ExponentialDecayLearningRate', {
        'learning_rate': 0.002, 'schedule.name': 'exponential',
        'schedule.end_factor': 0.95**2.25}),
    ('CosineDecayLearningRate', {
        'learning_rate': 0.002, 'schedule.name': 'cosine',
        'schedule.warmup_steps': 10_000, 'schedule.end_factor': 0.0}),
    ('ManualStepLearningRate', {'learning_rate': 0.002}),
])
def test_what_an_empty_optimizer_means(message, expected):
  result = settings(message)
  assert {k: result.get(k) for k in expected} == pytest.approx(expected)
  assert 'weight_decay' in expected or 'weight_decay' not in result


def test_no_rise_where_none_is_written():
  """burnin_steps alone keep the first rate: there is no rise from 0."""
  message = 'ExponentialDecayLearningRate'
  assert 'schedule.warmup_steps' not in settings(message, 'burnin_steps: 5')
  rising = 'burnin_steps: 5 burnin_learning_rate: 1e-4'
  assert settings(message, rising)['schedule.warmup_steps'] == 5


@pytest.mark.parametrize('name', ['rms_prop_optimizer', 'ftrl_optimizer'])
def test_an_optimizer_without_counterpart(name):
  config = text('AdamOptimizer').replace('adam_optimizer', name)
  result = convert(config)
  assert result.settings['optimizer.name'] == 'adam'
  assert f'{name}: is none of ours; Adam is taken' in '\n'.join(result.notes)


def test_labels_by_order():
  """A tower without a label has that of its place; ESMM's CVR is the first."""
  simple = text('SimpleMultiTask').replace("label_name: 'clicked'", '')
  assert convert(simple).settings['dataset.click'] == 'clicked'
  esmm = text('ESMM').replace("label_name: 'clicked'", '')
  result = convert(esmm.replace("label_name: 'bought'", '')).settings
  assert result['dataset.conversion'] == 'clicked'
  assert result['dataset.click'] == 'bought'

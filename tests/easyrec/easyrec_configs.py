"""Pipeline configs in EasyRec's form, written for the tests."""

HEAD = """
train_input_path: '{train}'
eval_input_path: "{test}"  # Later days.
model_dir: 'x'
train_config {{
  optimizer_config: {{ adam_optimizer: {{ learning_rate: {{
    exponential_decay_learning_rate {{
      initial_learning_rate: 0.01 decay_steps: 50 decay_factor: 0.5
      min_learning_rate: 1e-5
    }} }} beta1: 0.8 }} use_moving_average: false }}
  num_steps: 100
  sync_replicas: True
}}
data_config {{
  input_fields {{ input_name: 'clicked' input_type: INT32 }}
  input_fields {{ input_name: 'bought' }}
  label_fields: ['bought', 'clicked']
  batch_size: 64 num_epochs: 2 input_type: CSVInput with_header: true
}}
feature_config {{
  features {{ input_names: 'user' feature_type: IdFeature embedding_dim: 8
             hash_bucket_size: 100 }}
  features {{ input_names: 'item' embedding_dim: 8 num_buckets: 50 }}
  features {{ input_names: 'tags' feature_type: TagFeature separator: '|'
             embedding_dim: 8 hash_bucket_size: 10 }}
  features {{ input_names: 'price' feature_type: RawFeature }}
  features {{ input_names: ['user', 'item'] feature_name: 'cross'
             feature_type: ComboFeature }}
  features {{ input_names: 'idle' feature_type: IdFeature }}
}}
model_config {{
  feature_groups {{ group_name: 'who' feature_names: 'user' wide_deep: DEEP }}
  feature_groups {{ group_name: 'what'
                   feature_names: ['item', 'tags', 'price', 'cross'] }}
  embedding_regularization: 6.4e-5
"""


def fill(text, *parts):
  """Puts parts in the places of %s."""
  for part in parts:
    text = text.replace('%s', part, 1)
  return text


DNN = 'dnn { hidden_units: [8, 4] use_bn: false }'
TOWERS = """
  task_towers { tower_name: 'ctr' label_name: 'clicked' %s weight: 0.5 }
  task_towers { tower_name: 'cvr' label_name: 'bought' %s %s }
"""
ESMM = fill("""  model_class: 'ESMM'
  esmm {
    groups { input: 'who' dnn { hidden_units: [16, 8] use_bn: false } }
    groups { input: 'what' dnn { hidden_units: [16, 8] use_bn: false } }
    cvr_tower { label_name: 'bought' %s weight: 2.0 }
    ctr_tower { label_name: 'clicked' %s }
    l2_regularization: 1e-4
  }
}
""", DNN, DNN)
MMOE = fill("""  model_class: "MMoE"
  mmoe {
    expert_dnn { hidden_units: [16] use_bn: false dropout_ratio: [0.2] }
    num_expert: 3
%s  }
}
""", fill(TOWERS, DNN, DNN, "task_space_indicator_label: 'clicked'"
          ' in_task_space_weight: 3 out_task_space_weight: 0'))
LEAKY = 'activation: "tf.nn.leaky_relu"'
NET = fill(
    'task_expert_net { %s } share_expert_net { %s }',
    *(f'hidden_units: [8] {LEAKY}',) * 2)
PLE = fill("""  model_class: 'PLE'
  ple {
    extraction_networks { network_name: 'a' expert_num_per_task: 2 share_num: 1
      %s }
    extraction_networks { network_name: 'b' expert_num_per_task: 2 share_num: 1
      %s }
%s  }
}
""", NET, NET, fill(TOWERS, *(f'dnn {{ hidden_units: 4 {LEAKY} }}',) * 2, ''))
RELATED = 'dnn { hidden_units: 8 } relation_dnn { hidden_units: 4 }'
DBMTL = fill("""  model_class: 'DBMTL'
  dbmtl {
    bottom_dnn { hidden_units: [12] }
    expert_dnn { hidden_units: [8] }
    num_expert: 2
%s  }
}
""", fill(TOWERS, RELATED, RELATED, "relation_tower_names: ['ctr']"))
MODELS = {'ESMM': ESMM, 'MMoE': MMOE, 'PLE': PLE, 'DBMTL': DBMTL}


def config(name, train='log.csv', test='later.csv'):
  """The config of a model."""
  return HEAD.format(train=train, test=test) + MODELS[name]

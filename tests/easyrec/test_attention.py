"""Target attention of EasyRec and TorchEasyRec: what it becomes here."""

import runpy

from esmm_jax.easyrec import convert
import pytest

from tests import ROOT
from tests.easyrec import easyrec_configs, test_forms

PAST = """features { input_names: 'past' feature_type: SequenceFeature
  embedding_dim: 8 max_seq_len: 20 num_buckets: 50 separator: ';' %s }
features { input_names: 'price'"""
SEEN = """features { input_names: 'seen' feature_type: SequenceFeature
  embedding_dim: 8 max_seq_len: 20 num_buckets: 50 separator: ';' }
"""
GROUP = """feature_names: ['tags', 'price', 'cross']
  sequence_features { group_name: 'seq' %s } }"""
MAP = "seq_att_map { key: 'item' hist_seq: 'past' }"
TABLE = "embedding_name: 'item'"


def easyrec(maps, of_past=TABLE, of_item=TABLE, more='', outside=''):
  text = easyrec_configs.config('MMoE')
  for old, new in (
      ("features { input_names: 'price'", more + PAST % of_past),
      ('num_buckets: 50 }', f'num_buckets: 50 {of_item} }}'),
      ("feature_names: ['item', 'tags', 'price', 'cross'] }",
       GROUP % maps + outside)):
    assert text.count(old) == 1
    text = text.replace(old, new)
  return convert(text)


IDS = ('past:max_values=50:combiner=attention:target=item:max_len=20:'
       'separator=;')


@pytest.mark.parametrize('dnn, units', [
    ('', (128, 64, 32)),
    ('seq_dnn { hidden_units: [16, 8, 1] }', (16, 8)),
])
def test_a_sequence_and_its_key(dnn, units):
  result = easyrec(MAP + dnn)
  settings, notes = result.settings, '\n'.join(result.notes)
  assert settings['dataset.ids'].split(',')[1] == IDS
  assert settings['dataset.id'].endswith('item:max_values=50:table=item')
  assert settings['model.attention_units'] == units
  assert 'past: the weights of its entries by item are not divided' in notes
  assert 'became their mean' not in notes and 'is not carried' not in notes
  path = str(ROOT / 'configs' / f'{result.base}.py')
  config = runpy.run_path(path)['get_config']('tabular')
  config.update_from_flattened_dict(settings)
  assert config.model.attention_units == units


def test_maps_of_the_model():
  result = easyrec(
      "seq_att_map { key: 'user' hist_seq: 'price' }", more=SEEN,
      outside=" seq_att_groups { group_name: 'x' seq_att_map {"
      " key: ['item', 'user'] hist_seq: ['past', 'seen'] } }")
  assert [text.split(':max_len')[0] for text in result.settings[
      'dataset.ids'].split(',')[1:]] == [
          'seen:max_values=100:combiner=attention:target=user',
          'past:max_values=50:combiner=attention:target=item']


def test_another_vocabulary():
  notes = '\n'.join(easyrec(MAP, of_past='', of_item='').notes)
  assert 'past: its vocabulary and its embeddings are those of item' in notes


@pytest.mark.parametrize('maps, more', [
    ("seq_att_map { key: 'tags' hist_seq: 'past' }", ''),  # No identifier.
    ("seq_att_map { key: 'cross' hist_seq: 'past' }", ''),  # Left out.
    (f"{MAP} seq_att_map {{ key: 'user' hist_seq: 'past' }}", ''),  # Two keys.
    ("seq_att_map { key: ['item', 'user'] hist_seq: 'past' }", ''),
    # What is beside a sequence has no key.
    ("seq_att_map { key: 'item' hist_seq: 'seen' aux_hist_seq: 'past' }",
     SEEN),
])
def test_what_becomes_the_mean(maps, more):
  result = easyrec(maps, more=more)
  assert 'past:max_values=50:table=item:combiner=mean' in result.settings[
      'dataset.ids']
  assert 'past: attention over its entries became their mean' in '\n'.join(
      result.notes)


def test_an_encoder_of_torch_easyrec():
  text = test_forms.TORCH_HEAD
  for old, new in (
      ("['past__item', 'past__price'] }", "['item', 'past__item'] }"),
      ("feature_configs { raw_feature { feature_name: 'price'",
       "feature_configs { id_feature { feature_name: 'item' num_buckets: 50"
       " embedding_dim: 8 embedding_name: 'item' } }"
       " feature_configs { raw_feature { feature_name: 'price'"),
      ('din_encoder { attn_mlp', "din_encoder { input: 'past' attn_mlp")):
    assert text.count(old) == 1
    text = text.replace(old, new)
  result = convert(text + test_forms.TORCH['mmoe'])
  assert (
      'past__item:max_values=50:combiner=attention:target=item:max_len=20'
      in result.settings['dataset.ids'])
  assert result.settings['model.attention_units'] == (4,)
  notes = '\n'.join(result.notes)
  assert 'became their mean' not in notes and 'encoders' not in notes

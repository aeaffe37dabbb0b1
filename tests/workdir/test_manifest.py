"""What a run began with."""

import json

from esmm_jax.data.batching.batches import Batches
from esmm_jax.data.batching.contents import content_hash
from esmm_jax.types import InputError
from esmm_jax.workdir import manifest, verify
from esmm_jax.workdir.folder import config_hash
import numpy as np
import pytest

from tests import toy as toy_lib
from tests.data.batching import test_groups

grouped = test_groups.grouped
DATA = {
    'data': 'toy/1.0.0, sha256 0123456789abcdef',
    'encoder_sha256': '5e',
    'encoder_options_sha256': '5f',
}


def data(**changes):
  return DATA | changes


def make(config, data, schema=toy_lib.SCHEMA):
  return manifest.make(config, data, schema)


def config(**more):
  return {'seed': 0, 'dataset': {'name': 'toy', 'raw_dir': 'here'}, **more}


def test_the_hash_of_a_config():
  assert config_hash(config()) == config_hash(config())
  assert config_hash(config()) != config_hash(config(seed=1))
  assert config_hash(config(a=1, b=2)) == config_hash(config(b=2, a=1))
  moved = config()
  moved['dataset']['raw_dir'] = 'there'
  assert config_hash(moved) == config_hash(config())
  assert len(config_hash(config())) == 64


def test_the_same_config_resumes(tmp_path):
  now = make(config(), DATA)
  manifest.write(str(tmp_path), now)
  assert verify.resume(str(tmp_path), now) == (now, [])
  assert json.loads((tmp_path / 'manifest.json').read_text()) == now
  assert now['data'] == DATA['data'] and 'jaxlib' in now['versions']


def test_other_data_or_another_config_is_refused(tmp_path):
  manifest.write(str(tmp_path), make(config(), DATA))
  then = DATA['data']
  now = data(data=f'{then}!')
  with pytest.raises(InputError) as e:
    verify.resume(str(tmp_path), make(config(), now))
  for part in (str(tmp_path), f'data is {then}! here and {then} there'):
    assert part in str(e.value)
  now = data(data='other, sha256 0', encoder_sha256='6f')
  with pytest.raises(InputError, match='go on: data is other, [^;]* there \\('):
    verify.resume(str(tmp_path), make(config(), now))
  now = data(encoder_sha256='6f')
  with pytest.raises(InputError, match='encoder_sha256 is 6f here and 5e'):
    verify.resume(str(tmp_path), make(config(), now))
  with pytest.raises(InputError, match='config_sha256 is'):
    verify.resume(str(tmp_path), make(config(seed=1), DATA))


def test_the_same_data_under_another_name(tmp_path):
  manifest.write(str(tmp_path), make(config(), DATA))
  moved = data(data=DATA['data'].replace('toy', 'moved'))
  manifested, warnings = verify.resume(str(tmp_path), make(config(), moved))
  assert warnings == [] and manifested['data'] == DATA['data']


def test_a_manifest_of_an_earlier_version(tmp_path):
  then = make(config(), DATA)
  old = {k: then[k] for k in ('config_sha256', 'data', 'versions')}
  manifest.write(str(tmp_path), old)
  other = make(config(), data(encoder_sha256='6f'))
  assert verify.resume(str(tmp_path), other) == (other, [])


def test_other_versions_warn(tmp_path):
  then = make(config(), DATA)
  then['versions'] = then['versions'] | {'jax': '0.0.1'}
  del then['versions']['numpy']
  manifest.write(str(tmp_path), then)
  _, warnings = verify.resume(str(tmp_path), make(config(), DATA))
  assert len(warnings) == 2
  assert 'began with jax 0.0.1 and resumes with' in warnings[0]
  assert 'numpy absent' in warnings[1]


@pytest.mark.parametrize('text', [None, '', '{"data"', '[]', '{}'])
def test_one_that_cannot_be_read(tmp_path, text):
  if text is not None:
    (tmp_path / 'manifest.json').write_text(text)
  with pytest.raises(InputError, match=r'manifest.json cannot be read'):
    verify.resume(str(tmp_path), make(config(), DATA))


# The hash of a batch.


def hashes(batches, steps=8):
  return [content_hash(b) for b in batches.iterate(0, steps)]


def test_what_a_batch_holds(toy, grouped):
  source = toy.as_data_source('train')
  make = lambda **more: Batches(source, toy_lib.SCHEMA, 32, seed=3, **more)
  first = hashes(make())
  assert len(set(first)) == 8 and all(0 <= h < 2**48 for h in first)
  assert hashes(make(compacted=False)) == first
  assert hashes(make(shuffle=False)) != first
  roomy = make()
  roomy.capacity *= 2
  assert hashes(roomy) == first
  rows = grouped.as_data_source('train')
  make = lambda **more: Batches(rows, test_groups.SCHEMA, 16, seed=3, **more)
  assert hashes(make()) == hashes(make(compacted=False))
  roomy = make()
  roomy.group_capacity *= 2
  assert hashes(roomy) == hashes(make())


def test_any_number_counts(toy):
  source = toy.as_data_source('train')
  batch = Batches(source, toy_lib.SCHEMA, 32)(0)
  whole = content_hash(batch)
  for field in ('slots', 'weights', 'floats'):
    changed = getattr(batch, field).copy()
    changed[3, 0] += 1
    assert content_hash(batch._replace(**{field: changed})) != whole
  labels = {k: v.copy() for k, v in batch.labels.items()}
  labels['click'][5] = 1 - labels['click'][5]
  assert content_hash(batch._replace(labels=labels)) != whole
  where = batch.where.copy()
  where[-1] = 0
  assert content_hash(batch._replace(where=where)) != whole
  order = np.arange(len(where))
  order[:2] = 1, 0
  swapped = batch._replace(slots=batch.slots[order])
  assert content_hash(swapped) != whole

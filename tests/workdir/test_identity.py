"""The identity of a run, and the stamp of what is made with it."""

import dataclasses

from esmm_jax.checksums import hash_fields, hash_json
from esmm_jax.schema import Field, Schema
from esmm_jax.types import InputError
from esmm_jax.workdir import identity
from esmm_jax.workdir.identity import Stamp
import jax.numpy as jnp
import numpy as np
import pytest

PARTS = {part: part[0] * 64 for part in identity.PARTS}
STAMP = Stamp('ab' * 32, 12, 'cd' * 32)


def params(**changes):
  tree = {
      'table': np.arange(24, dtype=np.float32).reshape(6, 1, 4),
      'net': {'tower': {'kernel': np.ones((1, 4), np.float32)}},
      'stats': {},
  }
  return tree | changes


@pytest.mark.parametrize('part', identity.PARTS)
def test_each_part_decides(part):
  whole = identity.of_parts(PARTS)
  assert len(whole) == 64 and identity.of_parts(dict(PARTS)) == whole
  assert identity.of_parts(PARTS | {part: ''}) != whole
  assert identity.of_parts({k: PARTS[k] for k in reversed(PARTS)}) == whole


def test_parts_that_change_places_are_another_run():
  swapped = PARTS | {'config': PARTS['schema'], 'schema': PARTS['config']}
  assert identity.of_parts(swapped) != identity.of_parts(PARTS)


def test_options_at_their_default_do_not_count():
  """So that an option that is added later changes no hash of a schema."""
  @dataclasses.dataclass
  class Before:
    name: str
    size: int = 3

  @dataclasses.dataclass
  class After(Before):
    added: str = ''

  assert hash_fields(Before('a')) == hash_fields(After('a'))
  assert hash_fields(Before('a', 4)) != hash_fields(Before('a'))
  assert hash_fields(After('a', added='x')) != hash_fields(After('a'))
  assert hash_json({'a': 1, 'b': 2}) == hash_json({'b': 2, 'a': 1})


def schema(**changes):
  fields = (Field('u', 'id', 5), Field('t', 'ids', 7, max_len=3))
  options = dict(fields=fields, truth=())
  return Schema(**(options | changes))


@pytest.mark.parametrize('change', [
    {'fields': schema().fields[::-1]},
    {'fields': (schema().fields[0], Field('t', 'ids', 8, max_len=3))},
    {'fields': (schema().fields[0], Field('t', 'ids', 7, max_len=4))},
    {'fields': (
        schema().fields[0], Field('t', 'ids', 7, max_len=3, combiner='mean'))},
    {'fields': schema().fields[:1]},
    {'tasks': schema().tasks[:1]},
])
def test_a_schema_is_told_apart(change):
  assert hash_fields(schema(**change)) != hash_fields(schema())
  assert hash_fields(Schema.from_dict(schema().to_dict())) == (
      hash_fields(schema()))


@pytest.mark.parametrize('piece', [1 << 26, 20])
def test_the_hash_of_parameters(piece, monkeypatch):
  monkeypatch.setattr(identity, '_PIECE', piece)
  whole = identity.hash_params(params())
  on_device = {
      'table': jnp.asarray(params()['table']),
      'net': {'tower': {'kernel': jnp.ones((1, 4))}},
      'stats': {},
  }
  assert identity.hash_params(on_device) == whole
  changed = params()['table'].copy()
  changed[5, 0, 3] = -changed[5, 0, 3]
  others = [
      params(table=changed),
      params(table=params()['table'].reshape(6, 2, 2)),
      params(table=params()['table'].view(np.int32)),
      params(net={'tower': {'bias': np.ones((1, 4), np.float32)}}),
      params(stats={'mean': np.zeros(1)}),
  ]
  hashes = {identity.hash_params(other) for other in others}
  assert len(hashes) == len(others) and whole not in hashes


def test_a_hash_that_is_known():
  table = params()['table']
  known = identity.about(table)
  assert identity.about(table, known[2]) == known
  assert identity.about(table, '00')[2] == '00'


def test_a_stamp_is_read_as_it_was_written():
  assert Stamp.from_dict(STAMP.to_dict()) == STAMP


@pytest.mark.parametrize('value', [
    3, [], 'text', {'identity': 3}, {'step': '3'}, {'step': True},
    {'other': ''},
])
def test_a_damaged_stamp(value):
  with pytest.raises(ValueError):
    Stamp.from_dict(value)
  with pytest.raises(InputError, match='^a/f.json is damaged: .* Do it.$'):
    identity.require('a/f.json', value, STAMP, 'Do it.')


@pytest.mark.parametrize('change, says', [
    ({'identity': 'ef' * 32}, 'it is of another run, whose identity is efef'),
    ({'params_sha256': '01' * 32}, 'other parameters of this run.* 0101'),
    ({'params_sha256': '', 'step': 3}, 'step was 3 with the sha256 unknown'),
])
def test_what_is_of_another_run_is_refused(change, says):
  value = STAMP._replace(**change).to_dict()
  with pytest.raises(InputError) as e:
    identity.require('a/f.json', value, STAMP, 'Calibrate again.')
  text = str(e.value)
  assert text.startswith('a/f.json: ') and text.endswith(' Calibrate again.')
  with pytest.raises(InputError, match=says):
    identity.require('a/f.json', value, STAMP, '')
  assert '\n' not in text


@pytest.mark.parametrize('change', [
    {}, {'identity': ''}, {'params_sha256': ''}, {'identity': '', 'step': 12},
])
def test_what_is_not_known_does_not_count(change, capsys):
  identity.require('f', STAMP._replace(**change).to_dict(), STAMP, '')
  identity.require('f', STAMP.to_dict(), STAMP._replace(**change), '')
  assert capsys.readouterr().err == ''


def test_without_a_stamp_it_warns_once(capsys):
  for _ in range(2):
    identity.require('b/without.json', None, STAMP, 'Do it.')
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 1 and lines[0].startswith('warning: b/without.json ')

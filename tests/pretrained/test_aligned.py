"""Vectors by value -> by id, and which columns can have some."""

import types

from esmm_jax.data.store.vocabulary import Vocabulary
from esmm_jax.pretrained import aligned
from esmm_jax.pretrained.options import Request
from esmm_jax.schema import Field, Schema
from esmm_jax.types import InputError
import numpy as np
import pyarrow as pa
import pytest

from tests.pretrained import samples

SCHEMA = Schema((
    Field('item', vocab_size=5), Field('seen', 'ids', vocab_size=5,
                                       table='item'),
    Field('past', 'ids', vocab_size=5, combiner='attention', target='item',
          table='item'),
    Field('price', 'float')))
ENCODER = types.SimpleNamespace(
    vocabulary=lambda table: Vocabulary(pa.array(['c', 'a', 'b'])))


def test_zeros_for_missing_rare_and_what_the_file_lacks(tmp_path):
  path = samples.parquet_file(
      tmp_path / 'a.parquet', ['b', 'z', 'c'], [[1.0, 2], [3, 4], [5, 6]])
  for column in ('item', 'seen'):
    one = aligned.align(Request(column, path), SCHEMA, ENCODER)
    assert one.ids.tolist() == [2, 4]
    np.testing.assert_array_equal(
        one.dense(), [[0, 0], [0, 0], [5, 6], [0, 0], [1, 2]])


def test_no_value_of_the_column(tmp_path):
  path = samples.parquet_file(tmp_path / 'a.parquet', [1, 2], [[1.0], [3]])
  with pytest.raises(InputError, match=(
      r"model.vectors: item: no value of .*a.parquet is a value of the column"
      r".*\['1', '2'\] .* \['c', 'a'\]")):
    aligned.align(Request('item', path), SCHEMA, ENCODER)


@pytest.mark.parametrize('text, folder, message', [
    ('itm:file=a', 'x', "itm is no column of ids .* Did you mean 'item'"),
    ('price:file=a', 'x', 'price is no column of ids that the model reads'),
    ('item:file=a', '', 'dataset.name=ali_ccp keeps none; it needs dataset'),
    ('item:file=a:frozen=False,seen:file=b:frozen=False', 'x',
     "seen and 'item' share the table 'item'"),
    ('past:file=a', 'x', 'past is combined by attention, and vectors of lists'),
])
def test_columns_that_can_have_none(text, folder, message):
  builder = types.SimpleNamespace(encoder_folder=folder, name='ali_ccp')
  with pytest.raises(InputError, match=message):
    aligned.check({'vectors': text}, SCHEMA, builder)
  aligned.check({'vectors': None}, SCHEMA, builder)

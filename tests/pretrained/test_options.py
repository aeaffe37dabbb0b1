"""The key `model.vectors`."""

from esmm_jax.pretrained import options
from esmm_jax.pretrained.options import Request
from esmm_jax.types import InputError
import pytest


def test_columns_files_and_whether_they_are_frozen():
  text = (
      'item:file=a/b.parquet , "user id":file="s:3,x.npz":frozen=False,'
      'tags:frozen=true:file=t.vec')
  assert options.parse(text) == [
      Request('item', 'a/b.parquet', True),
      Request('user id', 's:3,x.npz', False),
      Request('tags', 't.vec', True)]


@pytest.mark.parametrize('text', [None, '', ' '])
def test_none(text):
  assert options.parse(text) == []


@pytest.mark.parametrize('text, message', [
    (3, 'model.vectors is 3; it must be a text'),
    ('item', "model.vectors: 'item' names no file; write COLUMN:file=FILE"),
    (':file=a.npz', "':file=a.npz' names no column"),
    ('item:file=', "'item:file=' names no file"),
    ('item:file=a.npz:size=3', "'size=3' is no option of vectors"),
    ('item:a.npz', "'a.npz' is no option of vectors; write KEY=VALUE, or"),
    ('item:file=a.npz:frozen=0', "frozen is '0'; write True or False"),
    ('item:file=a.npz:file=b.npz', "'file' is set twice"),
    ('item:file=a.npz,item:file=b.npz', "names the column 'item' twice"),
    ('item:file="a.npz', 'a quote " is not closed'),
])
def test_refused(text, message):
  with pytest.raises(InputError, match=message) as e:
    options.parse(text)
  assert '\n' not in str(e.value) and 'model.vectors' in str(e.value)


def test_what_a_run_notes():
  model = {
      'name': 'mmoe', 'embed_dim': 4, 'vectors': 'a:file=x.npz,b:file=y.npz',
      'vectors_sha256': 'abc', 'vectors_form': [3, 5]}
  assert options.dims(model) == {'a': 3, 'b': 5}
  assert options.others(model) == {'name': 'mmoe', 'embed_dim': 4}

"""Search spaces, as people write them."""

import math

from esmm_jax.tuning import space
from esmm_jax.tuning.space import Dimension
from esmm_jax.types import InputError
import pytest

KINDS = {'learning_rate': float, 'model.embed_dim': int, 'activation': str,
         'model.dropout': float, 'batch_norm': bool}


def test_forms(tmp_path):
  (tmp_path / 'space.txt').write_text(
      '# Of the network.\n\nmodel.tower_units = [(64, 32), (16,)]  # Widths.\n'
      'activation=["relu", "gelu"]\n')
  assert space.read([
      'model.dropout=0:.5', str(tmp_path / 'space.txt'),
      'learning_rate=log:1e-4:1e-2']) == [
          Dimension('activation', ('relu', 'gelu')),
          Dimension('learning_rate', (), 1e-4, 1e-2, log=True),
          Dimension('model.dropout', (), 0.0, 0.5),
          Dimension('model.tower_units', ((64, 32), (16,)))]


def test_ranges_of_whole_numbers():
  (read,) = space.read(['model.embed_dim=log:8:64'])
  made = space.typed(read, KINDS.get)
  assert made.whole and made.ends == (8, 64)
  assert all(isinstance(end, int) for end in made.ends)
  assert str(made) == 'model.embed_dim=log:8:64'
  (read,) = space.read(['model.dropout=0:1'])
  assert not space.typed(read, KINDS.get).whole
  for text in ('model.embed_dim=8:9.5', 'activation=1:2', 'batch_norm=0:1'):
    (read,) = space.read([text])
    with pytest.raises(InputError, match='--space=' + text.split('=')[0]):
      space.typed(read, KINDS.get)


def test_values():
  rate = Dimension('learning_rate', (), 1e-4, 0.0123456, log=True)
  assert rate.value(0.00123456) == 0.001235
  assert rate.value(0.01234561) == 0.0123456  # Not 0.01235, which is above.
  units = Dimension('units', ((64, 32), (16,)))
  assert units.value('(64, 32)') == (64, 32)
  assert Dimension('n', (), 1, 9, whole=True).value(3) == 3


@pytest.mark.parametrize('texts, words', [
    ([], '--space has no key'),
    (['no.txt'], 'neither KEY=... nor a file'),
    (['learning_rate=1e-4'], 'write KEY=LOW:HIGH'),
    (['learning_rate=a:b'], 'write KEY=LOW:HIGH'),
    (['learning_rate=1:2:3'], 'write KEY=LOW:HIGH'),
    (['activation=[relu, gelu]'], 'with texts in quotes'),
    (['units=[1]'], 'two values or more'), (['units=[1, 1]'], 'each once'),
    (['a=2:1'], 'the lower one'), (['a=0:inf'], 'the lower one'),
    (['a=log:0:1'], 'begins above 0'), (['a=0:1', 'a=0:2'], 'a is there twice'),
])
def test_refused(texts, words):
  with pytest.raises(InputError) as e:
    space.read(texts)
  assert words in str(e.value) and '\n' not in str(e.value)


def test_a_line_of_a_file_is_named(tmp_path):
  path = tmp_path / 'space.txt'
  path.write_text('a=0:1\n\nb=3:2\n')
  with pytest.raises(InputError, match=f'--space={path}: line 3: b=3:2: '):
    space.read([str(path)])
  assert math.isclose(space.read(['a=1e-3:1'])[0].low, 0.001)

"""Sections of a config: what is out of its range is refused by its key."""

import dataclasses
import math

from esmm_jax.options import check_number, check_units, COUNT, number, one_of
from esmm_jax.options import Range
from esmm_jax.options import refuse_unknown, Section, SHARE
from esmm_jax.types import InputError, suggest
import pytest


@pytest.mark.parametrize('held, text, inside, outside', [
    (Range(0, 1), '[0, 1]', (0, 0.5, 1), (-1e-9, 1.001)),
    (Range(0, 1, open_low=True), '(0, 1]', (1e-9, 1), (0,)),
    (Range(0, 1e30, open_high=True), '[0, 1e+30)', (0, 1e29), (1e30,)),
    (Range(1, 2**31 - 1), '[1, 2147483647]', (1, 2**31 - 1), (0, 2**31)),
])
def test_range(held, text, inside, outside):
  assert str(held) == text
  assert all(map(held.holds, inside))
  assert not any(map(held.holds, (*outside, math.nan, math.inf, -math.inf)))


@dataclasses.dataclass(frozen=True)
class Toy(Section, prefix='toy'):
  name: str = one_of('a', 'b', default='a')
  count: int = number(1, COUNT)
  share: float | None = number(None, SHARE)

  def check(self):
    if self.name == 'b' and self.count > 5:
      raise InputError('toy.count must be at most 5 for b.')


def test_defaults_and_values():
  assert Toy.read({}) == Toy('a', 1, None)
  assert Toy.read({'name': 'b', 'share': 0.5}) == Toy('b', 1, 0.5)
  assert Toy.names() == ['name', 'count', 'share']


@pytest.mark.parametrize('values, words', [
    ({'count': 0}, 'toy.count is 0; .* a whole number in \\[1, 2147483647\\]'),
    ({'share': 1.5}, 'toy.share is 1.5; it must be a number in \\[0, 1\\]'),
    ({'share': math.nan}, 'toy.share is nan'),
    ({'name': 'c'}, "toy.name is 'c', which is not known. .*There are: a, b"),
    ({'name': 'b', 'count': 6}, 'at most 5 for b'),
    ({'cuont': 3}, "'toy.cuont', .* Did you mean 'count'"),
])
def test_refused(values, words):
  with pytest.raises(InputError, match=words):
    Toy.read(values)


@pytest.mark.parametrize('units, words', [
    ((80, 0), 'k is \\(80, 0\\)'), (('x',), 'the width of each layer'),
    ((1.5,), 'whole numbers'), ((1,) * 65, 'at most 64 whole numbers'),
])
def test_units(units, words):
  check_units('k', (360, 200, 80))
  with pytest.raises(InputError, match=words):
    check_units('k', units)


def test_refuse_unknown():
  refuse_unknown({'a': 1, 'gone': None}, ['a'], 'model', 'MMoE')
  with pytest.raises(InputError, match='model.b is set, but MMoE has no such'):
    refuse_unknown({'b': 1}, ['a'], 'model', 'MMoE')


def test_names_in_a_message():
  """Names that hold commas or blanks stand in quotes; of many the first."""
  names = ['c', 'a,b', '', 'd e', 'x\ty']
  assert suggest('q', names) == "There are: '', 'a,b', c, 'd e', 'x\\ty'."
  many = [f'n{k:03}' for k in range(300)]
  assert suggest('q', many).endswith(', n198, n199 and 100 more.')


@pytest.mark.parametrize('value', ['abc', (1,), math.nan, 2])
def test_what_is_no_number(value):
  """Keys of a config that are named by the user's labels have no type."""
  check_number('k', None, SHARE)
  with pytest.raises(InputError, match='k is .*; it must be a'):
    check_number('k', value, SHARE)

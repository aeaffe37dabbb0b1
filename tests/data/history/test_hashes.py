"""Hashes of keys: known ones, all forms of texts, how they spread."""

from esmm_jax.data.history import hashes
from esmm_jax.data.history.hashes import NO_KEY
from hypothesis import given, settings, strategies as st
import numpy as np
import pyarrow as pa
import pytest

MASK = 2**64 - 1


def slow(text):
  """FNV-1a of the bytes, then the finaliser of splitmix64."""
  h = 0xCBF29CE484222325
  for byte in text.encode():
    h = (h ^ byte) * 0x100000001B3 & MASK
  return finaliser(h)


def finaliser(x):
  x = x + 0x9E3779B97F4A7C15 & MASK
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
  x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
  return x ^ x >> 31


def of(texts, kind=None):
  return hashes.of_texts(pa.array(texts, kind or pa.string()))


def test_known_values():
  """As they are in stores that were written: they never change."""
  assert of(['', 'a', '7', 'Zürich', '日本', None]).tolist() == [
      slow(''), slow('a'), slow('7'), slow('Zürich'), slow('日本'), 0]
  # Printed by another implementation of FNV-1a: that of 'foobar'.
  assert finaliser(0x85944171F73967E8) == of(['foobar'])[0]


@settings(max_examples=50)
@given(st.lists(st.none() | st.text(), max_size=20), st.integers(0, 20))
def test_all_forms_of_a_column(texts, at):
  expected = [0 if t is None else slow(t) for t in texts]
  array = pa.array(texts, pa.string())
  for one in (
      array, array.cast(pa.large_string()), array.dictionary_encode(),
      pa.chunked_array([array[:at], array[at:]], pa.string()),
      pa.concat_arrays([pa.array(['x', None]), array])[2:],
      array.cast(pa.string_view())):
    assert hashes.of_texts(one).tolist() == expected
  assert hashes.of_texts(array[at:]).tolist() == expected[at:]
  assert hashes.of_texts(array[:at]).tolist() == expected[:at]


def test_no_text_and_no_number_has_the_hash_of_a_missing_key():
  # The integer whose finaliser is 0.
  zero = np.array([(2**64 - 0x9E3779B97F4A7C15)], np.uint64).view(np.int64)
  assert finaliser(int(zero.view(np.uint64)[0])) == 0
  none = np.zeros(1, bool)
  assert hashes.of_integers(zero, none) == 1
  assert hashes.of_integers(zero, ~none) == NO_KEY
  assert hashes.of_integers(np.array([5]), none).tolist() == [finaliser(5)]
  some = hashes.of_integers(np.arange(-1000, 1000), np.zeros(2000, bool))
  assert NO_KEY not in some and len(set(some.tolist())) == 2000


def test_joined_keys():
  a, b = of(['x', 'y', None, 'x', None]), of(['y', 'x', 'x', None, None])
  both, turned = hashes.joined([a, b]), hashes.joined([b, a])
  assert (both == NO_KEY).tolist() == [False, False, True, True, True]
  assert both[0] != turned[0] and both[0] == turned[1]
  np.testing.assert_array_equal(hashes.joined([a]), a)
  # No pair of texts is another pair with the border moved.
  assert hashes.joined([of(['ab']), of(['c'])]) != hashes.joined(
      [of(['a']), of(['bc'])])
  grid = np.arange(300)
  left = hashes.of_integers(np.repeat(grid, 300), np.zeros(90_000, bool))
  right = hashes.of_integers(np.tile(grid, 300), np.zeros(90_000, bool))
  for whole in ([left, right], [left, right, left], [left, left, right]):
    assert len(np.unique(hashes.joined(whole))) == 90_000


@pytest.mark.parametrize('make', [
    lambda k: of([f'user{i}' for i in range(k)]),
    lambda k: hashes.of_integers(np.arange(k), np.zeros(k, bool)),
    lambda k: hashes.joined([of([f'{i}' for i in range(k)]), of(['a'] * k)])])
def test_hashes_spread(make):
  """Chi-square of the first and of the last byte, 255 degrees of freedom."""
  some = make(50_000)
  for shift in (56, 28, 0):
    byte = (some >> np.uint64(shift)).astype(np.int64) & 255
    expected = len(some) / 256
    counts = np.bincount(byte, minlength=256)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert 150 < chi_square < 380  # 255 +- 5.5 standard deviations.

"""Numbers that are one number in the training rows, but for rounding."""

from esmm_jax.data.tabular.config import TabularConfig
from esmm_jax.data.tabular.fit import Fit
from esmm_jax.data.tabular.moments import Moments
from esmm_jax.data.values.raw_values import Location
import numpy as np
import pyarrow as pa
import pytest

from tests.data.tabular.test_tabular import prepared, read, table, write

HERE = Location('log')
VALUES = (0.0, 0.1, 0.3, -7.3, 1e-30, 1e-300, 1e15, 3e38, 1 / 3, 1.65e18, 2.5)
ROWS = (1, 2, 10, 1000, 50_003)
SCALINGS = ('standard', 'log')


def fitted(pieces, scaling, kind=None):
  """Fits a column; the pieces are all training rows."""
  fit = Fit(TabularConfig(float=f'a:scaling={scaling}', id='b'))
  for piece in pieces:
    rows = {'a': pa.array(piece, kind), 'b': pa.array(['x'] * len(piece))}
    fit.add(rows, np.ones(len(piece), bool), HERE)
  return fit.encoder()


def encoded(encoder, *values):
  rows = {'a': list(values), 'b': ['x'] * len(values)}
  return encoder.encode(rows)['a'].tolist()


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('value', [
    v if v in VALUES[:5] else pytest.param(v, marks=pytest.mark.slow)
    for v in VALUES])
def test_one_number_has_no_spread(value, scaling):
  """110 combinations: as one piece, as many, and with rounding in one row."""
  for num in ROWS:
    whole = np.full(num, value)
    once = whole.copy()
    once[num // 2] = np.nextafter(value, np.inf) if value else value
    summed = np.array([0.1] * num).cumsum() / (np.arange(num) + 1) * value
    for pieces in ([whole], np.array_split(whole, 3), [once], [summed]):
      encoder = fitted([p for p in pieces if len(p)], scaling)
      assert encoder.scaling('a').std == 0
      other = min(2 * value + 1.0, 3.4e38)
      assert encoded(encoder, value, other, None) == [0, 0, 0]


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('value', VALUES)
def test_one_other_number_is_a_spread(value, scaling):
  if scaling == 'log' and abs(value) < 1e-15:
    return  # Its logarithm is one of numbers near 0, as below.
  for num in ROWS[1:]:
    other = value * (1 + 1e-6) if value else 1e-6
    values = np.append(np.full(num - 1, value), min(other, 3.4e38))
    encoder = fitted([values], scaling)
    scaled = encoded(encoder, *values[-2:])
    assert encoder.scaling('a').std > 0 or abs(value) < 1e-150
    assert np.isfinite(scaled).all()
    # Of n numbers one is at most so far from the mean.
    assert max(map(abs, scaled)) <= np.sqrt(num) * 1.01


def test_numbers_that_were_float32():
  """They differ by rounding a million times as early."""
  near = np.array([0.3, np.nextafter(np.float32(0.3), 1)], np.float32)
  assert fitted([near], 'standard').scaling('a').std == 0
  as_text = [f'{v}' for v in near]
  assert fitted([as_text], 'standard').scaling('a').std > 0
  whole = np.array([2**24 - 2, 2**24 - 1], np.float32)  # Both are exact.
  assert fitted([whole], 'standard').scaling('a').std == 0.5
  past = np.array([2e9, 2e9 + 128], np.float32)
  assert fitted([past], 'standard').scaling('a').std == 0


def test_missing_numbers_are_no_spread():
  assert encoded(fitted([[None, None]], 'log'), 5000.0, None) == [0, 0]
  assert encoded(fitted([[None, 0.3]], 'standard'), 5000.0, None) == [0, 0]


def test_how_far_numbers_go():
  moments = Moments()
  assert moments.farthest(0.0, 1.0) == 0
  moments.add(np.array([1.0, 3.0, np.nan]))
  assert (moments.mean, moments.std, moments.low, moments.high) == (2, 1, 1, 3)
  assert moments.farthest(0.0, 2.0) == 1.5
  assert moments.farthest(0.0, 0.0) == 0


PRICES = {
    'rounding': ([0.3] * 5 + [0.1 + 0.2] + [0.35] * 4, (
        "column 'price' is constant in the training rows, 0.3, except for")),
    'missing': ([0.3] * 5 + [np.nan] + [0.35] * 4, (
        "column 'price' is constant in the training rows, 0.3, except for")),
    'far off': ([0.3] * 5 + [0.3001] + [0.35] * 3 + [9e9], (
        "column 'price' reaches 2.41e+14 standard deviations from its mean in"
        ' validation or test rows, but only 2.24 in training rows, where it'
        ' ranges from 0.3 to 0.3001')),
    'usual': ([1.0, 2.0, 3.0] * 2 + [500.0] * 4, ''),
}


@pytest.mark.parametrize('scaling', SCALINGS)
@pytest.mark.parametrize('case', PRICES)
def test_the_column_is_named(case, scaling, tmp_path):
  prices, text = PRICES[case]
  path = write(table(price=prices), tmp_path / 'log.parquet')
  data = prepared(
      tmp_path, path, min_count=1, float=f'price:scaling={scaling}')
  if case == 'far off' and scaling == 'log':
    text = "column 'price' reaches "
  said = data.warnings
  assert (text in said[0] and len(said) == 1) if text else said == []
  if case in ('rounding', 'missing'):
    assert not any(c['price'].any() for c in read(data).values())

"""Rows that are taken, and the sums that are their gradient."""

import functools

from esmm_jax.embeddings import distinct, sums
import jax
import jax.numpy as jnp
import numpy as np
import pytest

WIDTH = 5


def all_of_one(rng, n, num):
  return np.full(n, num // 2)


def two(rng, n, num):
  return rng.choice([0, num - 1], n)


def zipf(rng, n, num):
  return np.minimum(num ** rng.random(n), num - 1)


def uniform(rng, n, num):
  return rng.integers(0, num, n)


def all_distinct(rng, n, num):
  return rng.permutation(num)[:n]


def long_runs(rng, n, num):
  """Rows that fill blocks of 32 places and begin inside of others."""
  return np.repeat(rng.permutation(num), -(-n // num))[:n]


DRAWS = [all_of_one, two, zipf, uniform, all_distinct, long_runs]
# Places, rows: a block, less than one, and one to three rounds of blocks.
SIZES = [
    (1, 1), (7, 9), (513, 700),
    *(pytest.param(n, n, marks=pytest.mark.slow) for n in (512, 5000, 40_000))]


def drawn(draw, n, num):
  rng = np.random.default_rng(n)
  index = draw(rng, n, num).astype(np.int32)
  return index, rng.standard_normal((n, WIDTH)).astype(np.float32)


def exact(index, values, num):
  """The sums in float64, and those of absolute values."""
  total, size = np.zeros((2, num, *values.shape[index.ndim :]))
  np.add.at(total, index, values.astype(np.float64))
  np.add.at(size, index, np.abs(values).astype(np.float64))
  return total, size


def assert_sums(got, index, values, num):
  total, size = exact(index, values, num)
  assert got.shape == total.shape and got.dtype == np.float32
  assert np.all(np.abs(got - total) <= 1e-6 * size)


@pytest.mark.parametrize('n, num', SIZES)
@pytest.mark.parametrize('draw', DRAWS)
def test_sums_in_blocks(draw, n, num):
  index, values = drawn(draw, n, num)
  got = jax.jit(sums.sums_in_blocks, static_argnames='num')(
      index, values, num=num)
  assert_sums(got, index, values, num)


@pytest.mark.parametrize('draw', DRAWS)
def test_sums_by_product(draw):
  index, values = drawn(draw, 500, 600)
  assert_sums(
      sums.sums_by_product(index, values, num=600), index, values, 600)


@pytest.mark.parametrize('way', [
    sums.sums_by_scatter, sums.sums_without_contention])
@pytest.mark.parametrize('num', [10, 90_000])
def test_indices_of_any_shape(way, num):
  """Few rows by a product, many in blocks; rows of any shape too."""
  index, values = drawn(zipf, 1000, num)
  index, values = index.reshape(50, 20), values.reshape(50, 20, 1, WIDTH)
  assert_sums(way(index, values, num=num), index, values, num)


def test_padding_is_dropped():
  index, values = drawn(uniform, 2000, 100)
  index[::3] = 100 + np.arange(len(index[::3]))
  some = index < 100
  got = sums.sums_in_blocks(index, values, num=100)
  assert_sums(got, index[some], values[some], 100)


def test_the_same_bits_for_any_neighbours():
  """A row's sum depends on its own values in their order, mapped or not."""
  index, values = drawn(zipf, 3000, 400)
  several = np.stack([values, 2 * values, -values])
  one = functools.partial(sums.sums_in_blocks, num=400)
  mapped = jax.jit(jax.vmap(one, (None, 0)))(index, several)
  np.testing.assert_array_equal(mapped[1], 2 * mapped[0])
  np.testing.assert_array_equal(mapped[2], -mapped[0])
  assert_sums(mapped[0], index, values, 400)


def test_the_gradient_of_taken_rows():
  """d/dt sum_i t[index_i]^2 w_i is 2 t_r times the sum of its w."""
  rng = np.random.default_rng(2)
  table = rng.standard_normal((30, WIDTH)).astype(np.float32)
  index = rng.integers(0, 20, (8, 4), np.int32)
  weights = rng.random((8, 4, 1)).astype(np.float32)

  def loss(table):
    return jnp.sum(jnp.square(sums.take(table, index)) * weights)

  np.testing.assert_array_equal(sums.take(table, index), table[index])
  by_row, _ = exact(index, weights, 30)
  np.testing.assert_allclose(
      jax.grad(loss)(table), 2 * table * by_row, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('draw', DRAWS)
def test_distinct(draw):
  index, _ = drawn(draw, 300, 500)
  got, inverse = distinct.distinct(index, 400, 500)
  want = np.unique(index)
  np.testing.assert_array_equal(got[: len(want)], want)
  assert np.all(got[len(want) :] == 500) and got.shape == (400,)
  np.testing.assert_array_equal(got[inverse], index)


def test_no_place_at_all():
  """Of a model without ids: every row has the sum 0."""
  index, values = jnp.zeros((5, 0), jnp.int32), jnp.zeros((5, 0, 3))
  for add in (sums.sums_without_contention, sums.sums_by_scatter):
    got = add(index, values, num=4)
    np.testing.assert_array_equal(got, np.zeros((4, 3)))

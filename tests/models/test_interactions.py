"""Factorization machines on the fields: the formula, its names, what it learns.

Outputs of whole models are in test_architectures.py (golden values), what all
models do with them in test_models.py.
"""

import dataclasses

from esmm_jax.models import MODELS
from esmm_jax.models.architecture import Architecture
from esmm_jax.models.interactions import pair_products
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import CART_FUNNEL, CLICKED
from esmm_jax.training.loop import train_and_evaluate
from esmm_jax.types import InputError
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import shared_embedding
from tests import toy

D, U = 4, 50
UNITS = (6, 5)


class Plain(Architecture):
  """As a plugin writes it: nothing in it speaks of interactions."""

  @nn.compact
  def __call__(self, table, batch, *, train=False):
    x = self.shared_input(table, batch)
    return self.run_towers(dict.fromkeys(self.tasks, x), batch.where, train)


def model(name='shared_embedding', schema=toy.SCHEMA, **options):
  return MODELS[name](schema, **{'tower_units': UNITS, **options})


def shapes(made, schema=toy.SCHEMA):
  """Parameters by their path, from shapes alone."""
  variables = jax.eval_shape(
      made.init, jax.random.key(0), jnp.zeros((U, made.row_width(D))),
      toy.random_batch(2, schema))
  leaves = jax.tree.leaves_with_path(variables['params'])
  return {'/'.join(k.key for k in path): x.shape for path, x in leaves}


# The formula.


@pytest.mark.parametrize('num', [1, 2, 3, 7])
def test_products_are_those_of_all_pairs(num):
  """Against the sum over pairs, one by one, in float64."""
  vectors = np.random.default_rng(num).normal(size=(6, num, D))
  want = np.zeros((6, D))
  for i in range(num):
    for j in range(i + 1, num):
      want += vectors[:, i] * vectors[:, j]
  got = pair_products(jnp.float32(vectors))
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_gradient_of_products():
  """That by v_i is the sum of the others, times what comes from above."""
  rng = np.random.default_rng(0)
  vectors, above = rng.normal(size=(6, 5, D)), rng.normal(size=(6, D))
  (got,) = jax.vjp(pair_products, jnp.float32(vectors))[1](jnp.float32(above))
  want = np.zeros(vectors.shape)
  for i in range(5):
    for j in range(5):
      if i != j:
        want[:, i] += above * vectors[:, j]
  np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_a_field_that_is_absent_has_no_part():
  """An empty list is the zero vector, so only other pairs are left."""
  vectors = jnp.float32(np.random.default_rng(0).normal(size=(3, 4, D)))
  got = pair_products(vectors.at[:, 2].set(0))
  rest = vectors[:, np.array([0, 1, 3])]
  np.testing.assert_allclose(got, pair_products(rest), rtol=1e-5, atol=1e-6)


# Parameters and rows of the table.


@pytest.mark.parametrize('name, options, tasks, want', [
    ('shared_embedding', {}, None, 1 * (D + 2)),
    ('shared_embedding', {}, CART_FUNNEL, 1 * (D + 3)),
    ('shared_embedding', dict(share_embeddings=False), None, 2 * (D + 1)),
    ('single_task', {}, CLICKED, 1 * (D + 1)),
    ('stem', {}, None, 3 * (D + 1)),
])
def test_a_row_has_first_order_weights_behind_each_embedding(
    name, options, tasks, want):
  """One for each task that alone reads it; with other interactions none."""
  schema = dataclasses.replace(
      toy.SCHEMA, tasks=tasks or toy.SCHEMA.tasks)
  deep = model(name, schema, interaction='deepfm', **options)
  assert deep.row_width(D) == want
  for other in ('none', 'fm'):
    plain = model(name, schema, interaction=other, **options)
    assert plain.row_width(D) == plain.num_tables * D


def test_parameters_of_fm():
  """The vectors of the two floats, and D more inputs of each tower."""
  plain, more = shapes(model()), shapes(model(interaction='fm'))
  added = {k: v for k, v in more.items() if plain.get(k) != v}
  first = 'hidden/dense_0/kernel'
  width = 4 * D + 2
  assert added == {
      'shared_products/float_vectors': (2, D),
      **{f'tower_{t}/{first}': (width + D, 6) for t in ('ctr', 'cvr')}}


def test_parameters_of_deepfm():
  """Weights of products where tasks share them; towers are as without."""
  plain = shapes(model())
  got = shapes(model(interaction='deepfm'))
  assert plain.items() <= got.items()
  assert {k: v for k, v in got.items() if k not in plain} == {
      'shared_products/float_vectors': (2, D),
      **{f'tower_{t}_fm/float_weights': (2,) for t in ('ctr', 'cvr')},
      **{f'tower_{t}_fm/product_weights': (D,) for t in ('ctr', 'cvr')}}
  apart = shapes(model('single_task', interaction='deepfm'))
  assert not any('product_weights' in k for k in apart)
  ids = toy.SCHEMA.select(['user', 'item'])
  apart = shapes(model('single_task', ids, interaction='deepfm'), ids)
  assert {k.split('/')[0] for k in apart} == {'tower_ctr', 'tower_cvr'}


# Refusals.


@pytest.mark.parametrize('value', ['', 'FM', 'dcn', 3])
def test_unknown_interactions(value):
  with pytest.raises(InputError) as e:
    model(interaction=value)
  assert str(e.value).startswith(f'model.interaction is {value!r}.')
  assert 'There are: deepfm, fm, none.' in str(e.value)


@pytest.mark.parametrize('value', ['fm', 'deepfm'])
def test_one_field_has_no_pairs(value):
  schema = Schema((Field('user', vocab_size=60),))
  with pytest.raises(InputError, match="'user' is the only field"):
    model(schema=schema, interaction=value)
  model(schema=schema)


def test_groups_of_fields_and_products():
  made = model(interaction='fm', groups=(('user',),))
  with pytest.raises(InputError, match=r"no model\.interaction='fm'"):
    shapes(made)


def test_a_model_of_a_plugin_that_adds_no_terms():
  """It has the products, as it has crosses, and says that it has no terms."""
  assert shapes(Plain(toy.SCHEMA, interaction='fm'))
  with pytest.raises(InputError, match=r"'deepfm', and Plain .*self\.inputs"):
    shapes(Plain(toy.SCHEMA, interaction='deepfm'))


# Learning.


def write_xor(path, num):
  """Clicks where the parities of two ids differ; one in ten is turned over."""
  rng = np.random.default_rng(0)
  a, b = rng.integers(0, 6, (2, num))
  click = ((a + b) % 2) ^ (rng.random(num) < 0.1)
  rows = ['a,b,click', *(f'a{i},b{j},{y}' for i, j, y in zip(a, b, click))]
  path.write_text('\n'.join(rows) + '\n', 'utf-8')


@pytest.mark.long
@pytest.mark.parametrize('interaction, low, high', [
    ('none', 0.4, 0.6), ('deepfm', 0.85, 0.95), ('fm', 0.85, 0.95)])
def test_a_product_of_two_ids(interaction, low, high, tmp_path):
  """A linear model does not learn it, one with products does.

  With the label turned over in one row of ten the best AUC is 0.9.
  """
  write_xor(tmp_path / 'log.csv', 20_000)
  config = shared_embedding.get_config('tabular')
  config.update_from_flattened_dict({
      'dataset.files': str(tmp_path / 'log.csv'),
      'dataset.id': 'a,b', 'dataset.conversion': '', 'num_epochs': 5,
      'batch_size': 256, 'learning_rate': 0.01, 'embed_init_scale': 0.1,
      'model.embed_dim': 4, 'model.tower_units': (), 'estimator': 'click_space',
      'model.interaction': interaction})
  results = train_and_evaluate(
      config, str(tmp_path / 'run'), str(tmp_path / 'data'))
  assert low < results['test/ctr/auc'] < high

"""A package outside of the repository that adds one part of each kind."""

import pathlib

INIT = ''
# In a file of its own, which the plugin imports: it belongs to its source.
MODEL = '''
from esmm_jax.models.architecture import Architecture
import flax.linen as nn


class Linear(Architecture):
  """A tower for each task on the embeddings, scaled."""

  scale: float = 1.0

  @nn.compact
  def __call__(self, table, batch, *, train=False):
    x = self.scale * self.shared_input(table, batch)
    return self.run_towers(dict.fromkeys(self.tasks, x), batch.where, train)
'''
PARTS = '''
from esmm_jax import DATASETS, DIRECTIONS, ESTIMATORS, METRICS, MODELS
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.estimators.contract import Estimator, Needs
from esmm_jax.estimators.losses import cross_entropy, sum_and_count
from esmm_jax.schema import Field, Schema
from esmm_jax.tasks import FUNNEL, Head
from esmm_jax.types import Array
import jax.numpy as jnp
import numpy as np

from my_package import model


def focal(
    logits, labels, where, *, tasks=FUNNEL, gamma: float | Array = 1.0):
  """ESMM's losses, the click's times |y - p|^gamma, and a head's on clicks."""
  p = {t: 1 / (1 + jnp.exp(-z)) for t, z in logits.items()}
  y = labels['click']
  bce = cross_entropy(logits['ctr'], y)
  joint = jnp.clip(p['ctr'] * p['cvr'], 1e-6, 1 - 1e-6)
  z = jnp.log(joint) - jnp.log1p(-joint)
  return {
      'ctr_focal': sum_and_count(bce * jnp.abs(y - p['ctr']) ** gamma, where),
      'ctcvr': sum_and_count(
          cross_entropy(z, labels['conversion']), where),
      'cvr_second': sum_and_count(
          cross_entropy(logits['second'], labels['conversion']), where * y),
  }


def weights(tasks):
  return {'ctr_focal': 1.0, 'ctcvr': 1.0, 'cvr_second': 0.5}


def needs():
  return Needs(heads=(Head('second', like='cvr'),))


def brier(logits, labels, where):
  """mean squared error of the probabilities."""
  p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  return np.average((p - np.asarray(labels)) ** 2, weights=where)


class Coins(ColumnarBuilder):
  """Rows whose label is thrown, with a coin for each."""

  name = 'coins'

  @classmethod
  def from_options(cls, data_dir=None, rows=600):
    coins = cls(data_dir=data_dir)
    coins.rows = rows
    return coins

  def _describe(self):
    return (
        Schema((Field('coin', vocab_size=12), Field('size', 'float'))),
        dict(description='.', homepage='https://example.org', citation=''),
    )

  def _generate_splits(self):
    return self._describe()[0], {
        split: iter([self.thrown(seed)])
        for seed, split in enumerate(('train', 'valid', 'test'))
    }, {}

  def thrown(self, seed):
    rng = np.random.default_rng(seed)
    coin = rng.integers(2, 12, self.rows).astype(np.int32)
    click = rng.random(self.rows) < coin / 14
    return dict(
        coin=coin,
        size=rng.normal(size=self.rows).astype(np.float32),
        click=click.astype(np.int8),
        conversion=(click & (rng.random(self.rows) < 0.4)).astype(np.int8),
    )


MODELS['linear'] = model.Linear
ESTIMATORS['focal'] = Estimator(focal, weights, needs)
METRICS['brier'] = brier
DIRECTIONS['brier'] = 'min'
DATASETS['coins'] = Coins
'''
CONFIG = '''
from configs import common


def get_config(variant=''):
  config = common.base()
  config.plugins = ('my_package.parts',)
  config.model = common.model('linear', embed_dim=4, tower_units=(4,),
                              scale=0.5)
  config.estimator = 'focal'
  config.dataset = dict(name='coins', rows=600, train_split='train',
                        valid_split='valid', test_split='test', fields=(),
                        tasks=())
  config.batch_size = 100
  config.learning_rate = 0.01
  config.selection.metric = 'valid/ctr/brier'
  config.run.save_predictions = True
  return config
'''
TABLE = '''
from esmm_jax.sweeps.points import fixed, product, sweep
from esmm_jax.sweeps.table import Column, Table


def get_table(variant=''):
  points = product(
      fixed('config', 'my_config.py'),
      sweep('loss_weights.ctr_focal', (0.5, 2.0)),
      sweep('estimator_options.gamma', (0.0, 2.0)),
      fixed('seed', 0),
  )
  return Table(
      title='Focal',
      points=points,
      rows=('loss_weights.ctr_focal', 'estimator_options.gamma'),
      columns=(Column('Brier', 'test/ctr/brier'),),
  )
'''


def write(folder: pathlib.Path) -> pathlib.Path:
  """Writes the package, a config and a table into a folder; returns it."""
  package = folder / 'my_package'
  package.mkdir(parents=True)
  for name, text in (('__init__', INIT), ('model', MODEL), ('parts', PARTS)):
    (package / f'{name}.py').write_text(text, 'utf-8')
  (folder / 'my_config.py').write_text(CONFIG, 'utf-8')
  (folder / 'my_table.py').write_text(TABLE, 'utf-8')
  return folder

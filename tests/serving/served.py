"""A small finished run, and rows to score with it."""

import importlib
import pathlib
import shutil
from typing import NamedTuple

from esmm_jax.serving import predictor
from esmm_jax.training import parts
from esmm_jax.types import Ragged
from pyarrow import parquet
import pyarrow as pa


def small_config(**changes):
  """A smoke config on even fewer rows; all optimizers and models fit."""
  config = importlib.import_module('configs.esmm').get_config('smoke')
  config.update_from_flattened_dict({
      'dataset.num_train': 6000,
      'dataset.num_valid': 6000,
      'dataset.num_test': 3000,
      'eval_batch_size': 1024,
      'evals_per_epoch': 2,
      'save_predictions': True,
      'selection.metric': 'valid/ctcvr/logloss',
      'selection.mode': 'max',
      **changes,
  })
  return config


class Finished(NamedTuple):
  """Folders of a run and of its data."""

  folder: pathlib.Path
  data: pathlib.Path

  def predictor(self, **options):
    return predictor.load(str(self.folder), **options)

  def builder(self):
    config = self.predictor().config
    return parts.dataset(config.dataset, str(self.data))

  def columns(self, low=0, high=3000):
    """Columns of rows of the test split, as the data set holds them."""
    return self.builder().as_data_source('test').joined(low, high)

  def table(self, low=0, high=3000):
    """The same as an arrow table, with a key that counts down."""
    columns = {}
    for name, c in self.columns(low, high).items():
      if not isinstance(c, Ragged):
        columns[name] = pa.array(c)
        continue
      offsets = pa.array(c.offsets, pa.int32())
      columns[name] = pa.ListArray.from_arrays(offsets, c.values)
      if c.weights is not None:
        columns[f'{name}.weight'] = pa.ListArray.from_arrays(
            offsets, c.weights)
    return pa.table(columns)

  def saved(self):
    """What the run itself predicted of the test split."""
    return parquet.read_table(self.folder / 'predictions' / 'test.parquet')

  def copy(self, folder):
    """A copy that may be changed."""
    shutil.copytree(self.folder, folder)
    return Finished(folder, self.data)

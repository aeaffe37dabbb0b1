"""Trains LightGBM on the columns of a finished run, to compare with the run.

  pip install lightgbm
  python -m benchmarks.trees --workdir=RUN --seeds=3

One model for clicks over all impressions and one for conversions over clicked
ones, at most 1,000 rounds, stopped by AUC on the validation split after 50
without gain. Ids are categories, but those of more than 255 values are left
out, and so are the buckets of numbers that are there themselves: the trees
overfit them. A list is its first entry. `PARAMS` were the best of four on the
validation day of KuaiRand's nightly history. Prints one JSON object a line for
each seed, with the AUC of the test split beside that of the run.
"""

import json
import time
from typing import Any

from absl import flags
from esmm_jax.data.store.columnar import ColumnarBuilder
from esmm_jax.metrics.ranking import auc
from esmm_jax.serving.predictor import load
from esmm_jax.training import parts
from esmm_jax.types import InputError, Ragged
from esmm_jax.workdir import manifest
import numpy as np

from experiments import cli

_WORKDIR = flags.DEFINE_string('workdir', '', 'Folder of the finished run.')
_SEEDS = flags.DEFINE_integer('seeds', 1, 'Number of seeds.', lower_bound=1)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Folder of prepared data.')
MOST_ROUNDS, PATIENCE = 1000, 50
MOST_VALUES = 255  # Of a category.
SPACES = ('ctr', 'cvr_clicked', 'ctcvr')
# Of every model; deterministic on any number of cores.
PARAMS = {
    'objective': 'binary',
    'metric': 'auc',
    'num_leaves': 15,
    'learning_rate': 0.05,
    'min_data_in_leaf': 200,
    'feature_fraction': 0.7,
    'bagging_fraction': 0.8,
    'bagging_freq': 1,
    'cat_smooth': 100,
    'cat_l2': 50,
    'lambda_l2': 5,
    'deterministic': True,
    'force_row_wise': True,
    'verbosity': -1,
}


def main() -> None:
  try:
    import lightgbm
  except ImportError as e:
    raise InputError(
        'lightgbm is not installed; type: pip install lightgbm'
    ) from e
  predictor = load(_WORKDIR.value, data_dir=_DATA_DIR.value)
  section = predictor.config.dataset
  builder = parts.dataset(section, _DATA_DIR.value)
  manifest.require_data(_WORKDIR.value, builder)
  names = (section.train_split, section.valid_split, section.test_split)
  splits = [columns_of(builder, split) for split in names]
  for seed in range(_SEEDS.value):
    start = time.perf_counter()
    aucs = measure(lightgbm, splits, seed)
    line = {'name': 'lightgbm', 'rows': len(splits[0][1]), 'seed': seed}
    line |= {f'test/{space}/auc': aucs[space] for space in SPACES}
    line |= {
        f'run/{space}/auc': predictor.results[f'test/{space}/auc']
        for space in SPACES
    }
    line['ms'] = 1000 * (time.perf_counter() - start)
    print(json.dumps(line), flush=True)


def columns_of(
    builder: ColumnarBuilder, split: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[int]]:
  """Reads a split.

  Returns:
    float32 [n, F], clicks [n], conversions [n], and the columns that are ids.
  """
  source = builder.as_data_source(split)
  rows = source.joined(0, len(source))
  inputs, categories = [], []
  names = [field.name for field in builder.schema.fields]
  for field in builder.schema.fields:
    number = field.name.removesuffix('_bucket')
    is_bucket = number != field.name and number in names
    if field.vocab_size > MOST_VALUES or is_bucket:
      continue
    if field.kind != 'float':
      categories.append(len(inputs))
    inputs.append(first_entries(rows[field.name]))
  return (
      np.stack(inputs, axis=1).astype(np.float32),
      np.asarray(rows['click']),
      np.asarray(rows['conversion']),
      categories,
  )


def first_entries(column: np.ndarray | Ragged) -> np.ndarray:
  """Returns a column's values, [n]; of lists the first entry, 0 of none."""
  if not isinstance(column, Ragged):
    return np.asarray(column)
  low, high = column.offsets[:-1], column.offsets[1:]
  last = max(len(column.values) - 1, 0)
  return np.where(low < high, column.values[np.minimum(low, last)], 0)


def measure(lightgbm: Any, splits: list[Any], seed: int) -> dict[str, float]:
  """Trains both models; returns the test AUC of each space."""
  (_, _, _, categories), _, (inputs, click, conversion, _) = splits
  p = {}
  for task in ('ctr', 'cvr'):
    data = []
    for x, clicks, conversions, _ in splits[:2]:
      where = clicks > 0 if task == 'cvr' else np.ones(len(x), bool)
      label = conversions if task == 'cvr' else clicks
      data.append((x[where], label[where]))
    train = lightgbm.Dataset(
        *data[0], categorical_feature=categories, free_raw_data=False
    )
    model = lightgbm.train(
        PARAMS | {'seed': seed},
        train,
        MOST_ROUNDS,
        valid_sets=[lightgbm.Dataset(*data[1], reference=train)],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )
    p[task] = model.predict(inputs, num_iteration=model.best_iteration)
  return {
      'ctr': auc(p['ctr'], click),
      'cvr_clicked': auc(p['cvr'], conversion, click > 0),
      'ctcvr': auc(p['ctr'] * p['cvr'], conversion),
  }


if __name__ == '__main__':
  cli.run(main)

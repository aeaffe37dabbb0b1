"""How much of a difference between two runs the test rows alone could make.

The spread over seeds is that of training again; all runs are scored on the same
test rows, so their own noise is not in it. It is in DeLong's standard error of
the difference, from what both runs predict for each row:
`predictions/test.parquet`, written with --config.save_predictions=true.
"""

import os
from typing import NamedTuple

from esmm_jax.metrics.significance import DeLong, delong
from esmm_jax.types import InputError
from esmm_jax.workdir.folder import predictions_file
import numpy as np

_NAN = float('nan')


class _Space(NamedTuple):
  """Where an AUC comes from in the file of predictions.

  Attributes:
    score: Column of the probabilities.
    labels: Columns that are all 1 in a positive row.
    where: Column that is 1 in the rows that count; '' for all rows.
  """

  score: str
  labels: tuple[str, ...]
  where: str = ''


SPACES = {
    'test/ctr/auc': _Space('p_ctr', ('click',)),
    'test/cvr_clicked/auc': _Space('p_cvr', ('conversion',), 'click'),
    'test/ctcvr/auc': _Space('p_ctcvr', ('click', 'conversion')),
    'test/ctcvr_common/auc': _Space('p_ctcvr_common', ('click', 'conversion')),
}


def auc_difference(ours: str, theirs: str, metric: str) -> DeLong:
  """DeLong's test of one AUC of two runs.

  Args:
    ours: A run's folder.
    theirs: The other run's.
    metric: One of `SPACES`.

  Returns:
    The test; nan throughout where a run has no saved predictions.

  Raises:
    InputError: The metric is not known, a column is not there, or the runs did
      not predict the same rows.
  """
  if metric not in SPACES:
    raise InputError(
        f'No test noise of {metric!r} is known, only of {", ".join(SPACES)}.'
    )
  space = SPACES[metric]
  paths = [predictions_file(folder) for folder in (ours, theirs)]
  if not all(map(os.path.exists, paths)):
    return DeLong(*[_NAN] * 6)
  names = dict.fromkeys((space.score, *space.labels, space.where))
  a, b = (_read(path, list(filter(None, names))) for path in paths)
  for name in filter(None, (*space.labels, space.where)):
    if not np.array_equal(a[name], b[name]):
      raise InputError(
          f'{paths[0]} has {len(a[name])} rows and {paths[1]} {len(b[name])},'
          f' with {name!r} not the same in all; compare runs of one test split.'
      )
  positive = np.logical_and.reduce([a[name] == 1 for name in space.labels])
  rows = a[space.where] == 1 if space.where else slice(None)
  return delong(
      a[space.score][rows], b[space.score][rows], positive[rows]
  )


def _read(path: str, columns: list[str]) -> dict[str, np.ndarray]:
  from pyarrow import parquet

  file = parquet.ParquetFile(path)
  if absent := [c for c in columns if c not in file.schema_arrow.names]:
    raise InputError(
        f'{path} has no column {absent[0]!r}, only'
        f' {", ".join(file.schema_arrow.names)}. Delete the folder of the run'
        ' and run it again.'
    )
  table = file.read(columns=columns)
  return {c: table[c].to_numpy() for c in columns}

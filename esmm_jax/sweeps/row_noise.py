"""Standard error of an AUC difference due to the finite test set (DeLong).

The spread over seeds measures training again; all runs are scored on the same
test rows, so it lacks the noise of the rows. DeLong's standard error of the
difference has it, computed from the predictions of both runs for each row:
`predictions/test.parquet`, written with --config.save_predictions=true.
"""

import math
import os
from typing import NamedTuple

from esmm_jax.metrics.significance import DeLong, delong
from esmm_jax.types import InputError
from esmm_jax.workdir import end_note, predictions
from esmm_jax.workdir.folder import predictions_file
from esmm_jax.workdir.identity import say_once
import numpy as np


class _Space(NamedTuple):
  """Columns of the file of predictions that an AUC is computed from.

  Attributes:
    score: Column of the probabilities.
    labels: Columns that are all 1 in a positive example.
    where: Column that is 1 in the examples that count; '' for all.
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


def auc_difference(run: str, baseline: str, metric: str) -> DeLong:
  """Tests the difference between the AUCs of two runs (DeLong).

  Args:
    run: A run's folder.
    baseline: Folder of the run that it is compared with.
    metric: One of `SPACES`.

  Returns:
    The test; nan throughout where a run has no saved predictions, and with a
    warning where they are damaged or of another run.

  Raises:
    InputError: The metric is not one of `SPACES`, a column is absent, or the
      runs did not predict the same rows.
  """
  if metric not in SPACES:
    raise InputError(
        f'No test noise of {metric!r} is known, only of {", ".join(SPACES)}.'
    )
  space = SPACES[metric]
  paths = [predictions_file(folder) for folder in (run, baseline)]
  if not all(map(os.path.exists, paths)):
    return DeLong(*[math.nan] * 6)
  names = dict.fromkeys((space.score, *space.labels, space.where))
  wanted = list(filter(None, names))
  try:
    a, b = (
        predictions.read(path, wanted, end_note.stamp(folder))
        for path, folder in zip(paths, (run, baseline))
    )
  except predictions.UnsoundError as e:
    say_once(f'{e} Until then the noise of its test rows is not known.')
    return DeLong(*[math.nan] * 6)
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


"""CTCVR with the pCTR of a common network, another run's, as in the ESMM paper.

The paper compares CVR models by the product of their pCVR with the pCTR of one
network. `common_ctr` names the run that is this network; its predictions of the
test split are read from its folder.
"""

from collections.abc import Sequence
import graphlib
import os

from esmm_jax import paths
from esmm_jax.estimators import funnel
from esmm_jax.metrics.by_space import Observed
from esmm_jax.metrics.one_task import of_events
from esmm_jax.training.settings import Settings
from esmm_jax.types import Array, InputError
from esmm_jax.workdir import end_note, predictions
from esmm_jax.workdir.folder import predictions_file
import jax.numpy as jnp
import numpy as np
from scipy import special

_LARGEST = 1e4  # Log-odds of a probability of 0 or 1.


def common_ctr_metrics(
    outputs: dict[str, Array], observed: Observed, workdir: str, folder: str
) -> dict[str, float]:
  """Computes the metrics of this run's pCVR times the common network's pCTR.

  Args:
    outputs: `ctr` and `cvr`, float32 [n], log-odds; gets `ctcvr_common`.
    observed: The same rows, in the same order.
    workdir: This run's folder.
    folder: The common network's, from `workdir`.

  Returns:
    `ctcvr_common/METRIC` -> value.

  Raises:
    InputError: There are no predictions, or they are of other rows.
  """
  other = os.path.normpath(os.path.join(workdir, paths.expand(folder)))
  if other == os.path.normpath(workdir):
    ctr = outputs['ctr']
  else:
    ctr = _saved_ctr(other, np.asarray(observed.labels['click']), folder)
  joint = funnel.joint_logit(jnp.asarray(ctr), jnp.asarray(outputs['cvr']))
  outputs['ctcvr_common'] = np.asarray(joint, np.float32)
  label = np.asarray(observed.labels['conversion'])
  values = of_events(outputs['ctcvr_common'], label)
  return {f'ctcvr_common/{name}': value for name, value in values.items()}


def common_ctr_order(
    settings: Sequence[Settings],
    workdirs: Sequence[str],
    click: Array | None = None,
) -> dict[int, int | None]:
  """Orders replicas so that a run is tested before those that take its pCTR.

  Refuses before training what `common_ctr_metrics` would refuse after it.

  Args:
    settings: Of the replicas.
    workdirs: Their folders; `common_ctr` is a path from there.
    click: Clicks of the test split, [n], which the runs have in common; None:
      the split is not known or has none.

  Returns:
    Replica -> the other replica whose pCTR it takes, or None; in an order in
    which they can be tested.

  Raises:
    InputError: A run that is named has no predictions and will have none, or
      damaged ones, or those of other rows; or runs name each other.
  """
  runs = [os.path.normpath(w) for w in workdirs]
  source: dict[int, int | None] = {}
  for r, replica in enumerate(settings):
    folder = replica.training.common_ctr
    run = os.path.normpath(os.path.join(runs[r], paths.expand(folder)))
    source[r] = runs.index(run) if run in runs and run != runs[r] else None
    other = source[r]
    if other is not None and not settings[other].run.save_predictions:
      raise InputError(
          f'common_ctr={folder}: {run} does not save its predictions. Set'
          ' save_predictions=True for that run.'
      )
    if folder and run not in runs:
      _saved_ctr(run, click, folder)
  needs = {r: () if s is None else (s,) for r, s in source.items()}
  try:
    order = list(graphlib.TopologicalSorter(needs).static_order())
  except graphlib.CycleError as e:
    circle = ' and '.join(sorted({runs[r] for r in e.args[1]}))
    raise InputError(
        f"common_ctr: {circle} use each other's pCTR, so none can be tested"
        ' first. Set common_ctr=. in one of them, to use its own pCTR.'
    ) from e
  return {r: source[r] for r in order}


def _read(run: str, folder: str) -> tuple[str, dict[str, np.ndarray]]:
  """Reads a run's predictions; refuses a run without, and those of another.

  Returns:
    Path of the file; `p_ctr` and `click`, [n] each.
  """
  path = predictions_file(run)
  if not os.path.exists(path):
    raise InputError(
        f'common_ctr={folder}: there is no {path}. First finish that run, with'
        ' save_predictions=True.'
    )
  names = ['p_ctr', 'click']
  try:
    return path, predictions.read(path, names, end_note.stamp(run))
  except InputError as e:
    raise InputError(f'common_ctr={folder}: {e}') from e


def _saved_ctr(run: str, click: Array | None, folder: str) -> np.ndarray:
  """Reads the click log-odds of a run's predictions, float32 [n].

  Raises:
    InputError: They are not there, damaged or of other rows.
  """
  path, columns = _read(run, folder)
  p = columns['p_ctr']
  is_number = np.issubdtype(p.dtype, np.number)
  if not is_number or not ((p >= 0) & (p <= 1)).all():
    raise InputError(
        f'common_ctr={folder}: {path} is damaged: p_ctr has values that are no'
        ' probabilities. Delete that file; the same command of that run makes'
        ' it again.'
    )
  if click is not None and not np.array_equal(columns['click'], click):
    raise InputError(
        f'common_ctr={folder}: {path} has the predictions of other rows than'
        " this run's test split. Name a run with the same test split."
    )
  p = p.astype(np.float64)
  return np.clip(special.logit(p), -_LARGEST, _LARGEST).astype(np.float32)

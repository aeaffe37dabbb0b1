"""Calibration after training: Platt and isotonic, fitted on validation rows.

Each task is calibrated on its own sample space: `ctr` and `ctcvr` on all rows,
`cvr_clicked` on the clicked ones. Both ways read a model's log-odds z:

    platt      log-odds slope * z + intercept
    isotonic   a rising step function of z, straight between its steps

References:
  Platt. Probabilistic Outputs for Support Vector Machines. 1999.
  Zadrozny and Elkan. Transforming Classifier Scores into Accurate Multiclass
    Probability Estimates. KDD 2002. (Isotonic regression.)
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.estimators import funnel
from esmm_jax.json_files import read_json
from esmm_jax.metrics import METRICS
from esmm_jax.metrics.by_space import Observed
from esmm_jax.tasks import Space, spaces, Tasks
from esmm_jax.types import Array, InputError
import jax.numpy as jnp
import numpy as np
from scipy import optimize, special

NAME = 'calibration.json'
VERSION = 1
KINDS = ('platt', 'isotonic')
CHOICES = ('none', *KINDS)
JOINTS = ('product', 'own')
SHOWN = ('logloss', 'calibration', 'ece', 'auc')
# Behind the name of a joint output: made of calibrated conditional ones.
PRODUCT = '_product'


def platt(logits: Array, labels: Array) -> dict[str, float]:
  """Slope and intercept of the log-odds, by maximum likelihood.

  The targets are Platt's: (P + 1) / (P + 2) for a positive row and 1 / (N + 2)
  for a negative one, of P and N such rows, so that the fit is finite where a
  threshold separates the classes.

  Args:
    logits: float [n].
    labels: 0 or 1 [n].

  Returns:
    `slope` and `intercept`.
  """
  z, y = np.asarray(logits, np.float64), np.asarray(labels) == 1
  positive, negative = y.sum(), (~y).sum()
  target = np.where(y, (positive + 1) / (positive + 2), 1 / (negative + 2))
  features = np.stack([z, np.ones_like(z)])  # [2, n]

  def loss(x):
    u = x @ features
    gradient = features @ (special.expit(u) - target) / len(z)
    return np.mean(np.logaddexp(0, u) - target * u), gradient

  def hessian(x):
    p = special.expit(x @ features)
    return (features * (p * (1 - p))) @ features.T / len(z)

  found = optimize.minimize(
      loss,
      np.array([1.0, 0.0]),
      jac=True,
      hess=hessian,
      method='trust-exact',
      options={'gtol': 1e-9},
  )
  return {'slope': float(found.x[0]), 'intercept': float(found.x[1])}


def isotonic(logits: Array, labels: Array) -> dict[str, list[float]]:
  """The rising function of the log-odds that fits the labels best (PAV).

  No probability is 0 or 1: the least is 1 / (n + 2), what n rows without a
  positive one say by the rule of succession. Otherwise a single label to the
  contrary would have infinite log loss.

  Args:
    logits: float [n]; rows of one value count as one, with their mean.
    labels: 0 or 1 [n].

  Returns:
    `scores`, ascending log-odds, the ends of each step, and the
    `probabilities` there.
  """
  z, y = np.asarray(logits, np.float64), np.asarray(labels, np.float64)
  values, place, counts = np.unique(z, return_inverse=True, return_counts=True)
  means = np.bincount(place, weights=y) / counts
  found = optimize.isotonic_regression(means, weights=counts)
  ends = np.stack([found.blocks[:-1], found.blocks[1:] - 1], axis=1)
  kept = np.unique(ends)
  least = 1 / (len(z) + 2)
  return {
      'scores': values[kept].tolist(),
      'probabilities': np.clip(found.x[kept], least, 1 - least).tolist(),
  }


def calibrated(
    entry: Mapping[str, Any], kind: str, logits: Array, xp: Any = np
) -> Array:
  """Log-odds of one task after calibration.

  Args:
    entry: What `platt` and `isotonic` gave, by these names.
    kind: One of `KINDS`.
    logits: float [n]; past the ends of an isotonic fit it is constant.
    xp: numpy or jax.numpy.

  Returns:
    float [n], float64 of numpy.
  """
  z = xp.asarray(logits, np.float64 if xp is np else np.float32)
  if kind == 'platt':
    return entry['platt']['slope'] * z + entry['platt']['intercept']
  scores, probabilities = (
      xp.asarray(entry['isotonic'][k], z.dtype)
      for k in ('scores', 'probabilities')
  )
  p = xp.interp(z, scores, probabilities)
  return xp.log(p) - xp.log1p(-p)


def apply(
    entries: Mapping[str, Any],
    kind: str,
    joint: str,
    outputs: Mapping[str, Array],
    tasks: Tasks,
    xp: Any = np,
) -> dict[str, Array]:
  """Outputs of a model after calibration.

  Args:
    entries: Space -> entry, as `fit` gives them.
    kind: One of `KINDS`.
    joint: `product`: joint outputs (`ctcvr`) are products of the calibrated
      conditional ones along the funnel, so that p_ctcvr = p_ctr x p_cvr still
      holds. `own`: each is calibrated by itself, and it does not.
    outputs: Output -> float32 [n].
    tasks: What they are of.
    xp: numpy or jax.numpy.

  Returns:
    The same outputs, float32 [n]. Values of regressions stay.

  Raises:
    InputError: `joint` is neither.
  """
  if joint not in JOINTS:
    raise InputError(
        f'joint is {joint!r}; it must be one of {", ".join(JOINTS)}.'
    )
  own = {
      s.output: calibrated(entries[s.key], kind, outputs[s.output], xp)
      for s in _binary(tasks)
  }
  raw = {
      t.name: jnp.asarray(own.get(t.name, outputs[t.name]), jnp.float32)
      for t in tasks
  }
  made = funnel.outputs(raw, tasks)
  if joint == 'own':
    made |= own
  return {name: xp.asarray(made[name], np.float32) for name in outputs}


def fit(
    outputs: Mapping[str, Array], observed: Observed
) -> tuple[dict[str, Any], dict[str, int]]:
  """Fits every task of events on its sample space.

  Args:
    outputs: Output -> float32 [n], of the validation split.
    observed: The same rows.

  Returns:
    Space -> its `platt` and `isotonic`; space -> its rows.

  Raises:
    InputError: A space has one class only.
  """
  found, rows = {}, {}
  for space in _binary(observed.tasks):
    logits, labels = _on(space, outputs, observed)
    rows[space.key] = len(labels)
    if len(np.unique(labels)) < 2:
      raise InputError(
          f'The validation split cannot calibrate {space.key}: its'
          f' {len(labels)} rows have one label only. Use a larger'
          ' dataset.valid_split.'
      )
    found[space.key] = {
        'platt': platt(logits, labels),
        'isotonic': isotonic(logits, labels),
    }
  return found, rows


def compare(
    entries: Mapping[str, Any],
    outputs: Mapping[str, Array],
    observed: Observed,
) -> dict[str, dict[str, dict[str, float]]]:
  """Metrics before and after, of the test split.

  Args:
    entries: As `fit` gives them.
    outputs: Output -> float32 [n].
    observed: The same rows.

  Returns:
    Space -> `none`, `platt`, `isotonic` -> `SHOWN`. A joint space stands there
    by its own calibration, and with `_product` as the product along the funnel.
  """
  tasks = observed.tasks
  made = {('none', ''): outputs}
  for kind in KINDS:
    for joint in JOINTS:
      made[kind, joint] = apply(entries, kind, joint, outputs, tasks)
  found = {}
  for space in _binary(tasks):
    joint = space.output not in {t.name for t in tasks}
    for name in ('own', 'product') if joint else ('own',):
      key = space.key + (PRODUCT if name == 'product' else '')
      found[key] = {
          kind: _metrics(
              space, made[kind, '' if kind == 'none' else name], observed
          )
          for kind in CHOICES
      }
  return found


def read(folder: str, kind: str) -> dict[str, Any]:
  """The entries of a run's calibration.json.

  Raises:
    InputError: `kind` is not known, or the run is not calibrated.
  """
  if kind not in KINDS:
    raise InputError(
        f'calibrated is {kind!r}; it must be one of {", ".join(CHOICES)}.'
    )
  path = os.path.join(folder, NAME)
  found = read_json(path, 'Run experiments.calibrate again.')
  if found is None:
    raise InputError(
        f'calibrated={kind}: there is no {path}. First run python -m'
        f' experiments.calibrate --workdir={folder}.'
    )
  if found.get('version') != VERSION:
    raise InputError(
        f'{path} is of version {found.get("version")}, not {VERSION}. Run'
        ' experiments.calibrate again.'
    )
  return found['tasks']


def _binary(tasks: Tasks) -> list[Space]:
  return [s for s in spaces(tasks) if s.kind == 'binary']


def _on(
    space: Space, outputs: Mapping[str, Array], observed: Observed
) -> tuple[np.ndarray, np.ndarray]:
  """Log-odds and labels of the rows of a space."""
  logits = np.asarray(outputs[space.output])
  labels = np.asarray(observed.labels[space.label])
  if not space.given:
    return logits, labels
  where = np.asarray(observed.labels[space.given]) == 1
  return logits[where], labels[where]


def _metrics(
    space: Space, outputs: Mapping[str, Array], observed: Observed
) -> dict[str, float]:
  logits, labels = _on(space, outputs, observed)
  return {name: METRICS[name](logits, labels, None) for name in SHOWN}

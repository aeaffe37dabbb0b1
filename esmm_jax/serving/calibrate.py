"""Calibrating a finished run on its validation split.

Each task is calibrated on its own sample space: `ctr` and `ctcvr` on all rows,
`cvr_clicked` on the clicked ones. The test split only measures the effect.
"""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax import checksums
from esmm_jax.json_files import write_json
from esmm_jax.metrics.by_space import Observed
from esmm_jax.metrics.one_task import of_events
from esmm_jax.serving import calibrator_fits, calibrators
from esmm_jax.serving.predictor import load
from esmm_jax.tasks import Space
from esmm_jax.training import parts
from esmm_jax.training.predict import observe
from esmm_jax.types import Array, InputError
from esmm_jax.workdir import manifest
import numpy as np

SHOWN = ('logloss', 'calibration', 'ece', 'auc')
# Suffix of a joint output that is the product of calibrated conditional ones.
PRODUCT = '_product'


def calibrate(run: str, data_dir: str | None = None) -> dict[str, Any]:
  """Fits on the validation split, measures on the test split, writes both.

  Args:
    run: Folder of a finished run; gets calibration.json.
    data_dir: Folder of the prepared data.

  Returns:
    The content of calibration.json: `version`, `run` (the stamp of the run),
    `fitted_on`, `rows` (space -> rows fitted on), `tasks` (space -> `platt` and
    `isotonic`) and `test` (space -> `none`, `platt`, `isotonic` -> metrics).

  Raises:
    InputError: The run is not finished or lacks a split, or a space of the
      validation split has one class only.
  """
  predictor = load(run, data_dir=data_dir)
  dataset = predictor.config.dataset
  for name in ('valid_split', 'test_split'):
    if not dataset[name]:
      raise InputError(
          f'{run} was trained with dataset.{name}={dataset[name]!r};'
          ' calibration is fitted on a validation split and looked at on a test'
          ' split. Train with both.'
      )
  builder = parts.dataset(dataset, data_dir)
  manifest.require_data(run, builder)

  def predict(split: str) -> tuple[Any, Any]:
    outputs = predictor.split_outputs(builder, split)
    return outputs, observe(builder, split, predictor.schema.tasks)

  fitted, rows = fit(*predict(dataset.valid_split))
  calibration = {
      'version': calibrators.VERSION,
      'run': predictor.stamp.to_dict(),
      'fitted_on': 'valid',
      'rows': rows,
      'tasks': fitted,
      'test': compare(fitted, *predict(dataset.test_split)),
  }
  calibration = checksums.sealed_content(calibration)
  write_json(os.path.join(run, calibrators.NAME), calibration)
  return calibration


def fit(
    outputs: Mapping[str, Array], observed: Observed
) -> tuple[dict[str, Any], dict[str, int]]:
  """Fits both calibrators of every event on its sample space.

  Args:
    outputs: Output -> float32 [n], of the validation split.
    observed: Labels of the same rows.

  Returns:
    Space -> its `platt` and `isotonic`; space -> number of its rows.

  Raises:
    InputError: A space has one class only.
  """
  fitted, rows = {}, {}
  for space in calibrators.binary_spaces(observed.tasks):
    logits, labels = _select(space, outputs, observed)
    rows[space.key] = len(labels)
    if len(np.unique(labels)) < 2:
      raise InputError(
          f'The validation split cannot calibrate {space.key}: its'
          f' {len(labels)} rows have one label only. Use a larger'
          ' dataset.valid_split.'
      )
    fitted[space.key] = {
        'platt': calibrator_fits.fit_platt(logits, labels),
        'isotonic': calibrator_fits.fit_isotonic(logits, labels),
    }
  return fitted, rows


def compare(
    fitted: Mapping[str, Any],
    outputs: Mapping[str, Array],
    observed: Observed,
) -> dict[str, dict[str, dict[str, float]]]:
  """Computes the metrics of the test split before and after calibration.

  Args:
    fitted: Space -> calibrator, as `fit` gives them.
    outputs: Output -> float32 [n].
    observed: Labels of the same rows.

  Returns:
    Space -> `none`, `platt`, `isotonic` -> `SHOWN`. A joint space is listed
    with its own calibrator, and with `_product` as the product along the
    funnel.
  """
  tasks = observed.tasks
  calibrated = {
      (kind, joint): calibrators.calibrate_outputs(
          fitted, kind, joint, outputs, tasks
      )
      for kind in calibrators.KINDS
      for joint in calibrators.JOINTS
  }
  metrics = {}
  conditional = {t.name for t in tasks}
  for space in calibrators.binary_spaces(tasks):
    is_joint = space.output not in conditional
    for joint in ('own', 'product') if is_joint else ('own',):
      key = space.key + (PRODUCT if joint == 'product' else '')
      metrics[key] = {'none': _metrics(space, outputs, observed)} | {
          kind: _metrics(space, calibrated[kind, joint], observed)
          for kind in calibrators.KINDS
      }
  return metrics


def table(calibration: Mapping[str, Any]) -> str:
  """Formats the metrics of the test split as a Markdown table.

  Args:
    calibration: As `calibrate` returns it.
  """
  lines = [
      f'| task | calibrated | {" | ".join(SHOWN)} |',
      '|---' * (2 + len(SHOWN)) + '|',
  ]
  for task, kinds in calibration['test'].items():
    for kind, metrics in kinds.items():
      values = ' | '.join(_number(metrics[name]) for name in SHOWN)
      lines.append(f'| {task} | {kind} | {values} |')
  return '\n'.join(lines)


def _number(value: float | None) -> str:
  """Returns a metric as it is shown; one that is not defined is –."""
  return f'{value:.5f}' if value is not None and np.isfinite(value) else '–'


def _select(
    space: Space, outputs: Mapping[str, Array], observed: Observed
) -> tuple[np.ndarray, np.ndarray]:
  """Returns log-odds and labels of the rows of a sample space."""
  logits = np.asarray(outputs[space.output])
  labels = np.asarray(observed.labels[space.label])
  if not space.given:
    return logits, labels
  where = np.asarray(observed.labels[space.given]) == 1
  return logits[where], labels[where]


def _metrics(
    space: Space, outputs: Mapping[str, Array], observed: Observed
) -> dict[str, float]:
  logits, labels = _select(space, outputs, observed)
  periods = observed.periods
  if space.given and periods is not None:
    periods = periods[np.asarray(observed.labels[space.given]) == 1]
  values = of_events(logits, labels, periods)
  return {name: values[name] for name in SHOWN}

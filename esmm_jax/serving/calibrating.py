"""Calibrates a finished run and keeps what was found with it."""

from collections.abc import Mapping
import os
from typing import Any

from esmm_jax.json_files import write_json
from esmm_jax.serving import calibration
from esmm_jax.serving.predictor import load
from esmm_jax.training import parts
from esmm_jax.training.predict import observe
from esmm_jax.types import InputError


def calibrate(run: str, data_dir: str | None = None) -> dict[str, Any]:
  """Fits on the validation split, looks at the test split, writes both.

  Args:
    run: Folder of a finished run; gets calibration.json.
    data_dir: Where its prepared data lives.

  Returns:
    What calibration.json holds: `version`, `fitted_on`, `rows` (space -> rows
    fitted on), `tasks` (space -> `platt` and `isotonic`) and `test` (space ->
    `none`, `platt`, `isotonic` -> metrics).

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

  def seen(split: str) -> tuple[Any, Any]:
    outputs = predictor.split_outputs(builder, split)
    return outputs, observe(builder, split, predictor.schema.tasks)

  entries, rows = calibration.fit(*seen(dataset.valid_split))
  found = {
      'version': calibration.VERSION,
      'fitted_on': 'valid',
      'rows': rows,
      'tasks': entries,
      'test': calibration.compare(entries, *seen(dataset.test_split)),
  }
  write_json(os.path.join(run, calibration.NAME), found)
  return found


def table(found: Mapping[str, Any]) -> str:
  """What the test split says before and after, as Markdown."""
  shown = calibration.SHOWN
  lines = [
      f'| task | calibrated | {" | ".join(shown)} |',
      '|---' * (2 + len(shown)) + '|',
  ]
  for task, kinds in found['test'].items():
    for kind, metrics in kinds.items():
      values = ' | '.join(f'{metrics[name]:.5f}' for name in shown)
      lines.append(f'| {task} | {kind} | {values} |')
  return '\n'.join(lines)

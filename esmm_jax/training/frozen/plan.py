"""Model and outputs of a run, enough to predict."""

from collections.abc import Mapping
import functools
from typing import Any

from esmm_jax.estimators import funnel
from esmm_jax.schema import Schema
from esmm_jax.training import parts
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import StepSpec


def plan(settings: Settings, schema: Schema) -> StepSpec:
  """Builds model and outputs of a run; enough for `predict_step`.

  The model has the tasks' towers alone: heads of the estimator serve training.
  """
  objective = parts.estimator(settings.objective, schema.tasks)
  return StepSpec(
      model=parts.model(
          settings.model.options, settings.model.name, schema
      ),
      terms=objective.terms,
      outputs=functools.partial(
          funnel.outputs,
          tasks=schema.tasks,
          output_interpretation=objective.output_interpretation,
      ),
      row_tx=None,
      net_tx=None,
      schedule=None,
  )


def without_heads(
    params: Mapping[str, Any], settings: Settings, schema: Schema
) -> dict[str, Any]:
  """Leaves the towers of the estimator's heads out, which `plan` has not.

  Args:
    params: `table`, `net` and `stats` of a run.
    settings: Of the run.
    schema: Of the run.
  """
  needs = parts.estimator(settings.objective, schema.tasks).needs
  towers = {f'tower_{head.name}' for head in needs.heads}
  small = {
      part: {k: v for k, v in params[part].items() if k not in towers}
      for part in ('net', 'stats')
  }
  return {**params, **small}

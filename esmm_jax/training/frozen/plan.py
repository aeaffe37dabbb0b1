"""Model and outputs of a run, enough to predict."""

import functools

from esmm_jax.estimators import funnel
from esmm_jax.schema import Schema
from esmm_jax.training import parts
from esmm_jax.training.settings import Settings
from esmm_jax.training.state import StepSpec


def plan(settings: Settings, schema: Schema) -> StepSpec:
  """Builds model and outputs of a run; enough for `predict_step`."""
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

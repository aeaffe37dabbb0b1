"""Click and conversion models in JAX.

The names of `__all__` are the public face; all else is internal and may move.
They are imported when they are first used, so that `import esmm_jax` is quick.

  >>> import esmm_jax
  >>> sorted(esmm_jax.MODELS)[:3], sorted(esmm_jax.DATASETS)[:2]
  (['adatt', 'aitm', 'dbmtl'], ['ali_ccp', 'kuairand'])
  >>> 'entire_space' in esmm_jax.ESTIMATORS, 'auc' in esmm_jax.METRICS
  (True, True)
  >>> 'pcgrad' in esmm_jax.BALANCERS
  True
  >>> esmm_jax.DIRECTIONS['auc']
  'max'
  >>> esmm_jax.PROTOCOLS['esmm2018'].dataset_name
  'ali_ccp'

The folders, from the ground up:

    types, tasks, schema, options, json_files, streams ...   the ground floor
    plugins      parts of a run from outside of this repository
    engines      parts of some work, in one process or in several
    data         raw files -> columns on disk -> batches; no JAX
    embeddings   rows of a table: gather, scatter, files
    models       features -> one output for each task
    estimators   on which sample space the outputs are trained
    balancing    how the losses of the tasks are combined
    optim        optimizers of the network and of the touched rows
    metrics      exact ranking and probability metrics, significance
    parallel     several devices and processes
    workdir      the folder of a run: identity, checkpoints, metrics
    protocols    published set-ups of Ali-CCP
    warm_start   a run that begins with the parameters of another one
    training     a config -> a trained and evaluated run
    sweeps       many runs -> a results table with spread, gains and tests
    serving      a finished run -> scores and metrics of new rows; export
    reporting    runs and sweeps as text, pictures and HTML pages
    easyrec      configs of EasyRec -> configs of ours
    doctor       is this machine fit to train?
    entry        installed or in a checkout: names, commands, requirements

and, from the folders beside it in a checkout,

    configs      a config of each method; results tables
    experiments  the programs, `esmm-jax NAME`
"""

import importlib
from typing import Any, TYPE_CHECKING

from esmm_jax.entry import checkout as _checkout

_checkout.install()

if TYPE_CHECKING:  # The same names, for type checkers and editors.
  from esmm_jax.balancing import BALANCERS as BALANCERS
  from esmm_jax.data import DATASETS as DATASETS
  from esmm_jax.estimators import ESTIMATORS as ESTIMATORS
  from esmm_jax.estimators.funnel import joint_logit as joint_logit
  from esmm_jax.metric_names import DIRECTIONS as DIRECTIONS
  from esmm_jax.metrics import METRICS as METRICS
  from esmm_jax.metrics.by_space import (
      evaluate as evaluate,
      Observed as Observed,
  )
  from esmm_jax.metrics.probability import (
      calibration as calibration,
      expected_calibration_error as expected_calibration_error,
      log_loss as log_loss,
      normalized_entropy as normalized_entropy,
  )
  from esmm_jax.metrics.ranking import auc as auc, grouped_auc as grouped_auc
  from esmm_jax.metrics.significance import (
      delong as delong,
      holm as holm,
      paired as paired,
  )
  from esmm_jax.metrics.thresholds import (
      average_precision as average_precision,
      ks as ks,
      recall_at as recall_at,
  )
  from esmm_jax.metrics.truth import (
      kl_divergence as kl_divergence,
      mean_ratio as mean_ratio,
  )
  from esmm_jax.models import MODELS as MODELS
  from esmm_jax.protocols import PROTOCOLS as PROTOCOLS
  from esmm_jax.schema import Field as Field, Schema as Schema
  from esmm_jax.serving.averaged import load as load
  from esmm_jax.serving.predictor import Predictor as Predictor
  from esmm_jax.tasks import Task as Task
  from esmm_jax.training.loop import (
      train_and_evaluate as train_and_evaluate,
      train_replicas as train_replicas,
  )
  from esmm_jax.types import InputError as InputError

# Public name -> the module that defines it.
_HOMES = {
    'train_and_evaluate': 'training.loop',
    'train_replicas': 'training.loop',
    'load': 'serving.averaged',
    'Predictor': 'serving.predictor',
    'MODELS': 'models',
    'ESTIMATORS': 'estimators',
    'BALANCERS': 'balancing',
    'DATASETS': 'data',
    'METRICS': 'metrics',
    'DIRECTIONS': 'metric_names',
    'PROTOCOLS': 'protocols',
    'Schema': 'schema',
    'Field': 'schema',
    'Task': 'tasks',
    'InputError': 'types',
    'evaluate': 'metrics.by_space',
    'Observed': 'metrics.by_space',
    'auc': 'metrics.ranking',
    'grouped_auc': 'metrics.ranking',
    'average_precision': 'metrics.thresholds',
    'recall_at': 'metrics.thresholds',
    'ks': 'metrics.thresholds',
    'log_loss': 'metrics.probability',
    'normalized_entropy': 'metrics.probability',
    'calibration': 'metrics.probability',
    'expected_calibration_error': 'metrics.probability',
    'kl_divergence': 'metrics.truth',
    'mean_ratio': 'metrics.truth',
    'paired': 'metrics.significance',
    'holm': 'metrics.significance',
    'delong': 'metrics.significance',
    'joint_logit': 'estimators.funnel',
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
  """Imports a public name when it is first used."""
  if name not in _HOMES:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  value = getattr(importlib.import_module(f'{__name__}.{_HOMES[name]}'), name)
  globals()[name] = value
  return value


def __dir__() -> list[str]:
  return sorted({*globals(), *__all__})

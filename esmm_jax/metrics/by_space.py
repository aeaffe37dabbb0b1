"""Computes metrics of a split's predictions by task and sample space.

Spaces are named: `ctr` and `ctcvr` are over all impressions, `cvr_clicked` over
the clicked ones, `cvr_entire` over all against the truth, where a simulator
knows it. Longer funnels follow the same rule (`tasks.spaces`). pCVR against the
CTCVR label over all impressions is not computed: it ranks CTR above the truth.
"""

from collections.abc import Collection, Mapping
import functools
from typing import NamedTuple

from esmm_jax.metric_names import ENTIRE, GROUPED, WEIGHTS
from esmm_jax.metrics import Metric, METRICS, side_by_side
from esmm_jax.metrics.one_task import of_events, value_of
from esmm_jax.metrics.ranking import grouped_auc
from esmm_jax.metrics.regression import REGRESSION_METRICS
from esmm_jax.metrics.truth import against_truth
from esmm_jax.metrics.weights import clicked_rows, RowWeights
from esmm_jax.tasks import FUNNEL, Space, spaces, Tasks
from esmm_jax.types import Array
import numpy as np
from scipy import special


class Observed(NamedTuple):
  """Labels and other columns of the rows of a split.

  >>> from esmm_jax.metrics.by_space import Observed
  >>> observed = Observed({'click': [1, 0], 'conversion': [0, 0]}, None, {})
  >>> [task.name for task in observed.tasks]
  ['ctr', 'cvr']

  Attributes:
    labels: Label column -> [n].
    groups: Keys for GAUC, [n], or None.
    truth: Truth columns, [n] each; {} where there is none.
    tasks: The tasks that the labels belong to.
    periods: Keys of the rows that AUC and GAUC compare, [n] integers or
      strings, or None: all rows.
    group_periods: The same of GAUC alone, where inputs tell of labels of the
      row's own group that are minutes old: a positive row raises the scores of
      later rows above its own, so that random labels have a GAUC below 1/2.
  """

  labels: Mapping[str, Array]
  groups: Array | None
  truth: Mapping[str, Array]
  tasks: Tasks = FUNNEL
  periods: Array | None = None
  group_periods: Array | None = None


def each_alone(groups: Array, none: int | None) -> Array:
  """Gives each row without a group one of its own, so that GAUC skips it.

  >>> from esmm_jax.metrics.by_space import each_alone
  >>> each_alone([5, 0, 7, 0, 5], none=0).tolist()
  [5, -1, 7, -2, 5]

  Args:
    groups: Integers [n], not negative.
    none: What stands for no group; None: every row has one.

  Returns:
    int64 [n]; `groups` itself where no row lacks one.
  """
  alone = np.flatnonzero(np.asarray(groups) == none)
  if none is None or not len(alone):
    return groups
  keys = np.array(groups, np.int64)
  keys[alone] = -1 - np.arange(len(alone))
  return keys


def metric_keys(
    tasks: Tasks,
    has_groups: bool,
    truth: Collection[str] = (),
    row_weights: RowWeights | None = None,
) -> list[str]:
  """Lists the keys of what `evaluate` computes, in its order.

  >>> from esmm_jax.metrics.by_space import metric_keys
  >>> from esmm_jax.tasks import FUNNEL
  >>> metric_keys(FUNNEL, has_groups=False)[:2]
  ['ctr/auc', 'ctr/logloss']

  Args:
    tasks: Tasks of the labels.
    has_groups: Whether there are groups, for GAUC.
    truth: Names of the truth columns.
    row_weights: As `evaluate` takes them.
  """
  keys = []
  for space in spaces(tasks):
    names = list(functions(space))
    if has_groups and space.kind == 'binary':
      names += GROUPED
    keys += [f'{space.key}/{name}' for name in names]
  for output in _outputs_with_truth(tasks, truth):
    keys += [f'{output}_entire/{name}' for name in ENTIRE]
  if row_weights and row_weights.needs <= {*truth}:
    keys += [f'{t}/{name}' for t in row_weights.terms() for name in WEIGHTS]
  return keys


def evaluate(
    outputs: Mapping[str, Array],
    observed: Observed,
    group_metrics: bool = True,
    row_weights: RowWeights | None = None,
) -> dict[str, float]:
  """Computes all metrics of one replica's predictions.

  Args:
    outputs: Predictions as `funnel.outputs` returns them: log-odds such as
      `ctr`, `cvr` and `ctcvr`, or values of a regression, float32 [n].
    observed: The same rows.
    group_metrics: Computes GAUC too, where there are groups.
    row_weights: Of the estimator that the run was trained with, if it weights
      clicked rows.

  Returns:
    `space/metric` -> value, for example `cvr_clicked/auc`. GAUC comes with its
    coverage, the share of impressions in groups that have both classes. Where
    there are periods AUC is the mean of those of each, weighted by its rows,
    and a group of GAUC is the rows of a group in one period.

  >>> import numpy as np
  >>> from esmm_jax.metrics.by_space import evaluate, Observed
  >>> logits = {'ctr': np.array([2.0, 1.0, 3.0]),
  ...           'cvr': np.array([0.0, 1.0, 0.0]),
  ...           'ctcvr': np.array([-0.8, 0.0, -0.7])}
  >>> labels = {'click': [1, 1, 0], 'conversion': [0, 1, 0]}
  >>> scores = evaluate(logits, Observed(labels, None, {}))
  >>> scores['ctr/auc'], scores['cvr_clicked/auc'], scores['ctcvr/auc']
  (0.0, 1.0, 1.0)
  """
  labels = {k: np.asarray(v) for k, v in observed.labels.items()}
  own, periods = observed.group_periods, observed.periods
  every = _within(observed.groups, periods if own is None else own)
  parts = []  # Each copies its rows: 170 MB of 43 million.
  for space in spaces(observed.tasks):
    rows = space, outputs[space.output], labels
    parts.append(functools.partial(_of_space, *rows, observed.periods))
    if every is not None and group_metrics and space.kind == 'binary':
      parts.append(functools.partial(_of_groups, *rows, every))
  for name in _outputs_with_truth(observed.tasks, observed.truth):
    clicked = labels['click'] == 1
    parts.append(functools.partial(
        against_truth, name, outputs[name], observed.truth, clicked
    ))
  # Somebody's code may not be made for threads.
  num = 0 if _has_plugins() else max(len(x) for x in labels.values())
  metrics: dict[str, float] = {}
  for values in side_by_side.run(parts, num):
    metrics |= values
  if row_weights and row_weights.needs <= {*observed.truth}:
    tasks = [t.name for t in observed.tasks if t.kind == 'binary']
    columns = labels | dict(observed.truth)
    logits = {name: outputs[name] for name in tasks}
    metrics |= clicked_rows(row_weights, logits, columns)
  return metrics


def _has_plugins() -> bool:
  """Returns whether a metric in use is of a plugin."""
  registries = METRICS, REGRESSION_METRICS
  return any(r.module(name) for r in registries for name in r.in_use())


def _of_space(
    space: Space,
    scores: Array,
    labels: Mapping[str, Array],
    periods: Array | None,
) -> dict[str, float]:
  """Computes the metrics of one space, without those of groups."""
  label, where = _rows_of(space, labels)
  scores = scores[where]
  if space.kind == 'regression':
    metrics = REGRESSION_METRICS
    values = {n: value_of(metrics, n, scores, label) for n in functions(space)}
  else:
    periods = None if periods is None else np.asarray(periods)[where]
    values = of_events(scores, label, periods)
  return {f'{space.key}/{name}': value for name, value in values.items()}


def _of_groups(
    space: Space, scores: Array, labels: Mapping[str, Array], groups: Array
) -> dict[str, float]:
  """Computes GAUC of one space, and its coverage."""
  label, where = _rows_of(space, labels)
  grouped = grouped_auc(scores[where], label, groups[where])
  return {
      f'{space.key}/gauc': grouped.value,
      f'{space.key}/gauc_coverage': grouped.coverage,
  }


def _rows_of(
    space: Space, labels: Mapping[str, Array]
) -> tuple[Array, Array | slice]:
  """Returns the labels of a space's rows, and what selects those rows."""
  label = labels[space.label]
  if not space.given:
    return label, slice(None)  # No copy.
  where = labels[space.given] == 1
  return label[where], where


def functions(
    space: Space,
) -> Mapping[str, Metric]:
  """Returns name -> metric of a space, without those of groups."""
  of_value = space.kind == 'regression'
  return (REGRESSION_METRICS if of_value else METRICS).in_use()


def _within(groups: Array | None, periods: Array | None) -> Array | None:
  """Returns keys [n] that are one where group and period are."""
  if periods is None or groups is None:
    return groups
  group, period = (
      np.unique(x, return_inverse=True)[1] for x in (groups, periods)
  )
  return group * (period.max(initial=0) + 1) + period


def _outputs_with_truth(tasks: Tasks, truth: Collection[str]) -> list[str]:
  """Lists the outputs given the click whose true probability is a column."""
  clicked = [s.output for s in spaces(tasks) if s.given == 'click']
  return [name for name in clicked if f'p_{name}' in truth]


def oracle_metrics(observed: Observed) -> dict[str, float]:
  """Computes the metrics of the true probabilities themselves: the ceiling.

  `ctr`, `ctcvr` and `cvr_clicked` are scored with the probabilities of an
  impression, and of a clicked one, given all features of a model; `cvr_entire`
  with the probability of a conversion under do(click).

  Args:
    observed: A split whose truth has `p_ctr`, `p_cvr_clicked`, `p_ctcvr` and
      `p_cvr`.

  Returns:
    `space/metric` -> value, without GAUC.
  """
  truth = {k: np.asarray(v, np.float64) for k, v in observed.truth.items()}
  logits = {
      'ctr': special.logit(truth['p_ctr']),
      'cvr': special.logit(truth['p_cvr_clicked']),
      'ctcvr': special.logit(truth['p_ctcvr']),
  }
  # Truth columns are of click and conversion, in a longer funnel too.
  two_tasks = observed._replace(truth={}, tasks=FUNNEL)
  metrics = evaluate(logits, two_tasks, group_metrics=False)
  clicked = np.asarray(observed.labels['click']) == 1
  best = special.logit(truth['p_cvr'])
  return metrics | against_truth('cvr', best, observed.truth, clicked)

"""An estimator and what it needs."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from esmm_jax import signatures
from esmm_jax.estimators.funnel import CONDITIONAL
from esmm_jax.tasks import Head
from esmm_jax.types import Array, LossTerms

# The option that the framework reads itself.
FROZEN_RUN = 'frozen_run'
_SKIP = 3  # logits, labels, where


class Needs(NamedTuple):
  """The needs of an estimator beside the tasks' outputs and labels.

  Attributes:
    heads: Outputs of its own: `logits[head.name]`, float32 [B].
    truth_labels: Columns that only a simulator knows, as labels of that name.
    frozen: Tasks whose probabilities, as a finished run predicts them for each
      training row, it takes as labels `frozen_TASK`, float32 [B]. The run is
      named by `estimator_options.frozen_run`.
    same_weight: Terms that are parts of one loss; their weights must be equal.
    trained: Terms that train what weights or labels of rows are made of, so
      that their own weight cannot be 0.
  """

  heads: tuple[Head, ...] = ()
  truth_labels: tuple[str, ...] = ()
  frozen: tuple[str, ...] = ()
  same_weight: tuple[str, ...] = ()
  trained: tuple[str, ...] = ()


class Estimator(NamedTuple):
  """An objective and what it needs.

  The functions after `weights` get those of its options that they name.

  Attributes:
    terms: `(logits, labels, where, *, tasks, **options)` -> its terms as (sum,
      count). Both add up over parts of a batch; the loss of a term is
      weight x sum / count of the whole batch, and the count, which may depend
      on the logits, is taken without a gradient. Its options are described by
      its signature (`signatures.options`). A keyword `step` is given the number
      of steps done, int32.
    weights: Tasks -> its terms and their default weights in the loss.
    needs: -> `Needs`; None needs nothing.
    rescale: The means of the terms in a batch -> term -> factor on its weight,
      without a gradient; None has none.
    row_weights: (probabilities of the tasks, labels), each name -> [n], ->
      term -> weight of each clicked row in it, [n]; for diagnostics. None
      weighs no rows.
    output_interpretation: How it interprets a model's outputs,
      `funnel.CONDITIONAL` or `funnel.JOINT`.
    needs_uniform: Needs the label `uniform`, a random number for each example.
  """

  terms: Callable[..., LossTerms]
  weights: Callable[..., Mapping[str, float]]
  needs: Callable[..., Needs] | None = None
  rescale: Callable[..., Mapping[str, Array]] | None = None
  row_weights: Callable[..., Mapping[str, Any]] | None = None
  output_interpretation: str = CONDITIONAL
  needs_uniform: bool = False


def options(function: Callable[..., Any]) -> dict[str, signatures.Option]:
  """Reads the options of an estimator's function.

  Args:
    function: `(logits, labels, where, *, tasks, step, **options)`.

  Raises:
    InputError: See `signatures.options`.
  """
  return signatures.options(function, _SKIP)


def check(
    values: Mapping[str, Any], function: Callable[..., Any], name: str
) -> None:
  """Refuses options that an estimator does not have, and wrong values.

  Args:
    values: Option -> value, those that are set.
    function: Of the estimator.
    name: Of the estimator.

  Raises:
    InputError: An option is unknown, or its value is not allowed.
  """
  allowed = options(function) | {FROZEN_RUN: signatures.Option('', str)}
  signatures.check(values, allowed, name, 'estimator_options')

"""The use of a model's gates over a split."""

from collections.abc import Mapping, Sequence

from esmm_jax.types import Array
import numpy as np


def mean_gates(
    uses: Sequence[Mapping[str, Mapping[str, Array]]], num_rows: int
) -> dict[str, dict[str, Array]]:
  """Averages the use of the gates over all rows.

  Args:
    uses: Of each batch, as `predict.predict_step` sums it.
    num_rows: Rows of all batches.

  Returns:
    Gate -> `load` float64 [R, E], its mean weights, and `entropy` float64 [R].
  """
  gates: dict[str, dict[str, Array]] = {}
  for use in uses:
    for gate, sums in use.items():
      totals = gates.setdefault(gate, dict.fromkeys(sums, 0.0))
      for name, value in sums.items():
        totals[name] += np.asarray(value, np.float64) / num_rows
  return gates


def gate_metrics(
    gates: Mapping[str, Mapping[str, Array]], r: int = 0
) -> dict[str, float]:
  """Lists the use of one replica's gates as metrics.

  >>> from esmm_jax.metrics.gates import gate_metrics
  >>> gate_metrics({'gate_ctr': {'load': [[0.25, 0.75]], 'entropy': [0.5]}})
  {'gate_ctr/entropy': 0.5, 'gate_ctr/load_0': 0.25, 'gate_ctr/load_1': 0.75}

  Args:
    gates: See `mean_gates`.
    r: The replica.
  """
  metrics = {}
  for gate, use in gates.items():
    metrics[f'{gate}/entropy'] = float(use['entropy'][r])
    for k, load in enumerate(use['load'][r]):
      metrics[f'{gate}/load_{k}'] = float(load)
  return metrics

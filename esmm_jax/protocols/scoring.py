"""Metrics that only runs under a protocol have."""

from collections.abc import Mapping

from esmm_jax.metrics import METRICS
from esmm_jax.protocols.protocol import Protocol
from esmm_jax.types import Array


def protocol_metrics(
    protocol: Protocol | None,
    outputs: Mapping[str, Array],
    labels: Mapping[str, Array],
) -> dict[str, float]:
  """Computes the extra metrics of a protocol, over all rows.

  One of them is pCVR against the CTCVR label, `cvr_vs_ctcvr_label/auc`. It is
  no CVR metric: it rates the true CVR below the true CTR. It only serves the
  comparison with a published number.

  Args:
    protocol: The run's, or None.
    outputs: Output -> log-odds, float32 [n].
    labels: Label column -> 0 or 1 [n], joint events.

  Returns:
    Key without the split -> value; {} if the protocol has no extras.
  """
  return {
      extra.key: METRICS[extra.key.rpartition('/')[2]](
          outputs[extra.output], labels[extra.label], None
      )
      for extra in (protocol.extra if protocol else ())
  }

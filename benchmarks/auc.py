"""Times the exact AUC.

  python -m benchmarks.auc --rows=1e6,43e6

Prints one JSON object a line. 43e6 is about the size of Ali-CCP's test split.
"""

import time

from absl import flags
from esmm_jax.metrics.ranking import auc
import numpy as np

from benchmarks import common
from experiments import cli

_ROWS = common.define_rows('1e6,43e6', 'Scores.')
flags.adopt_module_key_flags(common)


def main() -> None:
  for rows in common.counts(_ROWS.value):
    rng = np.random.default_rng(0)
    labels = (rng.random(rows, dtype=np.float32) < 0.04).astype(np.int8)
    scores = rng.standard_normal(rows, dtype=np.float32) + labels
    start = time.perf_counter()
    value = auc(scores, labels)
    seconds = time.perf_counter() - start
    common.emit(
        'auc',
        rows,
        rows,
        seconds * 1e3,
        auc=value,
        peak_rss_bytes=common.peak_rss(),
    )


if __name__ == '__main__':
  cli.run(main)

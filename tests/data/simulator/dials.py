"""Measures how far simulated logs are from their dials.

  python -m tests.data.simulator.dials

Prints a line for each preset: the largest deviation over five seeds, of at most
2^20 rows each. The docstring of `SimulatorConfig` states them.
"""

from esmm_jax.data.simulator.config import PRESETS, simulator_config
from esmm_jax.data.simulator.log import SimulatedLog
from esmm_jax.metrics.ranking import auc

ROWS = 1 << 20
DIALS = ('ctr', 'cvr', 'auc_ctr', 'auc_cvr')


def deviations(preset, seed, num_rows=ROWS):
  """Dial -> |value in the log - dial|; of rates as a share of the dial."""
  config = simulator_config(preset, seed=seed)
  stop = min(num_rows, max(high for _, high in config.splits.values()))
  rows = SimulatedLog(config).columns(0, stop)
  labels = {'ctr': rows['click'], 'cvr': rows['conversion_if_clicked']}
  measured = {}
  for rate, label in labels.items():
    dial = getattr(config, rate)
    # Of the probabilities, not of the labels drawn from them.
    mean = rows[f'p_{rate}'].mean(dtype=float)
    measured[rate] = abs(mean - dial) / dial
    best = auc(rows[f'p_{rate}'], label)
    measured[f'auc_{rate}'] = abs(best - getattr(config, f'auc_{rate}'))
  return measured


def main():
  for preset in PRESETS:
    if preset == 'large':
      continue
    seeds = [deviations(preset, seed) for seed in range(5)]
    worst = {dial: max(s[dial] for s in seeds) for dial in DIALS}
    print(preset, {dial: round(value, 4) for dial, value in worst.items()})


if __name__ == '__main__':
  main()

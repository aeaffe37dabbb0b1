"""Figures; matplotlib is imported when one is drawn."""

from collections.abc import Mapping
import os
from typing import Any

# Okabe and Ito's colours, which the colour-blind can tell apart.
COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9')
MARKERS = 'osD^vP'


def cvr_by_ctr_decile(
    runs: Mapping[str, Mapping[str, Any]], path: str, title: str
) -> None:
  """Predicted over true CVR in each decile of the true CTR.

  Args:
    runs: Name -> results with `test/cvr_entire/ratio_ctr_decile_1` to `_10`.
    path: The PNG to write.
    title: Above the figure.
  """
  import matplotlib

  matplotlib.use('Agg')
  import matplotlib.pyplot as plt

  figure, axes = plt.subplots(figsize=(7.5, 4.5), layout='constrained')
  deciles = range(1, 11)
  highest = 1.0
  for k, (name, results) in enumerate(runs.items()):
    ratios = [results[f'test/cvr_entire/ratio_ctr_decile_{d}'] for d in deciles]
    highest = max(highest, *ratios)
    axes.plot(
        deciles,
        ratios,
        marker=MARKERS[k % len(MARKERS)],
        color=COLOURS[k % len(COLOURS)],
        label=f'{name}: {results["test/cvr_entire/ratio"]:.2f} overall',
    )
  axes.axhline(1.0, color='0.35', linewidth=1, linestyle='--')
  axes.annotate(
      'true', (10.56, 1.0), color='0.35', va='center', annotation_clip=False
  )
  axes.set(
      xlabel='decile of true pCTR (1: least likely to be clicked)',
      ylabel='mean predicted CVR / mean true CVR',
      title=title,
      xticks=list(deciles),
      xlim=(0.5, 10.5),
      ylim=(0, 1.08 * highest),
  )
  axes.grid(axis='y', color='0.9')
  axes.set_axisbelow(True)
  axes.spines[['top', 'right']].set_visible(False)
  axes.legend(frameon=False)
  os.makedirs(os.path.dirname(path) or '.', exist_ok=True)
  figure.savefig(path, dpi=150)
  plt.close(figure)

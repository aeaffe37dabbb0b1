"""Figures; matplotlib is imported when one is drawn.

  balance       weights of the tasks and their gradients by training step
  calibrations  observed rates by prediction; observed CVR by decile of pCTR
  deciles       predicted over true CVR by decile of the true CTR
  funnel        counts along the funnel; true CVR of all and of clicked rows
  gains         differences to the baseline, with intervals
  gates         the weight of each expert
  learning      losses and scores by training step
  sizes         scores by the share of the training data
  trade_offs    two scores traded against each other
  drawing       shared parts: colours, panels, legend, the file

Each function writes a PNG. No window is opened and no figure stays open: they
are made without pyplot, on the Agg canvas. Missing runs are nan; they are left
out, and the panel shows the number of its seeds.
"""

from esmm_jax.reporting.plots.balance import balance
from esmm_jax.reporting.plots.calibrations import calibration_curves
from esmm_jax.reporting.plots.calibrations import observed_cvr
from esmm_jax.reporting.plots.deciles import cvr_by_ctr_decile
from esmm_jax.reporting.plots.deciles import cvr_by_ctr_decile_panels
from esmm_jax.reporting.plots.funnel import funnel
from esmm_jax.reporting.plots.gains import gains
from esmm_jax.reporting.plots.gates import gates
from esmm_jax.reporting.plots.learning import learning
from esmm_jax.reporting.plots.sizes import training_size
from esmm_jax.reporting.plots.trade_offs import fronts

__all__ = [
    'balance',
    'calibration_curves',
    'cvr_by_ctr_decile',
    'cvr_by_ctr_decile_panels',
    'fronts',
    'funnel',
    'gains',
    'gates',
    'learning',
    'observed_cvr',
    'training_size',
]

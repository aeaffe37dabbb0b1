"""Estimators: the sample space and the loss terms that outputs are trained on.

An estimator is a function `(logits, labels, where, *, tasks, **options)` that
returns its terms as (sum, count). Its signature describes its options, and
`contract.Estimator` says what else it may have: outputs of its own, columns.
To add one, write a file and a line in `ESTIMATORS`.

    entire_space           all events over all impressions (ESMM)
    click_space            each event where the one before happened (BASE)
    end_to_end             each joint event directly (AITM, DIVISION)
    unbias                 clicks resampled by their propensity (UNBIAS)
    conversion_if_clicked  the bound, with labels that only a simulator knows
    ips                    clicks, weighed by 1 / propensity (IPS, SNIPS)
    escm2                  ESMM and that loss of clicks, or the plain one
    nise                   un-clicked impressions, labelled with pCVR (NISE)
    delayed_*              conversions that come late (`delayed`)

  >>> from esmm_jax.tasks import FUNNEL
  >>> ESTIMATORS['entire_space'].weights(FUNNEL)
  {'ctr': 1.0, 'cvr_clicked': 0.0, 'ctcvr': 1.0}
  >>> ESTIMATORS['click_space'].weights(FUNNEL)
  {'ctr': 1.0, 'cvr_clicked': 1.0}
"""

from collections.abc import MutableMapping

from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import conversion_if_clicked as _conversion
from esmm_jax.estimators import delayed as _delayed
from esmm_jax.estimators import end_to_end as _end_to_end
from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import escm2 as _escm2
from esmm_jax.estimators import ips as _ips
from esmm_jax.estimators import nise as _nise
from esmm_jax.estimators import unbias as _unbias
from esmm_jax.estimators.contract import added, Estimator
from esmm_jax.estimators.funnel import JOINT
from esmm_jax.plugins.registry import Registry

ESTIMATORS: MutableMapping[str, Estimator] = {
    'entire_space': Estimator(
        _entire_space.entire_space, _entire_space.default_weights
    ),
    'click_space': Estimator(
        _click_space.click_space, _click_space.default_weights
    ),
    'end_to_end': Estimator(
        _end_to_end.end_to_end,
        _end_to_end.default_weights,
        output_interpretation=JOINT,
    ),
    'unbias': Estimator(
        _unbias.unbias,
        _unbias.default_weights,
        needs_uniform=True,
    ),
    'conversion_if_clicked': Estimator(
        _conversion.conversion_if_clicked,
        _conversion.default_weights,
        _conversion.needs,
    ),
    'ips': Estimator(
        _ips.ips,
        _ips.default_weights,
        needs=_ips.needs,
        row_weights=_ips.row_weights,
    ),
    'escm2': Estimator(
        _escm2.escm2,
        _escm2.default_weights,
        needs=_escm2.needs,
        row_weights=_escm2.row_weights,
    ),
    'nise': Estimator(
        _nise.nise, _nise.default_weights, rescale=_nise.rescale
    ),
    **_delayed.ESTIMATORS,
}
# Plugins add to it.
ESTIMATORS = Registry('ESTIMATORS', ESTIMATORS, added.wrong)

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
    doubly_robust          IPS, and guesses of un-clicked impressions
    stable_dr              SNIPS, with a propensity that balances such guesses
    nise                   un-clicked impressions, labelled with pCVR (NISE)
    dcmt                   IPS, and a counterfactual CVR of unclicked rows
    chorus                 ESMM, IPS, and the rate of clicks without conversion
    pseudo_label           a teacher's CVR on unclicked rows (DDPO, UKD)
    delayed_*              conversions that come late (`delayed`)

  >>> from esmm_jax.tasks import FUNNEL
  >>> ESTIMATORS['entire_space'].weights(FUNNEL)
  {'ctr': 1.0, 'cvr_clicked': 0.0, 'ctcvr': 1.0}
  >>> ESTIMATORS['click_space'].weights(FUNNEL)
  {'ctr': 1.0, 'cvr_clicked': 1.0}
"""

from collections.abc import MutableMapping

from esmm_jax.estimators import chorus as _chorus
from esmm_jax.estimators import click_space as _click_space
from esmm_jax.estimators import conversion_if_clicked as _conversion
from esmm_jax.estimators import dcmt as _dcmt
from esmm_jax.estimators import delayed as _delayed
from esmm_jax.estimators import doubly_robust as _doubly_robust
from esmm_jax.estimators import end_to_end as _end_to_end
from esmm_jax.estimators import entire_space as _entire_space
from esmm_jax.estimators import escm2 as _escm2
from esmm_jax.estimators import ips as _ips
from esmm_jax.estimators import nise as _nise
from esmm_jax.estimators import pseudo_label as _pseudo_label
from esmm_jax.estimators import stable_dr as _stable_dr
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
        _unbias.needs,
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
    'doubly_robust': Estimator(
        _doubly_robust.doubly_robust,
        _doubly_robust.default_weights,
        _doubly_robust.needs,
        row_weights=_doubly_robust.row_weights,
    ),
    'stable_dr': Estimator(
        _stable_dr.stable_dr,
        _stable_dr.default_weights,
        _stable_dr.needs,
        _stable_dr.rescale,
    ),
    'nise': Estimator(
        _nise.nise, _nise.default_weights, rescale=_nise.rescale
    ),
    'dcmt': Estimator(
        _dcmt.dcmt,
        _dcmt.default_weights,
        _dcmt.needs,
        row_weights=_dcmt.row_weights,
    ),
    'chorus': Estimator(
        _chorus.chorus,
        _chorus.default_weights,
        _chorus.needs,
        row_weights=_chorus.row_weights,
    ),
    'pseudo_label': Estimator(
        _pseudo_label.pseudo_label,
        _pseudo_label.default_weights,
        _pseudo_label.needs,
        row_weights=_pseudo_label.row_weights,
    ),
    **_delayed.ESTIMATORS,
}
# Plugins add to it.
ESTIMATORS = Registry('ESTIMATORS', ESTIMATORS, added.wrong)

"""Estimators for conversions that come late: CVR from a log taken too early.

    delayed_naive    no correction, on one of four streams
    delayed_fnw      all positives were negatives before, weighed (FNW)
    delayed_fnc      the same, calibrated (FNC)
    delayed_es_dfm   late positives again, weighed (ES-DFM)
    delayed_defuse   the same, weighed by arrival group (DEFUSE)
    delayed_dfm      conversion and exponential delay, from one log (DFM)

`arrivals` says how a row of a log stands for the events of a stream. Each has
the click term of `click_space` beside its own: all impressions train CTR, the
clicked ones CVR. CVR is that of conversions that come at last, and the metrics
of the simulator's validation and test rows are against these.

The streaming methods (FNW, FNC, ES-DFM, DEFUSE) learn from conversions that
came after the log was taken, DFM from the log and its times alone, so a
comparison of the two is one of different data.
"""

from esmm_jax.estimators.contract import Estimator
from esmm_jax.estimators.delayed import dfm, es_dfm, fnw, naive

ESTIMATORS = {
    'delayed_naive': Estimator(
        naive.delayed_naive, naive.default_weights, naive.needs
    ),
    'delayed_fnw': Estimator(fnw.delayed_fnw, fnw.fnw_weights, fnw.needs),
    'delayed_fnc': Estimator(fnw.delayed_fnc, fnw.fnc_weights, fnw.needs),
    'delayed_es_dfm': Estimator(
        es_dfm.delayed_es_dfm, es_dfm.es_dfm_weights, es_dfm.needs
    ),
    'delayed_defuse': Estimator(
        es_dfm.delayed_defuse, es_dfm.defuse_weights, es_dfm.needs
    ),
    'delayed_dfm': Estimator(dfm.delayed_dfm, dfm.default_weights, dfm.needs),
}

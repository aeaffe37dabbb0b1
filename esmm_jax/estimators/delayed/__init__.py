"""Estimators for conversions that come late: CVR from a log taken too early.

    naive   no correction, on one of four streams
    fnw     fake negatives weighed (FNW), and calibrated (FNC)
    es_dfm  elapsed-time sampling (ES-DFM), and its unbiased form (DEFUSE)
    dfm     conversion and exponential delay together, from one log (DFM)

`arrivals` says how a row of a log stands for the events of a stream. Each has
the click term of `click_space` beside its own: all impressions train CTR, the
clicked ones CVR. CVR is that of conversions that come at last, and the metrics
of the simulator's validation and test rows are against these.

The streaming methods (FNW, FNC, ES-DFM, DEFUSE) learn from conversions that
came after the log was taken, DFM from the log and its times alone, so a
comparison of the two is one of different data.
"""

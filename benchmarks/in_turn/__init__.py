"""Measurements in turn: what is compared takes its windows of time by rounds.

The speed of a machine changes from one minute to the next, so that times of the
same round are compared, and the median over the rounds counts.

    arms         a step that takes its windows, and the rounds
    growth       the cost of a step as its work grows
    merge        the vocabularies of a log's parts, added up in two ways
    prepare      the passes in which a log is prepared, by engine and workers
    lists_torch  a step with lists beside the same model in torch
    torch_step   that model, run by a Python that has torch
"""

"""Prepared columns become batches.

The order of an epoch is a pure function of seed and epoch; the ids of a batch
are made unique and padded, so that only touched rows are trained.
"""

"""Prepared columns become batches.

The order of an epoch is a pure function of seed and epoch; the ids of a batch
are made unique and padded, so that only touched rows are trained.

  batches     the batches of a split: a pure function of seed and step
  shared      batches of which each of several processes reads its part
  windows     the examples of an epoch, read in long runs; all or some
  order       the order of an epoch's rows
  reading     ranges of rows as arrays; padding: lists and the group table
  compacting  the unique table rows of a batch
  contents    the hash of a batch
  prefetching runs batches ahead in a thread
  whole       a whole split as arrays
"""

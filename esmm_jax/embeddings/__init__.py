"""Embedding tables by rows: gathered, scattered, and in files.

  lookup   gathers and scatters the rows of a (sharded) table [V, R, D]
  sums     takes rows by index, with gradients that suit a GPU too
  distinct finds the distinct rows on the device
  files    writes and reads tables without a copy
"""

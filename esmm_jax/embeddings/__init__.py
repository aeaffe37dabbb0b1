"""Embedding tables by rows: lookup, scatter, and their files on disk.

  lookup   gathers and scatters the rows of a (sharded) table [V, R, D]
  files    writes and reads tables without a copy
"""

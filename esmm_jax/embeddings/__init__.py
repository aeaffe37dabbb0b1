"""Embedding tables by rows: gathered, scattered, and in files.

  lookup   gathers and scatters the rows of a (sharded) table [V, R, D]
  files    writes and reads tables without a copy
"""

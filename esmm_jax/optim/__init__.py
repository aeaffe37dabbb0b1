"""Optimizers: of the network, and of the touched rows of the tables.

  network  optimizers and learning-rate schedules by name
  lazy     any element-wise optimizer on the touched rows of a table
  tables   optimizers of large tables, whose moments take less memory
"""

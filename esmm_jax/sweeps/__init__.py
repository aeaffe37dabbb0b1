"""Many runs as plain data: points, groups of replicas, results tables.

  points     settings of the runs of a sweep
  table      a results table's columns and rows, checked before a run starts
  replicas   groups runs that are trained side by side
  saved_runs reads the folders of runs
  comparable runs that count, and pairs of them that get a test
  rows       the rows of a table, and the runs of one
  results    tabulates runs: means, spreads and gains
  choice     selects a row's points on the validation split
  row_noise  the error that a finite test split makes

What a table file needs may be imported from here.
"""

from esmm_jax.sweeps.points import chain, fixed, product, Sweep, sweep, zipped
from esmm_jax.sweeps.table import Table
from esmm_jax.sweeps.table_parts import Choice, Column, Front, Paper

__all__ = [
    'Choice',
    'Column',
    'Front',
    'Paper',
    'Sweep',
    'Table',
    'chain',
    'fixed',
    'product',
    'sweep',
    'zipped',
]

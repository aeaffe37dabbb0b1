"""Many runs as plain data: points, groups of replicas, results tables.

  points     settings of the runs of a sweep
  table      a results table's columns and rows, checked before a run starts
  replicas   groups runs that are trained side by side
  saved_runs reads the folders of runs
  results    tabulates runs: means, spreads and gains
  choice     selects a row's points on the validation split
  row_noise  the error that a finite test split makes
"""

"""`dataset.history` of a user's own log.

  options    what the config says, checked
  blocks     the rows that GAUC compares
  scratch    arrays in files that exist while the data is prepared
  log_files  the columns of the history of all rows, in such files
  prepare    their history: computed, fitted, encoded, kept for serving
"""

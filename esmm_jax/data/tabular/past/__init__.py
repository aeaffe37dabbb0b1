"""`dataset.history` of a user's own log.

  options    what the config says, checked
  log_files  the columns of the history of all rows, in files that
             exist while the data is prepared
  prepare    their history: computed, fitted, encoded, kept for serving
"""

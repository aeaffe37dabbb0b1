"""The state of a history that travels: with a run, into an export, to tomorrow.

  layers       rows of keys: a base that is mapped from files, newer ones
  answers      rows -> what layers know of them
  store        the whole state: answers, observed rows, ages
  seen         rows that were observed
  store_files  a store as a folder
  saved        the store beside the fitted fields, with the encoder
"""

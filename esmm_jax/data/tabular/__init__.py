"""`dataset.name=tabular`: a user's own log, from CSV or Parquet files.

  dataset  the builder; config: its options; inputs: those of a column
  rows     labels and splits of rows
  fit      the first pass; encoder: raw columns -> ids and scaled numbers
  unseen   shares of values that are missing, or that training never saw
  frame_files   a log in memory, a DataFrame say -> its files
"""

"""Columns on disk: a builder prepares them, readers map them into memory.

Arrays of rows come in; splits whose columns are memory-mapped come out, with a
schema, checksums and a report.

  columnar         the TFDS builder; source: the rows of a split
  columns          slices and files of columns; column_files: growing ones
  shards, checks   writing a shard; refusing impossible values
  feature_columns  raw columns -> ids and scaled numbers; vocabulary
  policies         conversions without click
  sessions         splits and groups of sessions
  unfinished       folders left by killed processes
"""

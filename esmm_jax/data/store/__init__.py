"""Columns on disk: a builder prepares them, readers map them into memory.

Arrays of rows come in; splits whose columns are memory-mapped come out, with a
schema, checksums and a report.

  columnar         the TFDS builder; source: the rows of a split
  columns          slices and files of columns; column_files: growing ones
  scratch          arrays in files that exist while data is prepared
  shards, checks   writing a shard; refusing impossible values
  feature_columns  raw values; vocabulary: values -> ids; scaling: numbers
  policies         conversions without click
  sessions         splits and groups of sessions
  prepared_files   checksums, compared when a column is first read
  bus_errors       a line where a file is cut short while it is read
  unfinished       one process prepares; folders left by killed ones
"""

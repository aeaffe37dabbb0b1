"""`dataset.name=tabular`: a log of one's own, from CSV or Parquet files."""

"""Reads people's CSV and Parquet files as typed Arrow columns.

Errors name the file, the row and the column.

  dialect, quoted_names    the form of CSV files; names in one text
  find_files, file_kinds   paths, globs, folders; what a file is
  csv_stream, records, quote_check   CSV as UTF-8 whose rows are whole
  partitions               columns in the names of folders
  row_files                the rows of a file, of any kind
  csv_rows, checked_csv    line by line; columns of types that are known
  raw_values               columns as texts, numbers, times and labels
  same_files, file_hashes  raw files against those that data was made from
  frames                   what people hold in memory: DataFrames, tables, dicts
"""

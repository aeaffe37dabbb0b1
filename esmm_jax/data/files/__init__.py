"""People's CSV and Parquet files and frames, as columns.

Errors name the file, the row and the column.

  find_files               paths, globs and folders
  row_files, partitions    the rows of a file, with columns of folders' names
  checked_csv              columns of types that are known; line_problems
  same_files, file_hashes  raw files against those that data was made from
  frames, frame_columns    what people hold in memory: DataFrames, tables, dicts
"""

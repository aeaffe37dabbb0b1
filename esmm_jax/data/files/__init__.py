"""Reads people's CSV and Parquet files as typed Arrow columns.

Errors name the file, the row and the column. `frames` reads what people hold in
memory: DataFrames, tables, dicts.
"""

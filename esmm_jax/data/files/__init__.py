"""CSV and Parquet files as people have them, as typed Arrow columns.

Errors name the file, the row and the column.
"""

"""Reads people's CSV and Parquet files as typed Arrow columns.

Errors name the file, the row and the column.
"""

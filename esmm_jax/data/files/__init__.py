"""Reads people's CSV and Parquet files as typed Arrow columns.

Errors name the file, the row and the column. `same_files` compares raw files
with those that prepared data was made from, by their hashes (`file_hashes`).
"""

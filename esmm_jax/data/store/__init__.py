"""Columns on disk: a builder prepares them, readers map them into memory.

Comes in: arrays of rows. Comes out: splits whose columns are memory-mapped,
with a schema, checksums and a report.
"""
